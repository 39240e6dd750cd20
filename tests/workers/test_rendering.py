import threading

import numpy as np
import pytest

import storage.ledger
import workers.rendering
from storage.campaigns import load_parked, store_campaign
from storage.errors import GenerationError, ModelLoadError, StoreUnavailableError
from storage.keys import unit_shard
from storage.ledger import Restored
from storage.records import Submission
from storage.shards import decode_shard
from storage.store import FolderStore
from workers.pipelines import load_pipeline
from workers.prompt_analysis import decode_pixels
from workers.rendering import Renderer


@pytest.fixture
def store(tmp_path):
    return FolderStore(tmp_path)


@pytest.fixture
def campaign(store, ledger, make_campaign, make_unit):
    """A stored campaign of two prompts with one unit each, known to the ledger."""
    campaign = make_campaign(seeds=3)
    cuts = (make_unit(campaign).seeds,)
    submission = Submission(campaign=campaign, cuts=cuts, submitted_at="2026", versions="test")
    store_campaign(store, submission, ["a cat", "a dog"])
    restored = Restored(
        per_prompt=1,
        done=np.zeros(2, dtype=np.bool_),
        parked=frozenset(),
        ready=(),
        analysed=0,
        flagged=0,
        state="active",
    )
    ledger.restore(campaign.campaign_id, restored)
    return campaign


@pytest.fixture
def issue(ledger, campaign, make_unit):
    """Issue one unit as the scheduler does."""

    def issue():
        token, indexes = ledger.issue(campaign.campaign_id, 1)
        prompt = ("a cat", "a dog")[indexes[0]]
        return make_unit(campaign, prompt=prompt, index=indexes[0], token=token)

    return issue


@pytest.fixture
def renderer(store, ledger):
    renderer = Renderer(store, ledger, "worker-under-test")
    yield renderer
    renderer.close()


def test_a_unit_is_rendered_stored_and_then_completed(
    renderer, store, ledger, issue, campaign, wait_until
):
    unit = issue()
    renderer.render(unit)
    wait_until(lambda: ledger.counts(campaign.campaign_id).done == 1)
    images = decode_shard(store.read(unit_shard(unit)), unit_shard(unit))
    expected = load_pipeline(campaign, "cpu", 1).generate("a cat", range(3))
    assert np.array_equal(decode_pixels(images), np.stack([g.pixels for g in expected]))
    counts = ledger.counts(campaign.campaign_id)
    assert (counts.queued, counts.claimed, counts.ready) == (0, 0, 1)


def test_a_message_delivered_twice_renders_once(renderer, ledger, issue, campaign, monkeypatch):
    loads = []
    monkeypatch.setattr(
        workers.rendering, "load_pipeline", lambda *a: loads.append(a) or load_pipeline(*a)
    )
    unit = issue()
    renderer.render(unit)
    renderer.render(unit)
    renderer.close()
    assert len(loads) == 1
    assert ledger.counts(campaign.campaign_id).done == 1


def test_a_shard_that_exists_is_not_made_again(renderer, store, ledger, issue, campaign):
    unit = issue()
    store.create(unit_shard(unit), b"whole")
    renderer.render(unit)
    assert store.read(unit_shard(unit)) == b"whole"
    assert ledger.counts(campaign.campaign_id).done == 1


@pytest.mark.parametrize("state", ["paused", "cancelled"])
def test_nothing_is_rendered_for_a_campaign_that_is_not_active(
    renderer, store, ledger, issue, campaign, state
):
    unit = issue()
    ledger.set_state(campaign.campaign_id, state)
    renderer.render(unit)
    assert not store.exists(unit_shard(unit))


class BrokenPipeline:
    def __init__(self, error):
        self.error, self.calls = error, 0

    def generate(self, prompt, seeds):
        self.calls += 1
        raise self.error


def test_a_unit_that_fails_three_times_is_parked_with_its_reason(
    renderer, store, ledger, issue, campaign, monkeypatch
):
    pipeline = BrokenPipeline(GenerationError("The model failed on it; leave it out."))
    monkeypatch.setattr(workers.rendering, "load_pipeline", lambda *_: pipeline)
    first = issue()
    renderer.render(first)
    for _ in range(2):
        renderer.render(issue())
    assert pipeline.calls == 3
    parked = load_parked(store, campaign.campaign_id)
    assert [(p.index, p.reason) for p in parked] == [(0, str(pipeline.error))]
    assert ledger.counts(campaign.campaign_id).parked == 1
    assert issue().index == 1


def test_an_unexpected_error_parks_the_unit_too_and_the_worker_lives(
    renderer, store, issue, campaign, monkeypatch
):
    monkeypatch.setattr(
        workers.rendering, "load_pipeline", lambda *_: BrokenPipeline(ZeroDivisionError("oh"))
    )
    for _ in range(3):
        renderer.render(issue())
    assert load_parked(store, campaign.campaign_id)[0].reason == "ZeroDivisionError('oh')"


def test_a_model_that_cannot_be_loaded_is_tried_once_per_process(
    renderer, store, issue, campaign, monkeypatch
):
    loads = []

    def refuse(*_):
        loads.append(1)
        raise ModelLoadError("No such model; name another.")

    monkeypatch.setattr(workers.rendering, "load_pipeline", refuse)
    for _ in range(3):
        renderer.render(issue())
    assert len(loads) == 1
    assert load_parked(store, campaign.campaign_id)[0].reason == "No such model; name another."


def test_while_the_store_fails_units_go_back_and_none_is_parked(
    renderer, store, ledger, issue, campaign, monkeypatch, wait_until
):
    monkeypatch.setattr(workers.rendering, "PAUSE_WHEN_STORE_FAILS", 0.01)
    working = store.create

    def full(key, data):
        raise StoreUnavailableError("The disk is full; make room.")

    monkeypatch.setattr(store, "create", full)
    for _ in range(5):
        renderer.render(issue())
        wait_until(lambda: ledger.counts(campaign.campaign_id).claimed == 0)
    assert ledger.counts(campaign.campaign_id).parked == 0
    monkeypatch.setattr(store, "create", working)
    renderer.render(issue())
    wait_until(lambda: ledger.counts(campaign.campaign_id).done == 1)


def test_the_heartbeat_keeps_a_long_unit_from_being_given_to_another(
    store, ledger, issue, campaign, monkeypatch, wait_until, broker
):
    monkeypatch.setattr(storage.ledger, "LEASE_MS", 400)
    monkeypatch.setattr(workers.rendering, "LEASE_MS", 400)
    finish = threading.Event()

    class SlowPipeline:
        def generate(self, prompt, seeds):
            finish.wait(10)
            return load_pipeline(campaign, "cpu", 1).generate(prompt, seeds)

    monkeypatch.setattr(workers.rendering, "load_pipeline", lambda *_: SlowPipeline())
    slow = Renderer(store, ledger, "slow")
    thread = threading.Thread(target=slow.render, args=[issue()])
    thread.start()
    leases = f"seedsweep:{campaign.campaign_id}:leases"
    first = wait_until(lambda: broker.zscore(leases, 0))
    wait_until(lambda: broker.zscore(leases, 0) > first + 800)
    assert ledger.reap(campaign.campaign_id) == []
    assert ledger.counts(campaign.campaign_id).claimed == 1
    finish.set()
    thread.join()
    slow.close()
    assert ledger.counts(campaign.campaign_id).done == 1
