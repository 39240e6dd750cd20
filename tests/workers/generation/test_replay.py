"""Images are made again from their records, and what they are compared with is what was stored."""

import dataclasses
import shutil
import weakref
from pathlib import Path

import numpy as np
import pytest

from seedsweep.storage.errors import ConfigError, ShardCorruptError, TransientError
from seedsweep.storage.folder_store import FolderStore
from seedsweep.storage.keys import unit_shard
from seedsweep.storage.receipts import Receipt, receipt_key, store_receipt
from seedsweep.storage.record import digest
from seedsweep.storage.records import Provenance
from seedsweep.storage.replay_results import Distance, FactDifference, Replay
from seedsweep.storage.settings.model import Model
from seedsweep.storage.shards import decode_shard, encode_shard
from seedsweep.workers.generation import replay as replaying
from seedsweep.workers.generation.replay import compare_facts, make_again, read_recorded
from seedsweep.workers.generation.shard_writer import encode_unit
from seedsweep.workers.images import digest_pixels, encode_png
from seedsweep.workers.models.fingerprint import fingerprint_model
from seedsweep.workers.pipelines.loading import load_pipeline
from seedsweep.workers.pipelines.noise import NoisePipeline
from tests.support.campaigns import make_campaign
from tests.support.pictures import pixels_of
from tests.support.results import make_result
from tests.support.tiny_model import save_tiny_model

SAME = Distance(l2=0, tiled_l2=0, levels=0, share=0)


class MadeUnit:
    """A unit of a campaign that is made and stored, with what may have become of it since."""

    def __init__(self, store, campaign, unit):
        self.store, self.campaign, self.unit = store, campaign, unit
        self.key, self.seeds = unit_shard(unit), range(unit.seeds.first, unit.seeds.last + 1)

    def make(self, pipeline=None):
        pipeline = pipeline or load_pipeline(self.store, self.campaign, "cpu", 1)
        made = pipeline.generate(self.unit.prompt, self.seeds)
        self.store.replace(self.key, encode_unit(self.unit, made))
        return self

    def images(self):
        return decode_shard(self.store.read(self.key), self.key)

    def alter(self, change):
        """Store what `change` makes of each image in its place."""
        images = [change(image) for image in self.images()]
        self.store.replace(self.key, encode_shard(self.unit, images))

    def say(self, **facts):
        """Have the record tell of another provenance."""

        def change(image):
            provenance = image.provenance.model_copy(update=facts)
            return dataclasses.replace(image, provenance=provenance)

        self.alter(change)

    def keep_no_pictures(self):
        seeds = list(self.seeds)
        result = make_result(
            prompt_id=self.unit.prompt_id,
            prompt=self.unit.prompt,
            seeds=len(seeds),
            seeds_digest=digest(seeds),
        )
        store_receipt(self.store, self.campaign, Receipt(tuple(self.images()), "0" * 16, result))
        self.store.delete(self.key)

    def replay(self, seeds=None, **how):
        wanted = self.seeds if seeds is None else seeds
        images = read_recorded(self.store, self.campaign, self.unit, wanted)
        return list(make_again(self.store, self.campaign, images, **how))


@pytest.fixture
def make_made(tmp_path, make_unit):
    """Make a stored unit of so many seeds."""

    def make(model=None, seeds=6, **sampling):
        campaign = make_campaign(model=model, seeds=seeds, **sampling)
        unit = make_unit(campaign, last=seeds - 1)
        return MadeUnit(FolderStore(tmp_path / "store"), campaign, unit)

    return make


@pytest.fixture
def noise(make_made):
    return make_made().make()


class Watched(NoisePipeline):
    """Noise that notes the recipe's batch size and which seeds are asked for together."""

    def __init__(self, sampling, calls):
        super().__init__(sampling)
        self._calls, self._size = calls, sampling.batch_size

    def generate(self, prompt, seeds):
        self._calls.append((self._size, list(seeds)))
        return super().generate(prompt, seeds)

    def with_sampling(self, sampling):
        return Watched(sampling, self._calls)


@pytest.fixture
def watch(monkeypatch):
    """Watch what is asked of pipelines; returns the calls and the places they were loaded for."""
    calls, places = [], []

    def load(store, campaign, device, threads):
        places.append((device, threads))
        return Watched(campaign.sampling, calls)

    monkeypatch.setattr(replaying, "load_pipeline", load)
    return calls, places


def test_noise_is_equal_bit_for_bit(noise):
    replays = noise.replay()
    assert [replay.seed for replay in replays] == list(noise.seeds)
    for replay, image in zip(replays, noise.images(), strict=True):
        assert replay.is_equal
        assert replay.sha256 == replay.sha256_here == image.sha256
        assert replay.here == image.provenance
        assert (replay.distance, replay.differences) == (SAME, ())


