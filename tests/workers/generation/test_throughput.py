"""A few images are generated as a worker does, and say what all of them will take."""

import pytest

from seedsweep.storage.errors import ConfigError, GenerationError, TransientError
from seedsweep.storage.folder_store import FolderStore
from seedsweep.storage.keys import unit_shard
from seedsweep.storage.prompt_results import PromptResult
from seedsweep.storage.receipts import Receipt, receipt_key, store_receipt
from seedsweep.storage.record import digest
from seedsweep.storage.settings.model import Model
from seedsweep.storage.shards import decode_shard
from seedsweep.workers.generation import throughput
from seedsweep.workers.generation.shard_writer import encode_unit
from seedsweep.workers.generation.throughput import measure, sizes_of
from seedsweep.workers.pipelines.noise import NoisePipeline
from tests.support.campaigns import make_campaign


@pytest.fixture(autouse=True)
def _in_a_moment(monkeypatch):
    monkeypatch.setattr(throughput, "MIN_SECONDS", 0.0)


@pytest.fixture
def store(tmp_path):
    return FolderStore(tmp_path / "store")


@pytest.fixture
def units(make_unit):
    """Make units of two prompts, of so many seeds."""

    def make(campaign, length):
        return [
            make_unit(campaign, prompt, first=10, last=9 + length) for prompt in ("a cat", "a dog")
        ]

    return make


class Clockwork:
    """A pipeline whose every call takes so many seconds on a clock of its own."""

    def __init__(self, monkeypatch, sampling, seconds):
        self.calls, self._seconds, self._now = [], iter(seconds), 0.0
        self._noise = NoisePipeline(sampling)
        monkeypatch.setattr(throughput.time, "perf_counter", lambda: self._now)
        monkeypatch.setattr(throughput, "load_pipeline", lambda *_, **__: self)

    def generate(self, prompt, seeds):
        self.calls.append((prompt, list(seeds)))
        self._now += next(self._seconds)
        return self._noise.generate(prompt, seeds)


def ignore(images, seconds):
    pass


def test_the_rate_is_that_of_whole_units_with_a_padded_batch_as_dear_as_it_is(
    monkeypatch, store, units
):
    """Ten images in batches of four: two whole ones and one of two, each as slow as the others."""
    campaign = make_campaign(batch_size=4, images_per_unit=10)
    clock = Clockwork(monkeypatch, campaign.sampling, seconds=[99, 1, 1, 2, 2])
    seen = []
    rate, _ = measure(store, campaign, units(campaign, 10), "cpu", lambda *now: seen.append(now))
    assert clock.calls == [
        ("a cat", [10, 11, 12, 13]),
        ("a cat", [10, 11, 12, 13]),
        ("a cat", [14, 15]),
        ("a dog", [10, 11, 12, 13]),
        ("a dog", [14, 15]),
    ]
    assert rate.images_per_second == pytest.approx(20 / (3 + 6))
    assert (rate.lowest, rate.highest) == pytest.approx((10 / 6, 10 / 3))
    assert (rate.rounds, rate.images, rate.seconds) == (2, 12, 6.0)
    assert seen == [(6, 2.0), (12, 6.0)]


def test_a_unit_smaller_than_a_batch_is_measured_as_it_is(monkeypatch, store, units):
    campaign = make_campaign(batch_size=8, images_per_unit=3)
    clock = Clockwork(monkeypatch, campaign.sampling, seconds=[1, 1, 1])
    rate, _ = measure(store, campaign, units(campaign, 3), "cpu", ignore)
    assert [len(seeds) for _, seeds in clock.calls] == [3, 3, 3]
    assert rate.images_per_second == pytest.approx(3)


def test_a_slow_device_is_given_up_after_one_round_and_a_fast_one_goes_on(
    monkeypatch, store, units
):
    monkeypatch.setattr(throughput, "MIN_SECONDS", 3.0)
    campaign = make_campaign(batch_size=4, images_per_unit=4)
    Clockwork(monkeypatch, campaign.sampling, seconds=[0, 61])
    assert measure(store, campaign, units(campaign, 4), "cpu", ignore)[0].rounds == 1
    Clockwork(monkeypatch, campaign.sampling, seconds=[0, 1, 1, 1])
    assert measure(store, campaign, units(campaign, 4), "cpu", ignore)[0].rounds == 3


