import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seedsweep.workers.analysis import distances as module
from seedsweep.workers.analysis.distances import (
    edge_limit,
    l2_to_all,
    paired_tiled,
    squared_blocks,
    tile_grid,
    tile_values,
    tiled_distances,
    tiled_edges,
    tiled_pairs,
    tiled_to,
)

modest = settings(max_examples=40, derandomize=True, deadline=None)


@st.composite
def pictures(draw, most=5, side=9):
    count = draw(st.integers(0, most))
    height, width = draw(st.integers(1, side)), draw(st.integers(1, side))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    spread = draw(st.sampled_from([1, 20, 255]))
    base = rng.integers(0, 256 - spread, (1, height, width, 3))
    return (base + rng.integers(0, spread + 1, (count, height, width, 3))).astype(np.uint8)


def tiles_of(image, tiles):
    """The tiles as numpy.array_split cuts them, without the empty ones."""
    for band in np.array_split(image.astype(int), tiles, axis=0):
        for tile in np.array_split(band, tiles, axis=1):
            if tile.size:
                yield tile


def slow_squared(a, b, tiles):
    """(integer squared distance, values) of every tile, pixel by pixel in Python integers."""
    for s, t in zip(tiles_of(a, tiles), tiles_of(b, tiles), strict=True):
        yield sum((int(x) - int(y)) ** 2 for x, y in zip(s.flat, t.flat, strict=True)), s.size


def slow_tiled(a, b, tiles):
    """Tiled l2 as published, in float64 on pixels in [0, 1]."""
    return max(
        math.sqrt(np.mean((s / 255.0 - t / 255.0) ** 2))
        for s, t in zip(tiles_of(a, tiles), tiles_of(b, tiles), strict=True)
    )


def slow_edge(a, b, tiles, threshold):
    """The edge test in rational numbers: no rounding anywhere."""
    limit = Fraction(str(threshold)) ** 2
    return all(Fraction(s, n * 255**2) <= limit for s, n in slow_squared(a, b, tiles))


def squared_in(images, tile):
    """All squared distances in one tile, of images that are few enough for one block."""
    ((_, _, squared),) = squared_blocks(images, tile)
    return squared


def flat(height, width, *levels):
    return np.stack([np.full((height, width, 3), level, np.uint8) for level in levels])


@modest
@given(pictures(), st.integers(1, 11))
def test_tiled_distances_are_the_published_formula(images, tiles):
    found = tiled_distances(images, tiles)
    assert found.shape == (len(images), len(images))
    assert found.dtype == np.float64
    for i, a in enumerate(images):
        for j, b in enumerate(images):
            assert found[i, j] == pytest.approx(slow_tiled(a, b, tiles), rel=1e-12, abs=1e-15)


@modest
@given(pictures(), st.integers(1, 11))
def test_squared_distances_are_exact_integers_tile_by_tile(images, tiles):
    _, height, width, _ = images.shape
    grid = tile_grid(height, width, tiles)
    for i, a in enumerate(images):
        for j, b in enumerate(images):
            exact = list(slow_squared(a, b, tiles))
            found = [(squared_in(images, tile)[i, j], tile_values(tile)) for tile in grid]
            assert found == exact


@modest
@given(pictures(), st.integers(1, 5))
def test_distances_are_bit_for_bit_symmetric_with_a_zero_diagonal(images, tiles):
    found = tiled_distances(images, tiles)
    assert np.array_equal(found, found.T)
    assert not found.diagonal().any()


@modest
@given(pictures(), st.integers(1, 5), st.sampled_from([0, 0.001, 0.03, 0.05, 0.1, 0.35, 1.0]))
def test_edges_are_the_rational_test_of_every_tile(images, tiles, threshold):
    found = tiled_edges(images, tiles, threshold)
    assert found.dtype == np.bool_
    for i, a in enumerate(images):
        for j, b in enumerate(images):
            assert found[i, j] == (i != j and slow_edge(a, b, tiles, threshold))


@modest
@given(pictures(), st.integers(1, 5), st.sampled_from([0.03, 0.1, 0.35]))
def test_one_pass_gives_the_same_distances_and_edges(images, tiles, threshold):
    both = tiled_pairs(images, tiles, threshold)
    assert np.array_equal(both.distances, tiled_distances(images, tiles))
    assert np.array_equal(both.edges, tiled_edges(images, tiles, threshold))


