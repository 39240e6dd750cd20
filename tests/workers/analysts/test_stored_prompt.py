from dataclasses import replace

import numpy as np
import pytest

import seedsweep.workers.analysts.stored_prompt as module
from seedsweep.storage.errors import ShardCorruptError
from seedsweep.storage.shards import decode_shard
from seedsweep.workers.analysts.stored_prompt import read_prompt
from seedsweep.workers.images import digest_pixels, encode_png
from seedsweep.workers.stored_images import BrokenShardError, decode_pixels


@pytest.fixture
def pictures():
    return np.random.default_rng(0).integers(0, 256, (9, 16, 16, 3), dtype=np.uint8)


@pytest.fixture
def stored(store_prompt, pictures):
    """A prompt of nine pictures in three shards."""
    return store_prompt(pictures, per_shard=3)


def corrupt(store, key):
    store.replace(key, b"PAR1 no longer")


def test_the_images_of_all_shards_are_described_by_ascending_seed(stored):
    prompt = stored.read()
    assert [image.seed for image in prompt.images] == list(range(9))
    assert list(prompt.shards) == [key for key in stored.keys for _ in range(3)]
    assert prompt.corrupt == ()


def test_the_pictures_asked_for_come_back_as_they_were_made(stored, pictures):
    for places in ([], [4], [0, 1, 2], [2, 3, 8], list(range(9))):
        assert np.array_equal(stored.read().pixels(places), pictures[places])


def test_pictures_beyond_what_memory_is_meant_for_lie_in_a_file(stored, pictures, monkeypatch):
    monkeypatch.setattr(module, "IN_MEMORY_BYTES", 8 * pictures[0].size)
    assert type(stored.read().pixels(range(8))) is np.ndarray
    found = stored.read().pixels(range(9))
    assert isinstance(found, np.memmap)
    assert np.array_equal(found, pictures)


def test_a_corrupt_shard_is_named_and_the_others_are_read(stored):
    corrupt(stored.store, stored.keys[1])
    prompt = stored.read()
    assert prompt.corrupt == (stored.keys[1],)
    assert [image.seed for image in prompt.images] == [0, 1, 2, 6, 7, 8]


def test_a_missing_shard_is_skipped(stored):
    stored.store.delete(stored.keys[1])
    prompt = stored.read()
    assert prompt.corrupt == ()
    assert [image.seed for image in prompt.images] == [0, 1, 2, 6, 7, 8]


def test_a_shard_known_to_be_corrupt_is_not_read_again(stored):
    prompt = read_prompt(
        stored.store, stored.submission, stored.text, without=frozenset([stored.keys[0]])
    )
    assert prompt.corrupt == (stored.keys[0],)
    assert len(prompt.images) == 6


def test_a_shard_that_vanishes_before_its_pictures_are_read_is_broken(stored):
    prompt = stored.read()
    stored.store.delete(stored.keys[2])
    with pytest.raises(BrokenShardError, match="gone") as broken:
        prompt.pixels([0, 8])
    assert broken.value.key == stored.keys[2]


def test_other_pixels_than_were_made_are_found_when_they_are_wanted(stored):
    stored.alter(1, lambda images: [replace(images[0], png=images[1].png), *images[1:]])
    prompt = stored.read()
    assert prompt.corrupt == ()
    assert len(prompt.pixels([0, 4, 5])) == 3
    with pytest.raises(BrokenShardError, match="seed 3") as broken:
        prompt.pixels([0, 3])
    assert broken.value.key == stored.keys[1]
    assert stored.corrupt() == [stored.keys[1]]


def test_pictures_of_another_size_are_refused(stored):
    small = np.zeros((8, 16, 3), np.uint8)
    other = {"png": encode_png(small), "sha256": digest_pixels(small)}
    stored.alter(0, lambda images: [replace(image, **other) for image in images])
    with pytest.raises(BrokenShardError, match="16 x 8"):
        stored.read().pixels([0])
    assert stored.corrupt() == [stored.keys[0]]


def test_a_descriptor_of_another_size_makes_a_shard_corrupt(stored):
    stored.alter(0, lambda images: [replace(i, descriptor=b"short") for i in images])
    assert stored.read().corrupt == (stored.keys[0],)


def test_a_prompt_without_corrupt_shards_has_none(stored):
    stored.store.delete(stored.keys[1])
    assert stored.corrupt() == []
    corrupt(stored.store, stored.keys[2])
    assert stored.corrupt() == [stored.keys[2]]


def test_pixels_that_are_not_those_recorded_are_refused(stored):
    one, other, _ = decode_shard(stored.store.read(stored.keys[0]), stored.keys[0])
    sampling = stored.submission.campaign.sampling
    assert decode_pixels(one, sampling).shape == (16, 16, 3)
    with pytest.raises(ShardCorruptError, match="seed 0"):
        decode_pixels(replace(one, png=other.png), sampling)
