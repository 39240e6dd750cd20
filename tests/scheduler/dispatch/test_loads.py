"""Kinds of work over several models, from the feeder through a real broker to workers and back."""

import pytest

from seedsweep.scheduler.campaign import window
from seedsweep.scheduler.campaign.control import steer
from seedsweep.scheduler.campaign.progress import Broker, read_progress, read_services
from seedsweep.scheduler.dispatch import dispatcher as dispatcher_module
from seedsweep.scheduler.dispatch import feeder, gauges, loads, unmade_units
from seedsweep.storage.campaigns import load_parked, store_control
from seedsweep.storage.errors import DeviceMemoryError, ModelLoadError
from seedsweep.storage.records import FIRST_KINDS, Control
from seedsweep.workers.generation import failures, heartbeat, loaded_models
from seedsweep.workers.generation.kinds import KINDS
from seedsweep.workers.pipelines.loading import load_pipeline
from tests.support.over_models import (
    BOTH,
    OF_A,
    OF_B,
    PROMPTS,
    A,
    Deployment,
    Killed,
    pieces_over_models,
    unit_of,
)


@pytest.fixture
def deployment(store, ledger, broker, broker_url, monkeypatch):
    monkeypatch.setattr("seedsweep.scheduler.campaign.plan.pieces_of", pieces_over_models)
    monkeypatch.setattr(heartbeat, "BEAT_SECONDS", 0.03)
    monkeypatch.setattr(failures, "PAUSE_WHEN_STORE_FAILS", 0)
    monkeypatch.setattr(loads, "RECOUNT_SECONDS", 0)
    monkeypatch.setattr(dispatcher_module, "LOOK_SECONDS", 0)
    deployment = Deployment(store, ledger, broker, broker_url)
    monkeypatch.setitem(KINDS, "membership", deployment.membership)
    deployment.begin()
    yield deployment
    for worker in deployment.workers:
        worker.renderer.close()


def test_each_unit_lies_in_the_queue_of_its_load_and_each_queue_holds_a_window(deployment):
    for load, kind_ids in {A: ("",), OF_A: ("a",), OF_B: ("b",), BOTH: ("a-b",)}.items():
        messages = deployment.broker.lrange(deployment.queue(load), 0, -1)
        indexes = [unit_of(message).index for message in reversed(messages)]
        assert indexes == deployment.indexes(*kind_ids)[: window.UNITS_PER_WORKER]


def test_all_is_made_once_though_a_worker_is_killed_and_messages_come_twice(deployment, wait_until):
    first, second = deployment.start("first"), deployment.start("second")
    ask, killed = deployment.membership.ask, []

    def die_once(pipeline, wanted, unit, place):
        if unit.kind_id == "a-b" and wanted.model.path == "b" and not killed:
            killed.append(unit.index)
            raise Killed
        return ask(pipeline, wanted, unit, place)

    deployment.membership.ask = die_once
    for load in (A, OF_A, OF_B, BOTH):
        key = deployment.queue(load)
        deployment.broker.lpush(key, *deployment.broker.lrange(key, 0, -1))

    def dies():
        for worker in (first, second):
            try:
                deployment.dispatcher.tick()
                worker.turn()
            except Killed:
                return worker
        return None

    lost = wait_until(dies)
    lost.vanish()
    deployment.workers.remove(lost)
    assert deployment.ledger.window(deployment.campaign_id).claimed
    key = f"seedsweep:{deployment.campaign_id}:leases"
    deployment.broker.zadd(key, {killed[0]: 0})
    wait_until(deployment.is_done)
    wait_until(lambda: deployment.counts.claimed == 0)
    deployment.check()
    made = deployment.membership.made
    assert sorted(made) == deployment.indexes("a", "b", "a-b")
    asked = sorted((index, model) for index, model in deployment.membership.asked)
    expected = [(i, m) for i in made for m in deployment.plan.unit(i).kind_id.split("-")]
    assert asked == sorted([*expected, (killed[0], "a")])
    counts = deployment.counts
    assert (counts.done, counts.parked, counts.queued) == (len(deployment.plan), 0, 0)
    assert {load for load, _ in lost.taken + deployment.workers[0].taken} == {A, OF_A, OF_B, BOTH}


