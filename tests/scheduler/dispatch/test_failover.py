"""A promoted replica, or a server started anew, may lack what its predecessor was told last.

The store lacks nothing: whatever the broker forgot, each unit is made once, and what was wanted of
a campaign still is.
"""

import contextlib
import shutil

import pytest

from seedsweep.scheduler.campaign.control import retry_parked, steer
from seedsweep.scheduler.campaign.plan import Plan
from seedsweep.scheduler.campaign.restore import load_plan
from seedsweep.scheduler.campaign.submission import submit_campaign
from seedsweep.scheduler.dispatch import dispatcher as dispatcher_module
from seedsweep.scheduler.dispatch.dispatcher import Dispatcher
from seedsweep.storage.campaigns import load_campaign, load_parked
from seedsweep.storage.errors import BrokerUnavailableError
from seedsweep.storage.folder_store import FolderStore
from seedsweep.storage.keys import unit_shard
from seedsweep.storage.ledger import Ledger
from seedsweep.storage.record import SeedRange
from seedsweep.storage.workforce import Workforce
from seedsweep.workers.monitoring import broker_watch, metrics
from tests.support.brokers import BrokerPair, demoted
from tests.support.campaigns import make_campaign, park_unit
from tests.support.servers import wait_until

CUTS = tuple(SeedRange(first=first, last=first + 4) for first in (0, 5, 10))


@pytest.fixture
def pair():
    with BrokerPair() as pair:
        yield pair


class Campaigns:
    """Campaigns of one store, a dispatcher that serves them, and a worker played by hand."""

    def __init__(self, folder, url):
        self.store, self.ledger = FolderStore(folder), Ledger(url)
        self.published, self.made = [], []
        self.dispatcher = Dispatcher(
            self.store,
            self.ledger,
            Workforce(url),
            lambda _, units: self.published.extend(units),
            lambda: self.store.folders("campaigns/"),
        )

    def submit(self, name, prompts=4):
        texts = [f"{name} {number}" for number in range(prompts)]
        campaign = make_campaign(name, prompts=prompts, seeds=15, images_per_unit=5)
        submit_campaign(self.store, Plan(campaign, texts, CUTS))
        return campaign.campaign_id

    def plan(self, campaign_id):
        return load_plan(self.store, load_campaign(self.store, campaign_id))

    def tick(self):
        """Tick until nothing is away any more, and all that can be is published."""
        for _ in range(5):
            wait_until(self._tick, timeout=30)

    def _tick(self):
        with contextlib.suppress(BrokerUnavailableError):
            self.dispatcher.tick()
            return True
        return False

    def claim(self):
        """Claim the next unit that is published; None where there is none to be had."""
        if not self.published:
            self.tick()
        while self.published:
            unit = self.published.pop(0)
            if self.ledger.claim(unit.campaign_id, unit.index, unit.token).outcome == "granted":
                return unit
        return None

    def make(self, unit):
        """Store the unit, unless its shard exists, and complete it."""
        if self.store.create(unit_shard(unit), b"shard"):
            self.made.append((unit.campaign_id, unit.index))
        self.ledger.complete(unit.campaign_id, unit.index)

    def park(self, unit):
        park_unit(self.store, self.plan(unit.campaign_id), unit.index)
        self.ledger.park(unit.campaign_id, unit.index)

    def analyse(self, campaign_id):
        return self.ledger.take_ready(campaign_id, 99)

    def finish(self):
        """Work off all that is published, until nothing is."""
        self.tick()
        while unit := self.claim():
            self.make(unit)


@pytest.fixture
def campaigns(tmp_path, pair, monkeypatch):
    monkeypatch.setattr(dispatcher_module, "LOOK_SECONDS", 0.0)
    return Campaigns(tmp_path, pair.url)


def test_units_done_claimed_and_parked_in_the_last_seconds_are_made_once_and_none_is_stuck(
    campaigns, pair
):
    campaign_id = campaigns.submit("first")
    campaigns.tick()
    campaigns.make(campaigns.claim())
    held = campaigns.claim()
    pair.part()
    done, parked, lost = [campaigns.claim() for _ in range(3)]
    campaigns.make(done)
    campaigns.park(parked)
    pair.promote()
    campaigns.finish()
    assert campaigns.ledger.renew(campaign_id, [(held.index, held.token)]) == 1
    campaigns.make(held)
    campaigns.make(lost)  # its worker has lived on, and knows nothing
    counts = campaigns.ledger.counts(campaign_id)
    assert (counts.done, counts.parked, counts.window) == (11, 1, 0)
    assert len(campaigns.made) == len(set(campaigns.made)) == 11
    assert campaigns.ledger.parked_units(campaign_id) == {parked.index}
    assert campaigns.analyse(campaign_id) == [0, 1, 2, 3]


