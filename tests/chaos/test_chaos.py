"""Whatever is killed, cut off or delivered twice: the campaign ends as an undisturbed one does.

`python -m tests.chaos` plays more rounds than the few of these seeds.
"""

import pytest

from storage.records import SeedRange, WorkUnit
from storage.workforce import Workforce
from tests.chaos.rounds import EVENTS, UNITS, WORKERS, Chaos, draw_schedule
from tests.proxy import Faults
from tests.servers import wait_until
from workers.app import make_app, publish, queue_of

SEEDS = (2149,)


@pytest.fixture(scope="module")
def chaos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("chaos")
    with pytest.MonkeyPatch.context() as environment, Chaos(folder, seed=0) as chaos:
        for name, value in chaos.deployment.s3.environment.items():
            environment.setenv(name, value)
        yield chaos


@pytest.fixture(scope="module")
def undisturbed(chaos):
    return chaos.run_undisturbed()


def test_a_seed_fixes_the_events_of_its_round():
    assert draw_schedule(3) == draw_schedule(3) != draw_schedule(4)
    assert all(len(draw_schedule(seed)) == EVENTS for seed in range(100))


@pytest.mark.parametrize("seed", SEEDS)
def test_nothing_is_lost_doubled_or_different_whatever_happens(chaos, undisturbed, seed):
    played = chaos.play(seed, undisturbed)
    print(played)
    assert played.fine, f"{played}\n{chaos.deployment.logs()}"


def test_workers_that_a_message_reaches_as_the_broker_goes_take_messages_again(chaos):
    """Each is given one that it can tell the broker nothing of."""
    wait_until(chaos.is_serving, timeout=60)
    deployment = chaos.deployment
    workforce, app = Workforce(deployment.direct_broker_url), make_app(deployment.direct_broker_url)
    (queue,) = {queue_of(sign.model_id) for sign in workforce.signs()}
    seeds = SeedRange(first=0, last=0)
    stale = WorkUnit(
        campaign_id="gone", generation_id="", index=UNITS, token="", prompt="a cat", seeds=seeds
    )
    deployment.broker_proxy.faults = Faults(cut_sent=0)
    publish(app, queue, [stale] * len(WORKERS))
    logs = [deployment.services[name] for name in WORKERS]
    wait_until(lambda: all(f"Unit {UNITS} was not claimed" in log.said for log in logs), timeout=60)
    deployment.broker_proxy.heal()
    publish(app, queue, [stale] * len(WORKERS))
    wait_until(lambda: workforce.messages(queue) == 0, timeout=30)


def test_afterwards_all_services_end_in_good_order(chaos):
    codes = chaos.stop()
    assert set(codes.values()) == {0}, f"{codes}\n{chaos.deployment.logs()}"
    assert chaos.tracebacks() == []
