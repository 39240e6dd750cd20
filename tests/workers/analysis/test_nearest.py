import math
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seedsweep.workers.analysis import nearest
from seedsweep.workers.analysis.nearest import describe_training, nearest_images


def slow_nearest(image, pictures, count):
    """All pixels of all pictures, in integers: (index, l2), nearest first."""
    differences = pictures.astype(np.int64) - image
    squared = np.square(differences).sum(axis=(1, 2, 3)).tolist()
    order = sorted((far, index) for index, far in enumerate(squared))
    return [(index, math.sqrt(far / image.size) / 255) for far, index in order[:count]]


def blurred(rng, height, width):
    """A picture that is smooth at some scale, as pictures are."""
    grain = int(rng.integers(1, 33))
    cells = rng.integers(0, 256, (-(-height // grain), -(-width // grain), 3))
    return cells.repeat(grain, axis=0).repeat(grain, axis=1)[:height, :width]


@st.composite
def training_sets(draw):
    """Pictures of any size, with copies and near-copies of some among them, or all the same."""
    height, width = draw(st.integers(1, 70)), draw(st.integers(1, 70))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    originals = [blurred(rng, height, width) for _ in range(draw(st.integers(1, 12)))]
    reach = draw(st.sampled_from([0, 1, 6, 40]))
    copied = rng.integers(0, len(originals), draw(st.integers(1, 60)))
    pictures = np.stack([originals[i] for i in copied])
    pictures = pictures + rng.integers(-reach, reach + 1, (len(pictures), 1, 1, 3))
    pictures = pictures + rng.integers(-reach, reach + 1, pictures.shape)
    pictures = np.clip(pictures, 0, 255).astype(np.uint8)
    image = draw(st.sampled_from([pictures[-1], np.uint8(255) - pictures[0]]))
    return image, pictures


@settings(deadline=None, max_examples=200)
@given(training_sets(), st.sampled_from([1, 2, 7, 50, 1000]), st.sampled_from([0, 9999]))
def test_they_are_those_that_comparing_all_pixels_finds_bit_for_bit(found, count, small):
    image, pictures = found
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(nearest, "_SMALL", small)  # so that blocks of both sizes are tried
        near = nearest_images(image, describe_training(pictures), count)
    pairs = list(zip(near.indexes.tolist(), near.l2.tolist(), strict=True))
    assert pairs == slow_nearest(image, pictures, count)


@pytest.mark.parametrize("blocks", [1, 2, 17])
def test_how_many_are_compared_at_once_changes_nothing(blocks, monkeypatch):
    rng = np.random.default_rng(1)
    pictures = np.stack([blurred(rng, 33, 20) for _ in range(150)]).astype(np.uint8)
    expected = slow_nearest(pictures[3], pictures, 40)
    monkeypatch.setattr(nearest, "_COARSE_VALUES", blocks)
    monkeypatch.setattr(nearest, "_FINE_VALUES", blocks * 16 * 10)
    monkeypatch.setattr(nearest, "_PICTURE_BYTES", blocks * 33 * 20 * 3)
    near = nearest_images(pictures[3], describe_training(pictures), 40)
    assert list(zip(near.indexes.tolist(), near.l2.tolist(), strict=True)) == expected


def test_pictures_too_large_for_exact_bounds_are_compared_by_a_part_of_them(monkeypatch):
    """A limit as low as if they were 8192 pixels a side."""
    rng = np.random.default_rng(2)
    pictures = np.stack([blurred(rng, 64, 48) for _ in range(80)]).astype(np.uint8)
    monkeypatch.setattr(nearest, "can_bound", lambda values, _: values <= 16 * 48 * 3)
    training = describe_training(pictures)
    assert training.colours.shape == (80, 2 * 6 * 3)
    near = nearest_images(pictures[5], training, 20)
    found = list(zip(near.indexes.tolist(), near.l2.tolist(), strict=True))
    assert found == slow_nearest(pictures[5], pictures, 20)


def test_of_what_is_plainly_far_no_pixel_is_read(monkeypatch):
    rng = np.random.default_rng(3)
    pictures = np.stack([blurred(rng, 64, 64) for _ in range(2000)]).astype(np.uint8)
    looked_at = []
    compare = nearest.l2_to_all
    monkeypatch.setattr(
        nearest, "l2_to_all", lambda i, them: looked_at.append(len(them)) or compare(i, them)
    )
    near = nearest_images(pictures[77] ^ 1, describe_training(pictures), 1)
    assert near.indexes.tolist() == [77]
    assert sum(looked_at) < 10


def test_a_search_holds_a_few_bytes_for_each_picture(tmp_path):
    def peak(count):
        path = tmp_path / f"{count}.npy"
        np.save(path, np.random.default_rng(4).integers(0, 256, (count, 16, 16, 3), np.uint8))
        training = describe_training(np.load(path, mmap_mode="r"))
        tracemalloc.start()
        nearest_images(np.zeros((16, 16, 3), np.uint8), training, 1)
        held = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return held

    few, many = peak(20_000), peak(80_000)
    assert (many - few) / 60_000 < 80  # a picture has 768 bytes


def test_a_picture_of_another_size_is_refused():
    training = describe_training(np.zeros((2, 5, 4, 3), np.uint8))
    with pytest.raises(ValueError, match="others"):
        nearest_images(np.zeros((4, 5, 3), np.uint8), training, 1)
