import pytest

from seedsweep.scheduler.campaign.plan import Plan
from seedsweep.scheduler.campaign.progress import Broker, failures, read_progress, read_services
from seedsweep.scheduler.campaign.restore import restore_state
from seedsweep.scheduler.campaign.submission import submit_campaign
from seedsweep.scheduler.dispatch.served import ServedSigns
from seedsweep.storage import campaigns, keys
from seedsweep.storage import ledger as ledger_module
from seedsweep.storage.campaigns import store_control
from seedsweep.storage.errors import BrokerUnavailableError
from seedsweep.storage.folder_store import FolderStore
from seedsweep.storage.life_signs import Demand
from seedsweep.storage.record import SeedRange
from seedsweep.storage.records import FIRST_KINDS, Control, Worker
from tests.support.campaigns import make_campaign, park_unit

PROMPTS = ["a cat", "a dog"]
CUTS = (SeedRange(first=0, last=1), SeedRange(first=2, last=4))


def worker(name):
    return Worker(name=name, host="", device="cpu", model="", images=0, images_per_second=0)


class Served:
    """A campaign of two prompts with two units each, two and three images, on a real broker."""

    def __init__(self, store, url, ledger):
        campaign = make_campaign(prompts=len(PROMPTS), seeds=5)
        self.id = campaign.campaign_id
        self.plan = Plan(campaign, PROMPTS, CUTS)
        self.store, self.ledger, self.broker = store, ledger, Broker.at(url)
        submit_campaign(store, self.plan)
        self.restore()

    def restore(self):
        self.ledger.restore(self.id, restore_state(self.store, self.plan))

    def issue(self, count=1):
        return self.ledger.issue(self.id, count)

    def complete(self, *indexes):
        for index in indexes:
            self.ledger.complete(self.id, index)

    def park(self, index):
        """Give a unit up as a worker does."""
        park_unit(self.store, self.plan, index, "It broke.")
        self.ledger.park(self.id, index)

    def steer(self, state):
        store_control(self.store, self.id, Control(state=state))
        self.ledger.set_state(self.id, state)

    def analyse(self):
        for prompt in self.ledger.take_ready(self.id, len(PROMPTS)):
            self.ledger.analysed(self.id, prompt, flagged=False)

    def look(self):
        return read_progress(self.store, self.id, self.broker, read_services(self.broker))

    @property
    def stuck(self):
        return self.look().stuck


@pytest.fixture
def served(tmp_path, broker_url, ledger):
    return Served(FolderStore(tmp_path), broker_url, ledger)


@pytest.fixture
def crew(workforce):
    """A scheduler that leads, a worker and an analyst: no more than their signs of life."""
    assert workforce.lead()
    workforce.beat(worker("w"))
    workforce.beat_analyst("a")


def test_with_everyone_at_work_nothing_is_stuck(served, crew):
    served.issue()
    served.complete(0, 1)
    assert served.stuck == ()
    assert served.look().state == "running"


def test_images_are_counted_by_the_units_that_are_done(served, crew):
    served.complete(1, 2)
    progress = served.look()
    assert (progress.units, progress.units_done) == (4, 2)
    assert (progress.images, progress.images_done) == (10, 5)