def test_a_worker_with_room_for_one_model_makes_all_and_loads_no_model_without_need(
    deployment, monkeypatch, wait_until
):
    there, loaded = set(), []

    class Alone:
        def __init__(self, pipeline):
            self.pipeline = pipeline
            there.add(id(self))

        def __del__(self):
            there.discard(id(self))

        def generate(self, prompt, seeds):
            return self.pipeline.generate(prompt, seeds)

        def with_sampling(self, sampling):
            return self

    def load(store, campaign, device, threads):
        loaded.append(campaign.model.path)
        if there:
            raise DeviceMemoryError("There is no room for two.")
        return Alone(load_pipeline(store, campaign, device, threads))

    monkeypatch.setattr(loaded_models, "load_pipeline", load)
    deployment.start("small")
    wait_until(deployment.is_done)
    deployment.check()
    # One loading for each unit of both, one in vain, and those of turning from load to load.
    assert len(loaded) <= len(PROMPTS) + 1 + 4


def test_of_a_model_that_cannot_be_loaded_the_units_are_parked_and_the_others_made(
    deployment, monkeypatch, wait_until
):
    def load(store, campaign, device, threads):
        if campaign.model.path == "b":
            raise ModelLoadError("The weights of b are gone.")
        return load_pipeline(store, campaign, device, threads)

    monkeypatch.setattr(loaded_models, "load_pipeline", load)
    worker = deployment.start("worker")
    wait_until(deployment.is_done)
    deployment.check(deployment.indexes("a", ""))
    parked = load_parked(deployment.store, deployment.campaign_id)
    assert [unit.index for unit in parked] == deployment.indexes("b", "a-b")
    assert {unit.reason for unit in parked} == {"The weights of b are gone."}
    assert worker.renderer.why_out == ""
    assert not {index for index, _ in deployment.membership.asked} & {u.index for u in parked}


def test_when_the_workers_of_all_loads_are_gone_others_make_what_they_held(deployment, wait_until):
    held = []
    for load in (A, OF_A, OF_B, BOTH):
        unit = unit_of(deployment.broker.rpop(deployment.queue(load)))
        claim = deployment.ledger.claim(deployment.campaign_id, unit.index, unit.token)
        assert claim.outcome == "granted"
        held.append(unit.index)
    deployment.broker.zadd(f"seedsweep:{deployment.campaign_id}:leases", dict.fromkeys(held, 0))
    wait_until(lambda: deployment.dispatcher.tick() or deployment.counts.claimed == 0)
    deployment.start("another")
    wait_until(deployment.is_done)
    deployment.check()
    assert len(deployment.membership.made) == len(set(deployment.membership.made))


def test_a_lost_queue_is_sent_again_and_the_queues_of_other_loads_stay(
    deployment, monkeypatch, wait_until
):
    monkeypatch.setattr(feeder, "SILENT_SECONDS", 0.05)
    others = [deployment.queue(load) for load in (A, OF_A, BOTH)]
    before = [deployment.broker.lrange(key, 0, -1) for key in others]
    queued = deployment.ledger.window(deployment.campaign_id).queued
    deployment.broker.delete(deployment.queue(OF_B))

    def sent_again():
        deployment.dispatcher.tick()
        return deployment.broker.llen(deployment.queue(OF_B)) == window.UNITS_PER_WORKER

    wait_until(sent_again)
    assert [deployment.broker.lrange(key, 0, -1) for key in others] == before
    assert deployment.ledger.window(deployment.campaign_id).queued == queued


def demand(deployment):
    """What the broker is told of each load: priority, weight and how many units wait."""
    told = {}
    for key in ("demand", "later"):
        told |= deployment.broker.hgetall(f"seedsweep:{key}")
    return {load.decode(): tuple(map(float, said.split()[:3])) for load, said in told.items()}


def test_a_campaign_weighs_as_much_with_several_loads_as_with_one(deployment):
    n = len(PROMPTS)
    assert demand(deployment) == dict.fromkeys((A, OF_A, OF_B, BOTH), (0, 0.25, n))
    for index in deployment.indexes("b"):
        deployment.ledger.complete(deployment.campaign_id, index)
    deployment.dispatcher.tick()
    third = pytest.approx(1 / 3)
    assert demand(deployment) == dict.fromkeys((A, OF_A, BOTH), (0, third, n))
    other = deployment.submit("other")
    deployment.dispatcher.tick()
    deployment.dispatcher.tick()
    assert demand(deployment)[A] == (0, pytest.approx(4 / 3), n + len(other))


