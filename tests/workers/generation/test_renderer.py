import threading
import weakref

import numpy as np
import pytest

from seedsweep.storage import ledger as ledger_module
from seedsweep.storage.campaigns import load_parked, store_campaign
from seedsweep.storage.errors import (
    BrokerUnavailableError,
    ConfigError,
    GenerationError,
    ModelLoadError,
    StoreUnavailableError,
    TransientError,
)
from seedsweep.storage.folder_store import FolderStore
from seedsweep.storage.keys import unit_shard
from seedsweep.storage.shards import decode_shard
from seedsweep.workers.generation import failures, heartbeat, loaded_models, shard_writer
from seedsweep.workers.generation import renderer as renderer_module
from seedsweep.workers.generation.renderer import Renderer
from seedsweep.workers.pipelines.loading import load_pipeline
from tests.support.broken_pipeline import BrokenPipeline
from tests.support.campaigns import make_campaign, make_submission, nothing_done
from tests.support.pictures import pixels_of


@pytest.fixture
def store(tmp_path):
    return FolderStore(tmp_path)


@pytest.fixture
def submit(store, ledger, make_unit):
    """Store a campaign of two prompts with one unit each, and tell the ledger of it."""

    def submit(campaign):
        store_campaign(store, make_submission(campaign), ["a cat", "a dog"])
        ledger.restore(campaign.campaign_id, nothing_done(2))
        return campaign

    return submit


@pytest.fixture
def campaign(submit):
    """A noise campaign that is submitted."""
    return submit(make_campaign(seeds=3))


@pytest.fixture
def issue(ledger, campaign, make_unit):
    """Issue one unit as the scheduler does, of the campaign unless another one is given."""

    def issue(campaign=campaign):
        token, indexes = ledger.issue(campaign.campaign_id, 1)
        prompt = ("a cat", "a dog")[indexes[0]]
        return make_unit(campaign, prompt=prompt, index=indexes[0], token=token)

    return issue


@pytest.fixture
def loads(monkeypatch):
    """The campaigns for which a pipeline was loaded."""
    seen = []

    def load(store, campaign, device, threads):
        seen.append(campaign)
        return load_pipeline(store, campaign, device, threads)

    monkeypatch.setattr(loaded_models, "load_pipeline", load)
    return seen


@pytest.fixture
def renderer(store, ledger, workforce):
    renderer = Renderer(store, ledger, workforce, "worker-under-test")
    yield renderer
    renderer.close()


def test_a_unit_is_rendered_stored_and_then_completed(
    renderer, store, ledger, issue, campaign, wait_until
):
    unit = issue()
    renderer.render(unit)
    wait_until(lambda: ledger.counts(campaign.campaign_id).done == 1)
    images = decode_shard(store.read(unit_shard(unit)), unit_shard(unit))
    expected = load_pipeline(store, campaign, "cpu", 1).generate("a cat", range(3))
    assert np.array_equal(
        np.stack([pixels_of(image.png) for image in images]),
        np.stack([g.pixels for g in expected]),
    )
    counts = ledger.counts(campaign.campaign_id)
    assert (counts.queued, counts.claimed, counts.ready) == (0, 0, 1)


def test_a_message_delivered_twice_renders_once(renderer, ledger, issue, campaign, loads):
    unit = issue()
    renderer.render(unit)
    renderer.render(unit)
    renderer.close()
    assert len(loads) == 1
    assert ledger.counts(campaign.campaign_id).done == 1


def test_a_unit_that_is_issued_again_while_it_is_being_stored_is_not_rendered_again(
    renderer, store, ledger, issue, campaign, loads, monkeypatch, wait_until
):
    may_store, create = threading.Event(), store.create
    monkeypatch.setattr(store, "create", lambda *args: may_store.wait(10) and create(*args))
    unit = issue()
    renderer.render(unit)
    ledger.reopen(campaign.campaign_id, [unit.index])  # as if the broker had forgotten the claim
    again = issue()
    assert again.index == unit.index
    made = []
    [(_, pipeline)] = renderer._models._loaded.values()
    generate = pipeline.generate
    monkeypatch.setattr(pipeline, "generate", lambda *a: made.append(a) or generate(*a))
    renderer.render(again)
    may_store.set()
    wait_until(lambda: ledger.counts(campaign.campaign_id).done == 1)
    assert made == []
    assert ledger.counts(campaign.campaign_id).claimed == 0


def test_a_claim_that_meets_a_dead_connection_is_made_again(
    renderer, ledger, issue, campaign, monkeypatch, wait_until
):
    tried, claim = [], ledger.claim

    def claim_at_second_try(*unit):
        tried.append(unit)
        if len(tried) == 1:
            raise BrokerUnavailableError("The connection died; try again.")
        return claim(*unit)

    monkeypatch.setattr(ledger, "claim", claim_at_second_try)
    renderer.render(issue())
    wait_until(lambda: ledger.counts(campaign.campaign_id).done == 1)


