"""Every client of ours that reaches a broker, as a call with its URL."""

import pytest

from seedsweep.storage.broker.facts import read_broker_facts
from seedsweep.storage.ledger import Ledger
from seedsweep.storage.record import SeedRange
from seedsweep.storage.records import WorkUnit
from seedsweep.storage.workforce import Workforce
from seedsweep.workers.generation.celery_app import make_app, publish

UNIT = WorkUnit(
    campaign_id="c", generation_id="", index=0, prompt="a cat", seeds=SeedRange(first=0, last=0)
)


def ping(url):
    Ledger(url).ping()


def list_workers(url):
    Workforce(url).signs()


def send_a_unit(url):
    publish(make_app(url), "queue:tried", [UNIT])


every_client = pytest.mark.parametrize("call", [ping, list_workers, send_a_unit, read_broker_facts])
