"""A store that goes away between rendering and storing: the unit goes back, and is made once."""

import pytest

from seedsweep.storage.campaigns import load_parked, store_campaign
from seedsweep.storage.keys import unit_shard
from seedsweep.storage.ledger import MAX_ERRORS
from seedsweep.storage.s3.connection import Patience
from seedsweep.storage.s3.store import S3Store
from seedsweep.storage.shards import decode_shard
from seedsweep.storage.stores import open_store
from seedsweep.workers.generation import failures, shard_writer
from seedsweep.workers.generation.renderer import Renderer
from seedsweep.workers.pipelines.loading import load_pipeline
from tests.support.campaigns import make_campaign, make_submission, nothing_done
from tests.support.proxy import INTERNAL_ERROR, STORAGE_FULL, Faults

HASTE = Patience(connect=0.2, read=0.2, again=0.2, backoff=0.001)
FAULTS = {
    "away": Faults(refuse=True),
    "silent": Faults(black_hole=True),
    "full": Faults(errors=1.0, error=STORAGE_FULL),
    "failing": Faults(errors=1.0, error=INTERNAL_ERROR),
    "uploads cut": Faults(cut_sent=2000),
}


@pytest.fixture
def direct(s3_url):
    """The store, past the proxy."""
    return open_store(s3_url)


@pytest.fixture
def campaign(direct, ledger, make_unit):
    """A campaign of one unit."""
    campaign = make_campaign(seeds=3)
    store_campaign(direct, make_submission(campaign), ["a cat"])
    ledger.restore(campaign.campaign_id, nothing_done(1))
    return campaign


@pytest.fixture
def issue(ledger, campaign, make_unit):
    """Take the unit off the queue."""

    def issue():
        token, (index,) = ledger.issue(campaign.campaign_id, 1)
        return make_unit(campaign, index=index, token=token)

    return issue


@pytest.fixture
def renderer(proxied_url, ledger, workforce, campaign, monkeypatch):
    """A worker that soon loses its patience, behind the proxy."""
    monkeypatch.setattr(shard_writer, "PATIENCE_SECONDS", 0.1)
    monkeypatch.setattr(shard_writer, "RETRY_SECONDS", 0.02)
    monkeypatch.setattr(failures, "PAUSE_WHEN_STORE_FAILS", 0.0)
    store = S3Store(proxied_url, patience=HASTE)
    store.create("known/already", b"")
    renderer = Renderer(store, ledger, workforce, "worker-under-test")
    yield renderer
    renderer.close()


@pytest.fixture
def fail(campaign, direct, issue, renderer, ledger, s3_proxy, wait_until):
    """Have the store fail from the unit's rendering on, until the unit is handed back."""
    whole = load_pipeline(direct, campaign, "cpu", 1)

    class Unlucky:
        def __init__(self, faults):
            self.faults = faults

        def generate(self, prompt, seeds):
            s3_proxy.faults = self.faults
            return whole.generate(prompt, seeds)

    def fail(faults):
        renderer._models._loaded = {campaign.model.model_id: (campaign, Unlucky(faults))}
        renderer.render(issue())
        wait_until(lambda: ledger.counts(campaign.campaign_id).window == 0)
        renderer._models._loaded = {}

    return fail


@pytest.mark.parametrize("faults", FAULTS.values(), ids=FAULTS)
def test_a_unit_whose_store_stays_away_goes_back_uncounted_and_is_stored_once_it_heals(
    renderer, direct, ledger, campaign, issue, fail, s3_proxy, wait_until, faults
):
    """However often: a store that is away is not the unit's fault."""
    for _ in range(MAX_ERRORS + 1):
        fail(faults)
        s3_proxy.cut()
        s3_proxy.heal()
    counts = ledger.counts(campaign.campaign_id)
    assert (counts.done, counts.failing, counts.parked) == (0, 0, 0)
    assert load_parked(direct, campaign.campaign_id) == []
    assert list(direct.list("shards/")) == []
    unit = issue()
    renderer.render(unit)
    wait_until(lambda: ledger.counts(campaign.campaign_id).done == 1)
    assert_is_stored_once(direct, unit)


@pytest.mark.parametrize("faults", [Faults(lose_answer=1.0), Faults(black_hole=True)])
def test_a_unit_whose_shard_came_to_be_though_no_answer_came_is_not_made_again(
    renderer, direct, ledger, campaign, issue, fail, s3_proxy, wait_until, faults
):
    """The answer was lost, or the request arrives long after the worker gave it up."""
    fail(faults)
    counts = ledger.counts(campaign.campaign_id)
    assert (counts.done, counts.failing, counts.parked) == (0, 0, 0)
    s3_proxy.heal()
    unit = issue()
    wait_until(lambda: direct.exists(unit_shard(unit)))
    # Whatever would be asked to render it would fail.
    renderer._models._loaded = {campaign.model.model_id: (campaign, None)}
    renderer.render(unit)
    assert ledger.counts(campaign.campaign_id).done == 1
    assert_is_stored_once(direct, unit)


def assert_is_stored_once(store, unit):
    assert list(store.list("shards/")) == [unit_shard(unit)]
    images = decode_shard(store.read(unit_shard(unit)), unit_shard(unit))
    assert [image.seed for image in images] == [0, 1, 2]
