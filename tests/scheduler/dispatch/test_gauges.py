import dataclasses
import re

import numpy as np
import pytest

from seedsweep.scheduler.campaign.plan import Plan
from seedsweep.scheduler.dispatch import loads
from seedsweep.scheduler.dispatch.gauges import Gauges
from seedsweep.scheduler.dispatch.loads import Loads
from seedsweep.storage.life_signs import Demand
from seedsweep.storage.record import SeedRange
from seedsweep.storage.records import Worker
from seedsweep.workers.monitoring import metrics
from seedsweep.workers.monitoring.campaign_collector import CampaignCollector
from tests.support.campaigns import make_campaign, noise_model, nothing_done

CUTS = (SeedRange(first=0, last=4), SeedRange(first=5, last=7))


def make_plan(name, model="m"):
    """A campaign of three prompts with a unit of five images and one of three each."""
    campaign = make_campaign(name, prompts=3, model=noise_model(model), seeds=8, images_per_unit=5)
    return Plan(campaign, ["a", "b", "c"], CUTS)


@pytest.fixture
def now(monkeypatch):
    """The clock of the gauges, which stands still."""
    clock = [1000.0]
    monkeypatch.setattr("seedsweep.scheduler.dispatch.gauges.time.monotonic", lambda: clock[0])
    return clock


@pytest.fixture
def collector():
    return CampaignCollector()


@pytest.fixture
def gauges(now, ledger, workforce, collector):
    return Gauges(ledger, workforce, collector)


@pytest.fixture
def begin(ledger):
    """Put a campaign into the ledger, with so many of its units claimed; returns its counts."""

    def begin(plan, done=(), claimed=0, state="active"):
        units = np.zeros(len(plan), dtype=np.bool_)
        units[list(done)] = True
        campaign_id = plan.campaign.campaign_id
        ledger.restore(campaign_id, nothing_done(3, 2, done=units))
        token, indexes = ledger.issue(campaign_id, claimed)
        for index in indexes:
            ledger.claim(campaign_id, index, token)
        ledger.set_state(campaign_id, state)
        return ledger.counts(campaign_id)

    return begin


def value(metric, *labels):
    """What a metric of the catalogue shows now."""
    child = metric.labels(*labels) if labels else metric
    return child._value.get()


def campaigns(collector):
    """What is shown of each campaign: (metric, labels …) → value."""
    return {
        (sample.name.removeprefix("seedsweep_campaign_"), *sample.labels.values()): sample.value
        for family in collector.collect()
        for sample in family.samples
    }


def show(gauges, begun, workers):
    """Show these campaigns (plan and counts), with so many workers on each model."""
    plans = {plan.campaign.campaign_id: plan for plan, _ in begun}
    counts = {plan.campaign.campaign_id: counts for plan, counts in begun}
    by_load = Loads(gauges._ledger).split(plans, counts)
    gauges.show(plans, counts, by_load, dict.fromkeys(by_load, workers))


def test_images_are_those_of_the_units_that_are_done(gauges, collector, begin):
    plan = make_plan("small")
    show(gauges, [(plan, begin(plan, done=[0, 3, 4]))], 1)
    campaign_id = plan.campaign.campaign_id
    assert campaigns(collector)["images", campaign_id, "done"] == 5 + 3 + 5
    assert campaigns(collector)["images", campaign_id, "all"] == 24


def test_window_and_remaining_are_summed_and_what_is_paused_waits_for_nobody(gauges, begin):
    one, two = make_plan("one"), make_plan("two")
    begun = [(one, begin(one, done=[0], claimed=2)), (two, begin(two, state="paused"))]
    show(gauges, begun, 4)
    assert (value(metrics.WINDOW, "queued"), value(metrics.WINDOW, "claimed")) == (0, 2)
    assert value(metrics.REMAINING) == 5
    assert value(metrics.WORKERS_LIVE) == 4


def test_device_seconds_are_split_by_claimed_units_among_campaigns_of_one_model(
    gauges, collector, begin, now
):
    one, two = make_plan("one"), make_plan("two")
    begun = [(one, begin(one, claimed=3)), (two, begin(two, claimed=1))]
    for _ in range(2):
        now[0] += 10
        show(gauges, begun, 2)
    shown = campaigns(collector)
    assert shown["device_seconds_total", one.campaign.campaign_id] == pytest.approx(30)
    assert shown["device_seconds_total", two.campaign.campaign_id] == pytest.approx(10)


def test_device_seconds_of_workers_with_nothing_claimed_are_split_evenly(
    gauges, collector, begin, now
):
    one, two, other = make_plan("one"), make_plan("two"), make_plan("other", model="n")
    now[0] += 10
    show(gauges, [(plan, begin(plan)) for plan in (one, two, other)], 2)
    shown = campaigns(collector)
    assert [
        shown["device_seconds_total", plan.campaign.campaign_id] for plan in (one, two, other)
    ] == [10, 10, 20]