@pytest.mark.usefixtures("crew")
class TestWhatIsStuck:
    def test_a_missing_scheduler(self, served, workforce):
        workforce.resign()
        assert served.stuck == (
            "No scheduler leads; start one the way you deployed, or `seedsweep scheduler`.",
        )

    def test_a_missing_worker_while_units_remain(self, served, workforce):
        workforce.leave("w")
        assert served.stuck == (
            "No worker lives; start one the way you deployed, or `seedsweep worker`.",
        )
        served.complete(0, 1, 2, 3)
        assert served.stuck == ()

    def test_a_worker_that_vanished_is_missing(self, served, broker):
        broker.zadd("seedsweep:beats", {"w": 1})
        assert served.stuck == (
            "No worker lives; start one the way you deployed, or `seedsweep worker`.",
        )

    def test_a_worker_that_took_itself_out_while_units_remain(self, served, workforce):
        workforce.take_out(worker("x").model_copy(update={"why_out": "It failed; mend it."}))
        assert served.stuck == ("It failed; mend it.",)
        served.complete(0, 1, 2, 3)
        assert served.stuck == ()

    def test_a_missing_analyst_once_prompts_are_ready(self, served, broker):
        broker.delete("seedsweep:analysts")
        assert served.stuck == ()
        served.complete(0, 1)
        assert served.stuck == (
            "1 prompt waits for an analyst; start one the way you deployed, or `seedsweep "
            "analyst`.",
        )

    def test_units_that_were_given_up(self, served):
        served.park(2)
        (sentence,) = served.stuck
        assert sentence.startswith("1 unit was given up")
        assert sentence.endswith("It broke.")
        assert f"`seedsweep resume {served.id} --failed`" in sentence
        assert served.look().units_parked == 1

    def test_units_that_failed_before_until_they_are_done(self, served):
        token, indexes = served.issue(2)
        for index in indexes:
            served.ledger.claim(served.id, index, token)
            assert not served.ledger.fail(served.id, index, token)
        (sentence,) = served.stuck
        assert sentence.startswith("2 units failed or lost their worker")
        served.complete(*indexes)
        assert served.stuck == ()

    def test_units_of_a_kind_that_no_live_worker_knows(self, served, workforce):
        workforce.demand({"later-m": Demand(1, 4, campaigns=(served.id,))})
        assert served.stuck == (
            "4 units of the kind 'later' wait, and the only worker that lives does not know it; "
            "give workers the version that the scheduler has.",
        )
        workforce.beat(worker("x"))
        assert "none of the 2 workers that live knows it" in served.stuck[0]
        workforce.beat(worker("new"), {*FIRST_KINDS, "later"})
        assert served.stuck == ()
        workforce.leave("new")
        assert len(served.stuck) == 1
        workforce.demand({"later-m": Demand(1, 4, campaigns=("another",))})
        assert served.stuck == ()

    def test_units_that_wait_while_all_workers_are_at_work_for_others(self, served, workforce):
        workforce.demand({"n": Demand(1, 9, campaigns=("another",))})
        workforce.beat(worker("w"))
        own = Demand(1, 4, campaigns=(served.id,))
        workforce.demand({"n": Demand(1, 9, campaigns=("another",)), "m": own})
        assert served.stuck == (
            "Its units wait: the only worker that could make them is at work for others; start "
            f"more, or have it come first with `seedsweep prioritise {served.id} --priority N`.",
        )
        workforce.demand({"m": own})
        assert served.stuck == ()

    def test_units_that_wait_for_those_of_a_higher_priority(self, served, workforce):
        both = tuple(sorted([served.id, "another"]))
        workforce.demand({"m": Demand(1, 9, 2, both)})
        workforce.beat(worker("w"))
        assert served.stuck == (
            "Its units wait for those of campaigns of priority 2, and its own is 0; `seedsweep "
            f"prioritise {served.id} --priority N` changes that.",
        )
        workforce.demand({"m": Demand(1, 9, 0, both)})
        assert served.stuck == ()

    def test_units_that_lost_their_worker(self, served, monkeypatch, wait_until):
        def lost():
            served.ledger.reap(served.id)
            return served.ledger.counts(served.id).failing

        token, (index,) = served.issue()
        with monkeypatch.context() as short:
            short.setattr(ledger_module, "LEASE_MS", 1)
            served.ledger.claim(served.id, index, token)
            wait_until(lost)
        assert served.stuck[0].startswith("1 unit failed or lost its worker")

    def test_prompts_that_cannot_be_analysed_with_the_reason(self, served):
        served.complete(0, 1)
        (prompt,) = served.ledger.take_ready(served.id, 1)
        served.ledger.put_back(served.id, prompt, 0, "The training set is gone; bring it back.")
        assert served.stuck == ("The training set is gone; bring it back.",)