@pytest.mark.parametrize("seeds", [[0, 1, 2, 3, 4, 5], [5], [4, 0]])
def test_a_real_models_images_are_equal_bit_for_bit_in_whatever_choice(
    make_made, tiny_model, seeds
):
    made = make_made(tiny_model, steps=2).make()
    replays = made.replay(seeds)
    assert [replay.seed for replay in replays] == sorted(seeds)
    assert all(replay.is_equal and not replay.differences for replay in replays)


def test_a_replay_is_stored_as_json_and_comes_back_equal(noise):
    noise.say(versions="numpy 1.0")
    (replay,) = noise.replay([2])
    assert Replay.model_validate_json(replay.model_dump_json()) == replay


def test_a_batch_is_composed_as_its_unit_composed_it(make_made, watch):
    calls, places = watch
    make_made(seeds=10, batch_size=4).make().replay([9, 5, 6])
    assert calls == [(4, [4, 5, 6, 7]), (4, [8, 9])]
    assert places == [("cpu", 1)]


def test_so_is_one_that_got_smaller_on_the_way(make_made, watch):
    """Batches of 5, the second of which was too much: from then on twos."""
    calls, places = watch
    made = make_made(seeds=10, batch_size=5).make()
    sizes = [5] * 5 + [2] * 5

    def change(image):
        provenance = image.provenance.model_copy(update={"batch_size": sizes[image.seed]})
        return dataclasses.replace(image, provenance=provenance)

    made.alter(change)
    assert not any(replay.differences for replay in made.replay())
    assert sorted(calls) == [(2, [5, 6]), (2, [7, 8]), (2, [9]), (5, [0, 1, 2, 3, 4])]
    assert places == [("cpu", 1)]


def test_a_halved_batch_of_a_real_model_is_made_again_at_its_size(make_made, tiny_model):
    made = make_made(tiny_model, steps=2)
    halved = made.campaign.sampling.model_copy(update={"batch_size": 2})
    alike = made.campaign.model_copy(update={"sampling": halved})
    made.make(load_pipeline(made.store, alike, "cpu", 1))
    for replay in made.replay():
        assert replay.is_equal
        assert (replay.here.batch_size, replay.differences) == (2, ())


def test_threads_are_as_recorded_unless_given_and_then_named(make_made, tiny_model):
    made = make_made(tiny_model, steps=2).make()
    assert {replay.here.threads for replay in made.replay()} == {1}
    told = {replay.differences for replay in made.replay(threads=2)}
    assert told == {(FactDifference(fact="threads", recorded="1", here="2"),)}


def test_a_model_is_loaded_anew_only_for_another_number_of_threads(make_made, watch):
    _, places = watch
    made = make_made().make()

    def change(image):
        facts = {"threads": 1 + image.seed % 2, "batch_size": 1 + image.seed % 3}
        provenance = image.provenance.model_copy(update=facts)
        return dataclasses.replace(image, provenance=provenance)

    made.alter(change)
    made.replay()
    assert places == [("cpu", 1), ("cpu", 2)]


def test_a_model_is_gone_before_the_next_is_loaded(make_made, monkeypatch):
    loaded = []

    def load(store, campaign, device, threads):
        assert not any(pipeline() for pipeline in loaded)
        pipeline = NoisePipeline(campaign.sampling)
        loaded.append(weakref.ref(pipeline))
        return pipeline

    made = make_made().make()
    monkeypatch.setattr(replaying, "load_pipeline", load)
    made.alter(
        lambda image: dataclasses.replace(
            image, provenance=image.provenance.model_copy(update={"threads": image.seed + 1})
        )
    )
    made.replay()
    assert len(loaded) == 6