@modest
@given(pictures(most=9), st.integers(1, 5), st.integers(1, 4), st.integers(1, 4))
def test_neither_blocks_of_images_nor_threads_change_a_bit(images, tiles, block, threads):
    whole = tiled_pairs(images, tiles, 0.1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_BLOCK_IMAGES", block)
        found = tiled_pairs(images, tiles, 0.1, threads=threads)
    assert np.array_equal(found.edges, whole.edges)
    assert np.array_equal(found.distances, whole.distances)


@modest
@given(pictures(), st.integers(1, 5))
def test_the_order_of_the_images_changes_no_bit(images, tiles):
    backwards = tiled_distances(images[::-1], tiles)[::-1, ::-1]
    assert np.array_equal(tiled_distances(images, tiles), backwards)


@pytest.mark.parametrize("tiles", [1, 2, 3, 4, 5, 7, 8, 100])
@pytest.mark.parametrize(("height", "width"), [(1, 1), (4, 4), (7, 5), (2, 9), (64, 64)])
def test_the_grid_is_that_of_array_split_without_empty_tiles(height, width, tiles):
    places = np.arange(height * width).reshape(height, width)
    expected = [
        tile.tolist()
        for band in np.array_split(places, tiles, axis=0)
        for tile in np.array_split(band, tiles, axis=1)
        if tile.size
    ]
    assert [places[cut].tolist() for cut in tile_grid(height, width, tiles)] == expected


def test_a_512_px_image_has_4x4_tiles_of_128_px():
    grid = tile_grid(512, 512, 4)
    assert len(grid) == 16
    assert grid[5] == (slice(128, 256), slice(128, 256))


def test_the_worst_tile_decides_not_the_mean():
    images = flat(4, 4, 0, 0)
    images[1, :2, :2] = 255
    assert tiled_distances(images, 2)[0, 1] == 1.0
    assert tiled_distances(images, 1)[0, 1] == 0.5


def test_the_worst_tile_is_the_worst_by_l2_where_tiles_differ_in_size():
    images = flat(3, 3, 0, 0)
    images[1, 2, 2] = 200
    images[1, :2, :2] = 120
    found = tiled_distances(images, 2)[0, 1]
    assert found == 200 / 255
    assert tiled_edges(images, 2, 0.78).any() == (found <= 0.78)


def test_black_is_at_distance_one_from_white():
    images = flat(5, 7, 0, 255)
    assert tiled_distances(images, 3).tolist() == [[0.0, 1.0], [1.0, 0.0]]
    assert tiled_edges(images, 3, 1.0)[0, 1]
    assert not tiled_edges(images, 3, 0.9999)[0, 1]


def test_identical_images_are_at_distance_zero_and_joined_even_at_threshold_zero():
    images = flat(6, 6, 77, 77, 77)
    assert not tiled_distances(images, 4).any()
    assert np.array_equal(tiled_edges(images, 4, 0.0), ~np.eye(3, dtype=bool))


def test_images_of_one_pixel_have_one_tile_however_many_are_asked_for():
    images = np.array([[[[0, 0, 0]]], [[[255, 0, 0]]]], dtype=np.uint8)
    assert len(tile_grid(1, 1, 4)) == 1
    assert tiled_distances(images, 4)[0, 1] == pytest.approx(math.sqrt(1 / 3))


@pytest.mark.parametrize("count", [0, 1])
def test_no_pair_no_edge(count):
    images = flat(4, 4, 9, 9)[:count]
    assert tiled_distances(images, 4).tolist() == [[0.0]] * count
    assert tiled_edges(images, 4, 0.1).tolist() == [[False]] * count


@pytest.mark.parametrize("threshold", [0.2, 0.4, 0.6, 0.8])
def test_a_pair_exactly_at_the_threshold_is_an_edge_and_one_level_more_is_not(threshold):
    level = round(threshold * 255)
    images = flat(4, 4, 0, level, level)
    images[2, 3, 3, 0] += 1
    assert tiled_edges(images, 1, threshold)[0].tolist() == [False, True, False]


def test_the_threshold_is_the_decimal_that_it_prints_as():
    # 0.1 as a binary fraction is a little more than one tenth: only the decimal gives 26010.
    assert edge_limit(0.1, 40) == 26010
    assert edge_limit(0.1, 41) == 26660  # 26660.25 rounded down
    assert edge_limit(0.12, 100) == 93636  # 93635.99... in float64
    assert edge_limit(1e-05, 10**10) == 65025
    assert edge_limit(0, 5) == 0


@pytest.mark.parametrize("threshold", [-0.1, math.nan, math.inf])
def test_a_threshold_that_is_no_distance_is_refused(threshold):
    with pytest.raises(ValueError, match="threshold"):
        tiled_edges(flat(2, 2, 0), 1, threshold)


def test_sums_beyond_one_product_block_stay_exact():
    # The worst case for float32: every product is 128² or 255² and each block is full.
    images = flat(50, 50, 0, 255, 1)
    squared = squared_in(images, (slice(0, 50), slice(0, 50)))
    assert squared[0, 1] == 255**2 * 7500
    assert squared[0, 2] == 7500
    assert l2_to_all(images[0], images).tolist() == [0.0, 1.0, 1 / 255]


@modest
@given(pictures(), st.integers(0, 2**32 - 1))
def test_l2_to_all_is_the_untiled_distance_to_each(images, seed):
    image = np.random.default_rng(seed).integers(0, 256, images.shape[1:], dtype=np.uint8)
    found = l2_to_all(image, images)
    assert found.shape == (len(images),)
    assert found.tolist() == [tiled_to(image, other, 1) for other in images]
    assert found.tolist() == pytest.approx([slow_tiled(image, other, 1) for other in images])


def test_l2_to_all_is_the_same_in_whatever_blocks(monkeypatch):
    images = np.random.default_rng(0).integers(0, 256, (11, 8, 8, 3), dtype=np.uint8)
    whole = l2_to_all(images[4], images)
    monkeypatch.setattr(module, "_BLOCK_BYTES", 2 * images[0].size)
    assert np.array_equal(l2_to_all(images[4], images), whole)
    assert whole[4] == 0.0
    assert np.count_nonzero(whole) == 10


def test_views_that_are_not_contiguous_are_measured_as_they_are_seen():
    images = np.random.default_rng(1).integers(0, 256, (6, 9, 9, 3), dtype=np.uint8)
    view = images[::2, 1:6, ::-1]
    assert np.array_equal(tiled_distances(view, 2), tiled_distances(view.copy(), 2))
    assert np.array_equal(l2_to_all(view[0], view), l2_to_all(view[0].copy(), view.copy()))


@modest
@given(pictures(most=2), st.integers(1, 6))
def test_tiled_to_is_the_entry_of_the_matrix(images, tiles):
    for a in images:
        for b in images:
            assert tiled_to(a, b, tiles) == tiled_distances(np.stack([a, b]), tiles)[0, 1]


@modest
@given(pictures(), st.integers(1, 6), st.sampled_from([1, 1 << 20]))
def test_pairs_are_as_far_as_one_after_the_other(images, tiles, values):
    others = images[::-1]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_PAIRED_VALUES", values)
        found = paired_tiled(images, others, tiles)
    assert found.tolist() == [tiled_to(a, b, tiles) for a, b in zip(images, others, strict=True)]


@pytest.mark.parametrize("shape", [(2, 4, 4), (2, 4, 4, 4), (2, 0, 4, 3), (2, 4, 0, 3)])
def test_arrays_that_are_no_rgb_images_are_refused(shape):
    with pytest.raises(ValueError, match="images must be"):
        tiled_distances(np.zeros(shape, np.uint8), 2)


def test_pixels_that_are_not_uint8_are_refused():
    with pytest.raises(TypeError, match="float64"):
        tiled_distances(np.zeros((2, 4, 4, 3)), 2)
    with pytest.raises(TypeError, match="int16"):
        l2_to_all(np.zeros((4, 4, 3), np.uint8), np.zeros((2, 4, 4, 3), np.int16))


def test_less_than_one_tile_is_refused():
    with pytest.raises(ValueError, match="tiles"):
        tiled_distances(flat(4, 4, 0, 0), 0)


def test_images_of_different_sizes_are_refused():
    with pytest.raises(ValueError, match="differ"):
        tiled_to(flat(4, 4, 0)[0], flat(4, 5, 0)[0], 2)
    with pytest.raises(ValueError, match="others"):
        l2_to_all(flat(4, 4, 0)[0], flat(2, 8, 0))