def test_a_unit_that_cannot_be_claimed_is_left_to_others(
    renderer, store, ledger, issue, monkeypatch
):
    def away(*_):
        raise BrokerUnavailableError("The broker does not answer; start it.")

    monkeypatch.setattr(renderer_module, "CLAIM_SECONDS", 0.0)
    monkeypatch.setattr(ledger, "claim", away)
    unit = issue()
    renderer.render(unit)
    assert not store.exists(unit_shard(unit))


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


def test_a_unit_that_fails_three_times_is_parked_with_its_reason(
    renderer, store, ledger, issue, campaign, monkeypatch
):
    pipeline = BrokenPipeline(GenerationError("The model failed on it; leave it out."))
    monkeypatch.setattr(loaded_models, "load_pipeline", lambda *_: pipeline)
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
    broken = BrokenPipeline(ZeroDivisionError("oh"))
    monkeypatch.setattr(loaded_models, "load_pipeline", lambda *_: broken)
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

    monkeypatch.setattr(loaded_models, "load_pipeline", refuse)
    for _ in range(3):
        renderer.render(issue())
    assert len(loads) == 1
    assert load_parked(store, campaign.campaign_id)[0].reason == "No such model; name another."


def test_a_model_whose_first_images_show_that_it_cannot_run_is_asked_for_no_more(
    renderer, store, issue, campaign, monkeypatch
):
    asked = []

    class Unfit:
        def generate(self, *_):
            asked.append(1)
            raise ModelLoadError("Pictures of another size; set width.")

    monkeypatch.setattr(loaded_models, "load_pipeline", lambda *_: Unfit())
    for _ in range(3):
        renderer.render(issue())
    assert len(asked) == 1
    assert load_parked(store, campaign.campaign_id)[0].reason.startswith("Pictures of another")


@pytest.fixture
def make_room(store, campaign, monkeypatch):
    """The campaign's store is full, and no worker waits long for it; call this to make room."""
    monkeypatch.setattr(failures, "PAUSE_WHEN_STORE_FAILS", 0.01)
    monkeypatch.setattr(shard_writer, "PATIENCE_SECONDS", 0.0)
    monkeypatch.setattr(shard_writer, "RETRY_SECONDS", 0.0)
    working = store.create

    def full(key, data):
        raise StoreUnavailableError("The disk is full; make room.")

    monkeypatch.setattr(store, "create", full)
    return lambda: monkeypatch.setattr(store, "create", working)


def test_while_the_store_fails_units_go_back_and_none_is_parked(
    renderer, make_room, ledger, issue, campaign, wait_until
):
    for _ in range(5):
        renderer.render(issue())
        wait_until(lambda: ledger.counts(campaign.campaign_id).claimed == 0)
    assert ledger.counts(campaign.campaign_id).parked == 0
    make_room()
    renderer.render(issue())
    wait_until(lambda: ledger.counts(campaign.campaign_id).done == 1)


def test_a_unit_that_comes_back_to_the_worker_before_it_is_let_go_of_goes_back_again(
    renderer, make_room, ledger, issue, campaign, monkeypatch, wait_until
):
    release, released = ledger.release, []

    def issue_again(*which):
        release(*which)
        released.append(which)
        if len(released) == 1:
            renderer.render(issue())

    monkeypatch.setattr(ledger, "release", issue_again)
    renderer.render(issue())
    wait_until(lambda: len(released) == 2)
    counts = ledger.counts(campaign.campaign_id)
    assert (counts.claimed, counts.queued, counts.failing) == (0, 0, 0)


def test_a_wrong_environment_is_no_unit_s_fault(
    renderer, store, ledger, issue, campaign, monkeypatch, wait_until
):
    monkeypatch.setattr(failures, "PAUSE_WHEN_STORE_FAILS", 0.0)

    def refuse(key):
        raise ConfigError("The store refuses the credentials; correct them.")

    with monkeypatch.context() as wrong:
        wrong.setattr(store, "exists", refuse)
        for _ in range(ledger_module.MAX_ERRORS + 1):
            renderer.render(issue())
            counts = ledger.counts(campaign.campaign_id)
            assert (counts.claimed, counts.queued, counts.failing) == (0, 0, 0)
    assert load_parked(store, campaign.campaign_id) == []
    renderer.render(issue())
    wait_until(lambda: ledger.counts(campaign.campaign_id).done == 1)