def test_a_higher_priority_comes_first_in_each_load_that_both_campaigns_have(
    deployment, wait_until
):
    urgent = deployment.submit("members-urgent", first_seed=0)
    control = Control(priority=5)
    store_control(deployment.store, urgent.campaign.campaign_id, control)
    deployment.broker.flushall()  # nothing is queued yet when both are known
    deployment.dispatcher.tick()
    queued = {
        campaign: len(deployment.ledger.window(campaign).queued)
        for campaign in (urgent.campaign.campaign_id, deployment.campaign_id)
    }
    assert [*queued.values()] == [4 * window.UNITS_PER_WORKER, 0]
    assert {said[0] for said in demand(deployment).values()} == {5}
    deployment.start("worker")
    wait_until(deployment.is_done)
    deployment.check()


def test_a_campaign_that_rests_asks_for_no_worker_of_any_load_and_then_goes_on(
    deployment, wait_until
):
    for state in ("paused", "cancelled"):
        steer(deployment.store, deployment.campaign_id, state, deployment.ledger)
        deployment.start(f"worker-{state}").follow(BOTH)
        for _ in range(4):
            deployment.turn()
        assert demand(deployment) == {}
        assert deployment.counts.done == 0
    store_control(deployment.store, deployment.campaign_id, Control())
    wait_until(deployment.is_done)
    deployment.check()


def test_a_broker_that_lost_everything_is_mended_and_nothing_is_made_again(deployment, wait_until):
    deployment.start("worker")
    wait_until(lambda: deployment.turn() or deployment.counts.done >= 6)
    wait_until(lambda: deployment.counts.claimed == 0)
    deployment.broker.flushall()
    wait_until(deployment.is_done)
    deployment.check()
    made = deployment.membership.made
    assert sorted(made) == deployment.indexes("a", "b", "a-b")


def stuck(deployment):
    """What `status` says to hold up the campaign."""
    broker = Broker.at(deployment.url)
    services = read_services(broker)
    return read_progress(deployment.store, deployment.campaign_id, broker, services).stuck


def test_a_worker_of_the_version_before_makes_what_it_knows_and_keeps_nothing_from_others(
    deployment, wait_until, caplog, monkeypatch
):
    monkeypatch.setattr(unmade_units, "GRACE_SECONDS", 0)
    monkeypatch.setattr(gauges, "SLOW_SECONDS", 0)
    known = {kind: KINDS[kind] for kind in FIRST_KINDS}
    for name in ("old", "older"):
        deployment.start(name, known)
    wait_until(lambda: deployment.turn() or deployment.counts.done == len(PROMPTS))
    for _ in range(8):
        deployment.turn()
    assert {load for worker in deployment.workers for load, _ in worker.taken} == {A}
    assert deployment.counts.done == len(PROMPTS)
    assert deployment.dispatcher._workforce.workers_by_load() == {A: 2}
    assert {*demand(deployment)} == {OF_A, OF_B, BOTH}
    said = [record.message for record in caplog.records if "which this worker" in record.message]
    assert len(said) == 2
    assert "Units of the kind 'membership' wait" in said[0]
    waits = f"{3 * len(PROMPTS)} units of the kind 'membership' wait, and none of the 2 workers"
    assert [sentence.startswith(waits) for sentence in stuck(deployment)] == [True]
    warned = [record.message for record in caplog.records if record.message.startswith(waits)]
    assert [deployment.campaign_id in message for message in warned] == [True]
    deployment.start("new")
    wait_until(lambda: deployment.turn() or not stuck(deployment))
    wait_until(deployment.is_done)
    deployment.check()
    assert deployment.counts.failing == deployment.counts.parked == 0
    assert {worker.renderer.why_out for worker in deployment.workers} == {""}


def test_workers_of_before_there_were_later_kinds_are_told_of_none(deployment):
    assert [*deployment.broker.hgetall("seedsweep:demand")] == [A.encode()]