def test_a_campaign_that_was_begun_and_that_nobody_serves_has_stopped(served, workforce):
    assert served.look().state == "queued"
    served.complete(0)
    assert served.look().state == "stopped"
    workforce.beat_analyst("a")
    assert served.look().state == "running"


def test_without_a_broker_a_fresh_sign_in_the_store_says_that_it_is_served(served, monkeypatch):
    def state():
        return read_progress(served.store, served.id, None, None).state

    assert state() == "queued"
    served.park(0)
    assert state() == "stopped"
    signs = ServedSigns(served.store)
    signs.show([served.id])
    assert state() == "running"
    with monkeypatch.context() as patch:
        patch.setattr(campaigns, "SERVED_SECONDS", 0.0)
        assert state() == "stopped"
    signs.show([])
    assert state() == "stopped"
    served.store.replace(keys.served(served.id), b"[]")
    assert state() == "stopped"


@pytest.mark.parametrize("state", ["paused", "cancelled"])
def test_a_campaign_that_is_to_rest_misses_nobody(served, state):
    assert len(served.stuck) == 2
    served.steer(state)
    assert served.stuck == ()
    assert served.look().state == state


def test_a_settled_campaign_misses_nobody_and_keeps_what_was_given_up(served):
    token, (index, _) = served.issue(2)
    served.ledger.claim(served.id, index, token)
    served.ledger.fail(served.id, index, token)
    served.park(index)
    served.complete(1, 2, 3)
    assert len(served.stuck) > 1
    served.analyse()
    (sentence,) = served.stuck
    assert sentence.startswith("1 unit was given up")
    assert served.look().state == "done"


def test_a_campaign_whose_every_unit_was_given_up_has_failed(served, crew):
    for index in range(4):
        served.park(index)
    assert served.look().state == "running"
    served.analyse()
    assert served.look().state == "failed"


def test_the_failures_of_a_campaign_name_the_reasons_and_the_remedy(served):
    assert failures(served.store, served.plan) == []
    served.park(2)
    first, remedy = failures(served.store, served.plan)
    assert "Unit 2" in first
    assert "It broke." in first
    assert f"`seedsweep resume {served.id} --failed`" in remedy


def test_the_reasons_of_what_was_given_up_are_said_once_each_and_only_the_first_few(served):
    for index, reason in enumerate(["No.", "No.", "Neither.", "Nor that."]):
        park_unit(served.store, served.plan, index, reason)
    (sentence,) = read_progress(served.store, served.id, None, None).stuck
    assert sentence.startswith("4 units were given up")
    assert sentence.endswith("again. No. Neither.")


def test_where_no_broker_answers_the_store_tells(served, free_port):
    away = Broker.at(f"redis://127.0.0.1:{free_port()}/0")
    with pytest.raises(BrokerUnavailableError):
        read_services(away)
    served.complete(0)
    progress = read_progress(served.store, served.id, away, None)
    assert (progress.units_done, progress.state, progress.stuck) == (0, "queued", ())


def test_while_a_broker_that_forgot_is_being_restored_the_store_tells(served, crew, broker):
    served.complete(0)
    assert served.look().units_done == 1
    broker.delete("seedsweep:epoch")
    assert served.look().units_done == 0


def test_services_are_counted_by_their_signs_of_life(served, crew, broker, workforce):
    workforce.beat(worker("lost"))
    broker.zadd("seedsweep:beats", {"lost": broker.time()[0] * 1000 - 60_000})
    services = read_services(served.broker)
    assert (services.led, services.workers, services.analysts) == (True, 1, 1)
    assert [(s.worker.name, s.alive) for s in services.signs] == [("lost", False), ("w", True)]
