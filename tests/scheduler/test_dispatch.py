import numpy as np
import pytest

import scheduler.dispatch
import storage.ledger
from scheduler.dispatch import Dispatcher, restore_state
from scheduler.plan import Plan
from scheduler.submission import submit_campaign
from storage.campaigns import load_parked, store_parked
from storage.errors import BrokerUnavailableError
from storage.keys import unit_shard
from storage.ledger import Ledger
from storage.records import Campaign, Model, Parked, PromptList, PromptResult, Sampling, SeedRange
from storage.results import store_results
from storage.store import FolderStore

QUEUE = "seedsweep"
CUTS = (SeedRange(first=0, last=4), SeedRange(first=5, last=9))


@pytest.fixture
def store(tmp_path):
    return FolderStore(tmp_path)


@pytest.fixture
def plan(store):
    """A stored campaign of 30 prompts with two units each."""
    campaign = Campaign(
        name="small",
        model=Model(pipeline="noise", fingerprint="noise:"),
        prompts=PromptList(file="p.txt", digest="0", count=30),
        sampling=Sampling(seeds=10, width=8, height=8, images_per_unit=5),
    )
    plan = Plan(campaign, [f"prompt {i}" for i in range(30)], CUTS)
    submit_campaign(store, plan)
    return plan


@pytest.fixture
def published():
    """What the dispatcher sent, instead of a broker's queue."""
    return []


@pytest.fixture
def dispatcher(store, ledger, plan, published, broker):
    def publish(units):
        for unit in units:
            published.append(unit)
            broker.rpush(QUEUE, unit.index)

    dispatcher = Dispatcher(store, ledger, publish, QUEUE)
    dispatcher.add(plan, restore_state(store, plan))
    return dispatcher


def work_off(published, ledger, plan, broker, store=None):
    """Claim and complete whatever was published, as workers would."""
    campaign_id = plan.campaign.campaign_id
    while published:
        unit = published.pop(0)
        broker.lpop(QUEUE)
        if ledger.claim(campaign_id, unit.index, unit.token) == "granted":
            if store is not None:
                store.create(unit_shard(unit), b"shard")
            ledger.complete(campaign_id, unit.index)
            yield unit


def test_the_window_is_bounded_and_grows_with_the_live_workers(dispatcher, ledger, published):
    dispatcher.tick()
    dispatcher.tick()
    assert len(published) == scheduler.dispatch.UNITS_PER_WORKER
    for name in ("a", "b", "c"):
        ledger.beat(name)
    dispatcher.tick()
    assert len(published) == 3 * scheduler.dispatch.UNITS_PER_WORKER


def test_every_unit_is_published_once_until_all_are_done(
    dispatcher, ledger, published, plan, broker
):
    worked = []
    for _ in range(100):
        dispatcher.tick()
        worked += [unit.index for unit in work_off(published, ledger, plan, broker)]
    assert sorted(worked) == list(range(len(plan)))
    counts = ledger.counts(plan.campaign.campaign_id)
    assert (counts.done, counts.queued, counts.ready) == (60, 0, 30)


def test_units_of_a_vanished_worker_are_published_again(
    dispatcher, ledger, published, plan, broker, monkeypatch, wait_until
):
    monkeypatch.setattr(storage.ledger, "LEASE_MS", 50)
    dispatcher.tick()
    lost = published.pop(0)
    assert ledger.claim(plan.campaign.campaign_id, lost.index, lost.token) == "granted"

    def comes_again():
        dispatcher.tick()
        list(work_off(published, ledger, plan, broker))
        return ledger.counts(plan.campaign.campaign_id).done == len(plan)

    wait_until(comes_again)


def test_a_unit_that_loses_its_worker_five_times_is_parked_with_its_reason(
    dispatcher, ledger, published, plan, store, broker, monkeypatch, wait_until
):
    monkeypatch.setattr(storage.ledger, "LEASE_MS", 20)
    campaign_id = plan.campaign.campaign_id

    def killed_again():
        dispatcher.tick()
        for unit in [unit for unit in published if unit.index == 0]:
            ledger.claim(campaign_id, 0, unit.token)
        published[:] = [unit for unit in published if unit.index != 0]
        list(work_off(published, ledger, plan, broker))
        return ledger.counts(campaign_id).parked == 1

    wait_until(killed_again)
    assert [(p.index, p.seeds) for p in load_parked(store, campaign_id)] == [(0, CUTS[0])]
    assert "vanished" in load_parked(store, campaign_id)[0].reason


