import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workers.analysis.descriptors import block_sums, candidates, describe
from workers.analysis.distances import tiled_edges


def slow_block_sums(pixels):
    rows, columns = pixels.shape[0] // 4, pixels.shape[1] // 4
    return [
        [
            sum(int(v) for v in pixels[4 * r : 4 * r + 4, 4 * c : 4 * c + 4].ravel())
            for c in range(columns)
        ]
        for r in range(rows)
    ]


@st.composite
def picture_sets(draw):
    """Sets of pictures with near-copies among them, so that many pairs are near the threshold."""
    height, width = draw(st.integers(1, 21)), draw(st.integers(1, 21))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    base = rng.integers(0, 256, (height, width, 3))
    reach = draw(st.sampled_from([0, 1, 8, 40, 255]))
    wobble = rng.integers(-reach, reach + 1, (6, height, width, 3))
    shift = rng.integers(-reach, reach + 1, (6, 1, 1, 1))
    flat = draw(st.booleans())
    return np.clip(base + (shift if flat else wobble), 0, 255).astype(np.uint8)


@settings(deadline=None, max_examples=150)
@given(picture_sets(), st.integers(1, 6), st.sampled_from([0.01, 0.05, 0.1, 0.15, 0.5, 1.0]))
def test_no_true_edge_is_ever_rejected(pictures, tiles, threshold):
    _, height, width, _ = pictures.shape
    possible = candidates([describe(p) for p in pictures], height, width, tiles, threshold)
    assert not (tiled_edges(pictures, tiles, threshold) & ~possible).any()
    assert np.array_equal(possible, possible.T)
    assert not possible.diagonal().any()


@pytest.mark.parametrize("tiles", [1, 2, 3, 4])
def test_a_flat_difference_of_exactly_the_threshold_is_kept_and_beyond_it_rejected(tiles):
    """Where pictures differ by a constant the bound is the distance itself."""
    black = np.zeros((16, 16, 3), np.uint8)
    at, beyond = black + np.uint8(51), black + np.uint8(52)  # 51 / 255 = 0.2
    possible = candidates([describe(p) for p in (black, at, beyond)], 16, 16, tiles, 0.2)
    assert possible[0, 1]
    # With ragged tiles some blocks are left out of the bound, which then is smaller.
    assert possible[0, 2] == (tiles == 3)


def test_ordinary_pictures_are_rejected_so_that_none_needs_decoding():
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (30, 8, 8, 3), dtype=np.uint8)
    pictures = coarse.repeat(8, axis=1).repeat(8, axis=2)
    assert not candidates([describe(p) for p in pictures], 64, 64, 4, 0.1).any()


def test_no_picture_has_no_candidates():
    assert candidates([], 64, 64, 4, 0.1).shape == (0, 0)


@pytest.mark.parametrize(("height", "width"), [(4, 4), (9, 14), (3, 8)])
def test_block_sums_are_those_of_whole_blocks(height, width):
    pixels = np.random.default_rng(1).integers(0, 256, (height, width, 3), dtype=np.uint8)
    assert block_sums(pixels).tolist() == slow_block_sums(pixels)


def test_the_largest_sum_fits_what_is_stored():
    white = np.full((4, 4, 3), 255, np.uint8)
    assert np.frombuffer(describe(white), "<i2").tolist() == [12_240]


def test_a_descriptor_of_a_512_px_picture_stays_within_40_kb():
    assert len(describe(np.zeros((512, 512, 3), np.uint8))) == 32_768