def test_a_device_that_is_not_here_is_replaced_by_one_that_is_and_named(noise, watch, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    _, places = watch
    noise.say(device="NVIDIA H100")
    (replay,) = noise.replay([1])
    assert replay.differences == (
        FactDifference(fact="device", recorded="NVIDIA H100", here="cpu"),
    )
    noise.say(device="cuda:1")
    noise.replay([1])
    noise.say(device="cpu")
    noise.replay([1])
    noise.replay([1], device="cuda:0")
    assert [device for device, _ in places] == ["cuda:0", "cuda:1", "cpu", "cuda:0"]


def test_other_pixels_are_measured_and_nothing_recorded_explains_them(noise):
    """Against the definitions: l2 over all values, the worst of 4 x 4 tiles, levels, pixels."""

    def change(image):
        pixels = pixels_of(image.png)
        pixels[3, 5] = 255 - pixels[3, 5]
        return dataclasses.replace(image, png=encode_png(pixels), sha256=digest_pixels(pixels))

    before = [pixels_of(image.png).astype(float) for image in noise.images()]
    noise.alter(change)
    for replay, image, original in zip(noise.replay(), noise.images(), before, strict=True):
        apart = (original - pixels_of(image.png)) / 255
        tiles = [apart[y : y + 4, x : x + 4] for y in range(0, 16, 4) for x in range(0, 16, 4)]
        assert not replay.is_equal
        assert replay.differences == ()
        assert replay.distance.l2 == pytest.approx(np.sqrt((apart**2).mean()))
        worst = max(np.sqrt((tile**2).mean()) for tile in tiles)
        assert replay.distance.tiled_l2 == pytest.approx(worst)
        assert replay.distance.levels == round(np.abs(apart).max() * 255)
        assert replay.distance.share == pytest.approx(1 / 256)


def test_a_picture_that_is_not_what_its_digest_names_is_no_basis(noise):
    def change(image):
        return dataclasses.replace(image, png=encode_png(np.zeros((16, 16, 3), np.uint8)))

    noise.alter(change)
    with pytest.raises(ShardCorruptError, match=noise.key):
        noise.replay([1])
    noise.store.replace(noise.key, b"not a shard")
    with pytest.raises(ShardCorruptError, match=noise.key):
        noise.replay([1])


def test_a_unit_that_is_not_made_has_no_records(make_made):
    assert make_made().replay() == []


def test_a_receipt_is_enough_to_tell_whether_pixels_are_equal_and_not_how_far_they_are(noise):
    noise.keep_no_pictures()
    assert all(replay.is_equal and replay.distance == SAME for replay in noise.replay())

    noise.make()
    noise.alter(lambda image: dataclasses.replace(image, sha256="0" * 64))
    noise.keep_no_pictures()
    for replay in noise.replay():
        assert not replay.is_equal
        assert replay.distance is None
    noise.store.replace(receipt_key(noise.campaign, noise.unit.prompt_id), b"no receipt")
    with pytest.raises(ShardCorruptError, match="receipt"):
        noise.replay()


def test_a_model_that_is_not_the_one_submitted_is_refused(make_made, tmp_path):
    save_tiny_model(tmp_path / "model")
    model = Model(path=str(tmp_path / "model"))
    model = model.model_copy(update={"fingerprint": fingerprint_model(model)})
    made = make_made(model, steps=1).make()
    index = tmp_path / "model" / "scheduler" / "scheduler_config.json"
    index.write_text(index.read_text() + "\n")
    with pytest.raises(ConfigError, match="not the one that was submitted"):
        made.replay([0])
    shutil.rmtree(Path(model.path))
    with pytest.raises(ConfigError, match="nothing that this host can read"):
        made.replay([0])


@pytest.mark.parametrize(
    ("raised", "said"),
    [
        (RuntimeError("no\nluck"), r"^No image can be made again on cpu \(.*luck.*--device\.$"),
        (ShardCorruptError("out of luck"), "^out of luck$"),
    ],
)
def test_a_model_that_fails_here_is_refused_in_one_sentence(noise, monkeypatch, raised, said):
    def load(*_):
        raise raised

    monkeypatch.setattr(replaying, "load_pipeline", load)
    with pytest.raises(ConfigError, match=said):
        noise.replay([0])


def test_a_service_that_is_away_is_no_fault_of_the_user(noise, monkeypatch):
    def load(*_):
        raise TransientError("away")

    monkeypatch.setattr(replaying, "load_pipeline", load)
    with pytest.raises(TransientError, match="away"):
        noise.replay([0])


def made(**changes):
    usual = {"batch_size": 4, "threads": 1, "device": "cpu", "dtype": "float32"}
    return Provenance(**usual | {"versions": "torch 2.13, numpy 2.3", "recipe": "{}"} | changes)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({}, []),
        ({"versions": "numpy 2.3, torch 2.13"}, []),
        ({"batch_size": 2, "dtype": "float16"}, ["batch_size 4 2", "dtype float32 float16"]),
        ({"versions": "torch 2.14, numpy 2.3"}, ["versions.torch 2.13 2.14"]),
        ({"versions": "torch 2.13"}, ["versions.numpy 2.3 -"]),
        ({"recipe": '{"steps":9}'}, ["recipe.steps - 9"]),
        ({"recipe": "as ever"}, ["recipe - as ever"]),
        (
            {"versions": "torch 2.13, numpy 2.3, custom"},
            ["versions.custom - custom"],
        ),
    ],
)
def test_each_fact_that_is_another_one_is_named(changes, told):
    found = compare_facts(made(), made(**changes))
    assert [f"{d.fact} {d.recorded or '-'} {d.here or '-'}" for d in found] == told