def test_messages_that_the_broker_lost_are_published_again(
    dispatcher, ledger, published, plan, broker, monkeypatch, wait_until
):
    monkeypatch.setattr(scheduler.dispatch, "SILENT_SECONDS", 0.05)
    dispatcher.tick()
    first = {unit.index for unit in published}
    published.clear()
    broker.delete(QUEUE)
    wait_until(lambda: dispatcher.tick() or published)
    assert {unit.index for unit in published} == first


def test_while_messages_wait_in_the_queue_none_is_published_twice(
    dispatcher, published, monkeypatch
):
    monkeypatch.setattr(scheduler.dispatch, "SILENT_SECONDS", 0.0)
    for _ in range(5):
        dispatcher.tick()
    assert len(published) == scheduler.dispatch.UNITS_PER_WORKER


def test_a_broker_that_lost_everything_is_mended_from_the_store(
    dispatcher, ledger, published, plan, broker, store
):
    dispatcher.tick()
    done = {unit.index for unit in work_off(published, ledger, plan, broker, store)}
    broker.flushall()
    again = []
    for _ in range(100):
        dispatcher.tick()
        again += [unit.index for unit in work_off(published, ledger, plan, broker, store)]
    assert done
    assert sorted(again) == sorted(set(range(len(plan))) - done)


def test_only_the_leader_feeds_and_another_takes_over_from_it(
    dispatcher, store, ledger, plan, broker, published
):
    dispatcher.tick()
    second = []
    other = Dispatcher(store, ledger, second.extend, QUEUE)
    other.add(plan, restore_state(store, plan))
    other.tick()
    assert second == []
    broker.delete("seedsweep:leader")
    other.tick()
    assert second


def test_a_broker_that_is_away_is_an_error_that_can_be_tried_again(store, plan, free_port):
    away = Dispatcher(store, Ledger(f"redis://127.0.0.1:{free_port()}/0"), print, QUEUE)
    with pytest.raises(BrokerUnavailableError):
        away.tick()


def a_result(plan, prompt, seeds, flagged=False):
    return PromptResult(
        prompt_id=plan.unit(0).prompt_id,
        prompt=prompt,
        seeds=seeds,
        seeds_digest="",
        excluded=0,
        edges=0,
        clique_size=0,
        clique_seeds=(),
        clique_proven=True,
        clique_upper_bound=9,
        mean_distance=None,
        flagged=flagged,
        representative_seed=None,
        match=None,
    )


def test_the_state_is_rebuilt_from_shards_parked_units_and_results(store, plan):
    campaign_id = plan.campaign.campaign_id
    for index in (0, 1, 2, 4, 5):
        store.create(unit_shard(plan.unit(index)), b"shard")
    parked = Parked(index=3, prompt_id="p", seeds=CUTS[1], reason="why")
    store_parked(store, campaign_id, parked)
    store_results(
        store, plan.campaign.analysis_id, campaign_id, [a_result(plan, "prompt 0", 10, True)]
    )
    restored = restore_state(store, plan)
    assert np.flatnonzero(restored.done).tolist() == [0, 1, 2, 4, 5]
    assert restored.parked == {3}
    assert restored.ready == (1, 2)
    assert (restored.analysed, restored.flagged) == (1, 1)


def test_a_prompt_whose_result_covers_fewer_images_is_analysed_again(store, plan):
    for index in (0, 1):
        store.create(unit_shard(plan.unit(index)), b"shard")
    results = [a_result(plan, "prompt 0", 5)]
    store_results(store, plan.campaign.analysis_id, plan.campaign.campaign_id, results)
    assert restore_state(store, plan).ready == (0,)


def test_every_campaign_is_restored_before_changes_are_accepted_again(
    dispatcher, store, ledger, plan, broker, monkeypatch
):
    other = Plan(plan.campaign.model_copy(update={"name": "other"}), plan.prompts, CUTS)
    submit_campaign(store, other)
    dispatcher.add(other, restore_state(store, other))
    broker.flushall()
    restored = []
    monkeypatch.setattr(
        ledger, "restore", lambda campaign_id, _: restored.append(ledger.has_epoch())
    )
    dispatcher.tick()
    assert restored == [False, False]