def test_what_is_wanted_of_campaigns_holds_on_a_replica_that_was_not_told(campaigns, pair):
    ids = {name: campaigns.submit(name) for name in ("rest", "end", "again", "gone")}
    campaigns.tick()
    units = [campaigns.claim() for _ in range(len(campaigns.published))]
    for unit in units:
        (campaigns.park if unit.campaign_id == ids["again"] else campaigns.make)(unit)
    campaigns.tick()
    pair.part()
    late = campaigns.submit("late")
    campaigns.tick()
    assert steer(campaigns.store, ids["rest"], "paused", campaigns.ledger).told
    assert steer(campaigns.store, ids["end"], "cancelled", campaigns.ledger).told
    retried = retry_parked(campaigns.store, ids["again"], campaigns.ledger)
    assert retried.told
    assert retried.units
    shutil.rmtree(campaigns.store.root / "campaigns" / ids["gone"])
    pair.promote()
    campaigns.tick()
    ledger = campaigns.ledger
    assert ledger.campaigns() == sorted([ids["rest"], ids["end"], ids["again"], late])
    assert [ledger.counts(ids[name]).state for name in ("rest", "end")] == ["paused", "cancelled"]
    assert ledger.parked_units(ids["again"]) == set()
    campaigns.finish()
    assert ledger.counts(ids["again"]).done == ledger.counts(late).done == 12


def test_a_campaign_that_was_parked_and_settled_on_one_server_stays_so_on_the_other(
    campaigns, pair
):
    campaign_id = campaigns.submit("first", prompts=1)
    pair.part()
    campaigns.tick()
    while unit := campaigns.claim():
        campaigns.park(unit)
    pair.promote()
    campaigns.finish()
    assert campaigns.made == []
    assert len(load_parked(campaigns.store, campaign_id)) == 3
    assert campaigns.analyse(campaign_id) == [0]


def test_while_no_broker_answers_a_scheduler_neither_leads_nor_shows_what_it_knew(campaigns, pair):
    campaigns.submit("first")
    campaigns.tick()
    shown = (metrics.LEADING, metrics.REMAINING, metrics.BROKER_ROUND_TRIP, metrics.BROKER_MEMORY)
    assert all(metric._value.get() for metric in shown)
    assert broker_watch.answers()
    with demoted(pair.primary):
        with pytest.raises(BrokerUnavailableError):
            campaigns.dispatcher.tick()
        assert not any(metric._value.get() for metric in (*shown, metrics.WORKERS_LIVE))
        assert not broker_watch.answers()
    campaigns.tick()
    assert all(metric._value.get() for metric in shown)
    assert broker_watch.answers()


def test_a_server_that_is_promoted_again_or_started_anew_keeps_what_workers_hold(campaigns, pair):
    campaign_id = campaigns.submit("first")
    campaigns.tick()
    held = campaigns.claim()
    before = campaigns.ledger.history()
    with demoted(pair.primary), pytest.raises(BrokerUnavailableError):
        campaigns.dispatcher.tick()
    assert campaigns.ledger.history() != before
    campaigns.finish()
    assert campaigns.ledger.has_epoch()
    assert campaigns.ledger.renew(campaign_id, [(held.index, held.token)]) == 1
    campaigns.make(held)
    assert len(campaigns.made) == len(set(campaigns.made)) == 12


def test_a_failover_while_campaigns_are_restored_has_them_restored_again(
    campaigns, pair, monkeypatch
):
    campaign_id = campaigns.submit("first")
    restore = campaigns.ledger.restore
    monkeypatch.setattr(campaigns.ledger, "restore", lambda *_: pair.promote())
    campaigns.dispatcher.tick()
    assert not campaigns.ledger.has_epoch()
    monkeypatch.setattr(campaigns.ledger, "restore", restore)
    campaigns.finish()
    assert campaigns.ledger.counts(campaign_id).done == 12


def test_a_broker_that_may_not_be_asked_is_doubted_once_it_was_away(campaigns, pair):
    for server in (pair.primary, pair.replica):
        server.execute_command("ACL SETUSER default -info")
    campaign_id = campaigns.submit("first")
    campaigns.tick()
    campaigns.make(campaigns.claim())
    assert campaigns.ledger.has_epoch()
    bits = pair.primary.get(f"seedsweep:{campaign_id}:done")
    pair.primary.setbit(f"seedsweep:{campaign_id}:done", 11, 1)  # what the store knows nothing of
    campaigns.tick()
    assert pair.primary.get(f"seedsweep:{campaign_id}:done") != bits
    with demoted(pair.primary), pytest.raises(BrokerUnavailableError):
        campaigns.dispatcher.tick()
    campaigns.tick()
    assert pair.primary.get(f"seedsweep:{campaign_id}:done") == bits