def test_a_model_whose_holder_is_away_is_loaded_once_that_is_back(
    renderer, store, ledger, issue, campaign, monkeypatch, wait_until
):
    monkeypatch.setattr(failures, "PAUSE_WHEN_STORE_FAILS", 0.0)
    tried = []

    def away(*_):
        tried.append(1)
        raise TransientError("The hub does not answer; try again.")

    with monkeypatch.context() as offline:
        offline.setattr(loaded_models, "load_pipeline", away)
        for _ in range(ledger_module.MAX_ERRORS + 1):
            renderer.render(issue())
            counts = ledger.counts(campaign.campaign_id)
            assert (counts.claimed, counts.queued, counts.failing) == (0, 0, 0)
    assert len(tried) == ledger_module.MAX_ERRORS + 1
    assert load_parked(store, campaign.campaign_id) == []
    renderer.render(issue())
    wait_until(lambda: ledger.counts(campaign.campaign_id).done == 1)


def test_campaigns_of_one_model_load_it_once_and_get_the_pixels_of_a_fresh_load(
    renderer, store, ledger, submit, issue, tiny_model, loads, wait_until
):
    recipes = [{"steps": 2, "sampler": "EulerDiscreteScheduler"}, {"steps": 3}, {"steps": 2}]
    campaigns = [submit(make_campaign(model=tiny_model, seeds=3, **recipe)) for recipe in recipes]
    assert len({campaign.generation_id for campaign in campaigns}) == 3
    units = [issue(campaign) for campaign in [*campaigns, campaigns[0]]]
    for unit in units:
        renderer.render(unit)
    wait_until(lambda: all(store.exists(unit_shard(unit)) for unit in units))
    assert loads == campaigns[:1]
    for unit, campaign in zip(units, [*campaigns, campaigns[0]], strict=True):
        images = decode_shard(store.read(unit_shard(unit)), unit_shard(unit))
        fresh = load_pipeline(store, campaign, "cpu", 1).generate(unit.prompt, range(3))
        assert np.array_equal(
            np.stack([pixels_of(image.png) for image in images]),
            np.stack([g.pixels for g in fresh]),
        )


def test_another_model_is_loaded_only_once_the_old_one_is_gone(
    renderer, store, submit, issue, tiny_model, campaign, monkeypatch, wait_until
):
    loaded, alive = [], []

    def load(*arguments):
        alive.append([reference() is not None for reference in loaded])
        pipeline = load_pipeline(*arguments)
        weights = getattr(pipeline, "_pipeline", pipeline)
        loaded.extend([weakref.ref(pipeline), weakref.ref(getattr(weights, "unet", weights))])
        return pipeline

    monkeypatch.setattr(loaded_models, "load_pipeline", load)
    of_tiny = submit(make_campaign(model=tiny_model, seeds=3, steps=1))
    units = [issue(of_tiny), issue(), issue(of_tiny)]
    for unit in units:
        renderer.render(unit)
    wait_until(lambda: all(store.exists(unit_shard(unit)) for unit in units))
    assert alive == [[], [False] * 2, [False] * 4]


def test_the_heartbeat_keeps_a_long_unit_from_being_given_to_another(
    store, ledger, workforce, issue, campaign, monkeypatch, wait_until, broker
):
    monkeypatch.setattr(ledger_module, "LEASE_MS", 400)
    monkeypatch.setattr(heartbeat, "BEAT_SECONDS", 0.1)
    finish = threading.Event()

    class SlowPipeline:
        def generate(self, prompt, seeds):
            finish.wait(10)
            return load_pipeline(store, campaign, "cpu", 1).generate(prompt, seeds)

    monkeypatch.setattr(loaded_models, "load_pipeline", lambda *_: SlowPipeline())
    slow = Renderer(store, ledger, workforce, "slow")
    thread = threading.Thread(target=slow.render, args=[issue()])
    thread.start()
    leases = f"seedsweep:{campaign.campaign_id}:leases"
    first = wait_until(lambda: broker.zscore(leases, 0))
    wait_until(lambda: broker.zscore(leases, 0) > first + 800)
    assert ledger.reap(campaign.campaign_id).to_park == ()
    assert ledger.counts(campaign.campaign_id).claimed == 1
    finish.set()
    thread.join()
    slow.close()
    assert ledger.counts(campaign.campaign_id).done == 1


def test_a_unit_stored_while_the_broker_is_away_stays_claimed_and_is_done_once_it_is_back(
    renderer, ledger, issue, campaign, monkeypatch, wait_until, broker
):
    told = threading.Event()

    def away(*_):
        told.set()
        raise BrokerUnavailableError("The broker takes no writes; wait.")

    with monkeypatch.context() as failing:
        failing.setattr(ledger, "complete", away)
        renderer.render(issue())
        wait_until(told.is_set)
    wait_until(lambda: ledger.counts(campaign.campaign_id).done == 1)
    assert ledger.counts(campaign.campaign_id).window == 0
    assert not broker.exists(f"seedsweep:{campaign.campaign_id}:losses")