def test_a_campaign_of_two_loads_has_the_device_seconds_of_the_workers_of_both(
    gauges, collector, begin, now, monkeypatch
):
    monkeypatch.setattr(loads, "loads_of", lambda plan: ("x", "y"))
    one, two = make_plan("one"), make_plan("two", model="n")
    begun = [(one, begin(one)), (two, begin(two, done=[1, 3, 5]))]
    now[0] += 10
    show(gauges, begun, 2)
    shown = campaigns(collector)
    assert shown["device_seconds_total", one.campaign.campaign_id] == 10 + 20
    assert shown["device_seconds_total", two.campaign.campaign_id] == 10


def test_time_of_which_nothing_is_known_costs_nothing(gauges, collector, begin, now):
    plan = make_plan("small")
    counts = begin(plan)
    for seconds in (10, 300, 10):
        now[0] += seconds
        if seconds == 300:
            gauges.hide()
            assert campaigns(collector) == {}
        else:
            show(gauges, [(plan, counts)], 2)
    assert campaigns(collector)["device_seconds_total", plan.campaign.campaign_id] == 40


def test_a_campaign_with_nothing_left_to_make_costs_nothing_more(gauges, collector, begin, now):
    plan = make_plan("small")
    counts = begin(plan)
    now[0] += 10
    show(gauges, [(plan, counts)], 1)
    now[0] += 10
    show(gauges, [(plan, dataclasses.replace(counts, done=6))], 1)
    assert campaigns(collector)["device_seconds_total", plan.campaign.campaign_id] == 10


def test_a_campaign_that_is_settled_is_shown_no_more(gauges, collector, begin):
    plan = make_plan("small")
    show(gauges, [(plan, begin(plan))], 1)
    show(gauges, [], 1)
    assert campaigns(collector) == {}


def test_a_scheduler_that_no_longer_leads_shows_no_campaign_and_no_worker(gauges, collector, begin):
    plan = make_plan("small")
    show(gauges, [(plan, begin(plan, claimed=2))], 1)
    gauges.clear()
    assert campaigns(collector) == {}
    assert value(metrics.REMAINING) == value(metrics.WINDOW, "claimed") == 0
    assert value(metrics.WORKERS_LIVE) == 0


def test_a_worker_that_took_itself_out_counts_as_lost(gauges, workforce):
    about = {"host": "h", "device": "cpu", "model": "", "images": 0, "images_per_second": 0.0}
    workforce.beat(Worker(name="a", **about))
    workforce.take_out(Worker(name="b", why_out="It is broken.", **about))
    show(gauges, [], 0)
    assert value(metrics.WORKERS_LOST) == 1


def test_a_lost_worker_is_said_once_and_one_that_was_only_unheard_is_not(
    gauges, workforce, broker, now, caplog
):
    about = {"host": "h", "device": "cpu", "model": "", "images": 0, "images_per_second": 0.0}
    for name in ("lost", "unheard"):
        workforce.beat(Worker(name=name, **about))
        broker.zadd("seedsweep:beats", {name: broker.time()[0] * 1000 - 20_000})
    for _ in range(4):
        show(gauges, [], 0)
        workforce.beat(Worker(name="unheard", **about))
        now[0] += 6
    (said,) = (r.message for r in caplog.records if "has shown no life" in r.message)
    assert re.fullmatch(
        r"Worker lost \(host h\) has shown no life for 2\d s; its units go back to the queue.", said
    )


def test_a_scheduler_that_starts_again_says_no_known_loss_anew(
    gauges, ledger, workforce, broker, now, caplog
):
    def look(gauges):
        caplog.clear()
        for _ in range(4):
            show(gauges, [], 0)
            now[0] += 6
        return sum("has shown no life" in record.message for record in caplog.records)

    def die():
        workforce.beat(
            Worker(name="w", host="h", device="cpu", model="", images=0, images_per_second=0)
        )
        broker.zadd("seedsweep:beats", {"w": broker.time()[0] * 1000 - 20_000})

    die()
    assert look(gauges) == 1
    assert look(Gauges(ledger, workforce, CampaignCollector())) == 0
    die()
    assert look(Gauges(ledger, workforce, CampaignCollector())) == 1


def test_that_units_wait_and_no_worker_lives_is_said_once_each_time(gauges, now, workforce, caplog):
    def look(seconds):
        now[0] += seconds
        show(gauges, [], 0)
        return [record.message for record in caplog.records]

    workforce.demand({"m": Demand(1, 3), "n": Demand(1, 4)})
    assert look(2) == look(59) == []
    said = look(2)
    assert said == [
        "7 units wait, and no worker lives; start one the way you deployed, or `seedsweep worker`."
    ]
    assert look(100) == said
    workforce.beat(
        Worker(name="w", host="h", device="cpu", model="", images=0, images_per_second=0)
    )
    look(2)
    workforce.leave("w")
    assert look(2) == said
    assert look(61) == 2 * said


def test_what_the_broker_bears_is_what_it_tells(gauges, broker):
    broker.config_set("maxmemory", 50_000_000)
    try:
        show(gauges, [], 0)
    finally:
        broker.config_set("maxmemory", 0)
    assert value(metrics.BROKER_MEMORY_LIMIT) == 50_000_000
    assert value(metrics.BROKER_MEMORY) == pytest.approx(broker.info()["used_memory"], rel=0.2)
    assert value(metrics.BROKER_CONNECTIONS) >= 1
    assert 0 < value(metrics.BROKER_ROUND_TRIP) < 5
