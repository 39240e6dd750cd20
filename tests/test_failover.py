"""A broker that is demoted, lacks its replicas or is replaced by one: services live through it.

A scheduler and two workers are started once; what befalls the broker ends none of them, and every
image is made once.
"""

import contextlib
import os
import sys
import time
from collections import Counter

import pytest

from seedsweep.storage import keys
from seedsweep.storage.broker.connection import ROOT
from seedsweep.storage.campaigns import load_campaign
from seedsweep.storage.errors import BrokerUnavailableError
from seedsweep.storage.ledger import Ledger
from seedsweep.storage.records import Prompt
from seedsweep.storage.stores import open_store
from seedsweep.workers.generation.celery_app import queue_of
from tests.support.brokers import BrokerPair, configured, demoted, occupied
from tests.support.checkout import ROOT as CHECKOUT
from tests.support.commands import seedsweep_here
from tests.support.deployment import PROMPTS, Process, stored_images, write_campaign
from tests.support.servers import wait_until

SEEDS = 240
NAMES = {(Prompt(text=text).prompt_id, seed) for text in PROMPTS for seed in range(SEEDS)}
AWAY_SECONDS = float(os.environ.get("AWAY_SECONDS", "5"))


class Services:
    """A scheduler and two workers of a broker pair, and a campaign that they work on."""

    def __init__(self, folder, pair):
        self.folder, self.pair, self.ledger = folder, pair, Ledger(pair.url)
        self.store_url = f"file:{folder}/store"
        self.store = open_store(self.store_url)
        self.environment = {
            **os.environ,
            "PYTHONPATH": str(CHECKOUT),
            "OMP_WAIT_POLICY": "PASSIVE",
            "SEEDSWEEP_BROKER_URL": pair.url,
            "SEEDSWEEP_STORE_URL": self.store_url,
        }
        self.processes = {"scheduler": self._start("scheduler", "scheduler")}
        for name in ("worker-0", "worker-1"):
            self.processes[name] = self._start(name, "worker", "--device", "cpu", "--name", name)

    def _start(self, name, *arguments):
        command = [sys.executable, "-m", "seedsweep.cli", *arguments, "--metrics-port", "0"]
        return Process(command, self.folder, self.environment, self.folder / f"{name}.log")

    def submit(self, name):
        """Submit a campaign of a model of its own."""
        file = write_campaign(self.folder, name, SEEDS, name)
        finished = seedsweep_here(
            "submit", str(file), folder=self.folder, environment=self.environment
        )
        return load_campaign(self.store, finished.stdout.split()[-1]).campaign

    def stored(self, campaign):
        """How many units are in the store."""
        return sum(1 for _ in self.store.list(keys.shards_prefix(campaign.generation_id)))

    def go_on(self, campaign, units):
        """Wait until so many more units are stored; returns the seconds that it took."""
        began, enough = time.monotonic(), self.stored(campaign) + units
        wait_until(lambda: self.stored(campaign) >= enough, timeout=60)
        return time.monotonic() - began

    def finish(self, campaign):
        """Wait until nothing is left; each image must be stored, once, and no service have died."""
        wait_until(lambda: self._is_made(campaign.campaign_id), timeout=120)
        images = Counter(name for name, _ in stored_images(self.store, campaign.campaign_id))
        assert images == Counter(NAMES)
        assert self.live() == list(self.processes)

    def _is_made(self, campaign_id):
        with contextlib.suppress(BrokerUnavailableError):
            counts = self.ledger.counts(campaign_id)
            return counts and (counts.remaining, counts.window, counts.parked) == (0, 0, 0)
        return False

    def live(self):
        return [name for name, process in self.processes.items() if process.is_running]

    def said(self):
        return "\n".join(process.log.read_text() for process in self.processes.values())


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    with BrokerPair() as pair:
        services = Services(tmp_path_factory.mktemp("failover"), pair)
        yield services
        for process in services.processes.values():
            if process.is_running:
                process.stop()


@pytest.fixture
def services(shared):
    """All of them run, whatever the tests before have ended."""
    for process in shared.processes.values():
        if not process.is_running:
            process.start()
    return shared


FAULTS = {
    "demoted": demoted,
    "min-replicas": lambda client: configured(client, min_replicas_to_write=2),
    "full": lambda client: configured(client, maxmemory=1),
    "busy": occupied,
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_broker_that_refuses_for_a_while_ends_no_service_and_loses_nothing(services, fault):
    campaign = services.submit(fault)
    services.go_on(campaign, 10)
    with FAULTS[fault](services.pair.primary):
        time.sleep(AWAY_SECONDS)  # what befalls the broker, not a wait for anything
    print(f"{fault} for {AWAY_SECONDS:.0f} s: on after {services.go_on(campaign, 1):.1f} s")
    services.finish(campaign)


def test_foreign_messages_are_dropped_and_end_no_worker(services):
    campaign = services.submit("foreign")
    services.go_on(campaign, 1)
    queue = ROOT + queue_of(campaign.model.model_id)
    items = (b"not JSON", b"{}", b'{"body": "!", "properties": {}}', b"\xff", b" " * 20_000_000)
    for item in items:
        services.pair.primary.rpush(queue, item)
    wait_until(lambda: services.said().count("is not ours and was dropped") == len(items), 60)
    services.finish(campaign)


def test_a_promoted_replica_that_lacks_the_last_seconds_loses_and_doubles_nothing(services):
    campaign = services.submit("promoted")
    services.pair.follow()
    services.go_on(campaign, 10)
    services.pair.part()
    services.go_on(campaign, 40)
    services.pair.promote()
    print(f"replica promoted: on after {services.go_on(campaign, 1):.1f} s")
    services.finish(campaign)


def test_services_that_lived_through_all_that_end_when_asked_to_and_were_not_surprised(services):
    # Before that they have only begun, and SIGTERM ends them as it ends any process.
    ready = "is ready"
    wait_until(lambda: all(ready in process.said for process in services.processes.values()), 60)
    codes = {name: process.stop() for name, process in services.processes.items()}
    assert set(codes.values()) == {0}
    assert "Traceback" not in services.said()