def test_a_real_model_is_measured_and_the_store_left_alone(store, units, tiny_model):
    campaign = make_campaign(model=tiny_model, steps=2)
    rate, sizes = measure(store, campaign, units(campaign, 6), "cpu", ignore)
    assert 0 < rate.lowest <= rate.images_per_second <= rate.highest
    assert (rate.device, rate.rounds, rate.images) == ("cpu", 2, 12)
    assert sizes.measured
    assert list(store.list("")) == []


@pytest.mark.parametrize(("side", "excess"), [(16, 0.1), (64, 0.01)])
def test_sizes_from_a_few_images_are_those_of_whole_shards(make_unit, side, excess):
    """Foretold from shards of 6 images, held against a shard of 48."""
    campaign = make_campaign(width=side, height=side)
    pipeline = NoisePipeline(campaign.sampling)

    def shard(prompt, length):
        unit = make_unit(campaign, prompt, first=0, last=length - 1)
        return encode_unit(unit, pipeline.generate(prompt, range(length)))

    sizes = sizes_of([(shard(prompt, 6), 6) for prompt in ("a cat", "an owl")])
    foretold = sizes.shard + 48 * sizes.shard_image
    assert 1 <= foretold / len(shard("a cat", 48)) < 1 + excess


def test_a_receipt_is_foretold_from_shards(store, make_unit):
    """But for the verdict, which is not known before."""
    campaign = make_campaign(seeds=48, width=64, height=64)
    pipeline = NoisePipeline(campaign.sampling)
    unit = make_unit(campaign, first=0, last=47)
    shard = encode_unit(unit, pipeline.generate(unit.prompt, range(48)))
    small = make_unit(campaign, first=0, last=5)
    sizes = sizes_of([(encode_unit(small, pipeline.generate(small.prompt, range(6))), 6)])
    result = PromptResult(
        prompt_id=unit.prompt_id,
        prompt=unit.prompt,
        seeds=48,
        seeds_digest=digest(list(range(48))),
        excluded=0,
        edges=0,
        clique_size=0,
        clique_seeds=(),
        clique_proven=True,
        clique_upper_bound=0,
        mean_distance=None,
        flagged=False,
        representative_seed=None,
        match=None,
    )
    images = tuple(decode_shard(shard, unit_shard(unit)))
    store_receipt(store, campaign, Receipt(images, "0" * 16, result))
    stored = len(store.read(receipt_key(campaign, unit.prompt_id)))
    assert sizes.receipt + 48 * sizes.receipt_image == pytest.approx(stored, rel=0.1)


def test_what_fails_here_is_said_with_the_way_round_it(monkeypatch, store, units):
    campaign = make_campaign()
    wrong = Model(pipeline="python", path="spots:draw", fingerprint="python:spots")
    other = make_campaign(model=wrong)
    with pytest.raises(ConfigError, match=r"SEEDSWEEP_ALLOW_PYTHON.*--images-per-second"):
        measure(store, other, units(other, 4), "cpu", ignore)
    for error in (RuntimeError("no\nluck"), GenerationError("no luck"), MemoryError("no luck")):
        monkeypatch.setattr(throughput, "load_pipeline", Raising(error))
        with pytest.raises(ConfigError, match=r"^.*no.*luck.*--images-per-second\.$"):
            measure(store, campaign, units(campaign, 4), "cpu", ignore)


def test_a_service_that_is_away_is_no_fault_of_the_file(monkeypatch, store, units):
    campaign = make_campaign()
    monkeypatch.setattr(throughput, "load_pipeline", Raising(TransientError("away")))
    with pytest.raises(TransientError, match="away"):
        measure(store, campaign, units(campaign, 4), "cpu", ignore)


class Raising:
    def __init__(self, error):
        self._error = error

    def __call__(self, *_, **__):
        raise self._error
