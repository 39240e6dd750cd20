import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seedsweep.storage.settings.sampling import Blocks
from seedsweep.workers.analysis.bounds import (
    can_bound,
    candidates,
    lower_bounds,
    project_coarse,
    project_fine,
)
from seedsweep.workers.analysis.cliques import core
from seedsweep.workers.analysis.descriptors import describe, summarise
from seedsweep.workers.analysis.distances import (
    squared_blocks,
    tile_grid,
    tile_values,
    tiled_edges,
)

ALL_BLOCKS = [Blocks(fine=f, coarse=c) for f in (2, 4, 8) for c in (8, 16)]
GRAIN = {"one pixel": 1, "fine": 4, "coarse": 16, "flat": 1024}


def summaries_of(pictures, blocks=None):
    blocks = blocks or Blocks()
    _, height, width, _ = pictures.shape
    return summarise([describe(p, blocks) for p in pictures], height, width, blocks)


def textured(rng, count, height, width, reach, grain):
    """Pictures that differ by noise of one grain: what some blocks see, and others do not."""
    coarse = -(-height // grain), -(-width // grain)
    noise = rng.integers(-reach, reach + 1, (count, *coarse, 3))
    return noise.repeat(grain, axis=1).repeat(grain, axis=2)[:, :height, :width]


def unlike(count, side):
    """Pictures that have nothing in common, as block means see, too."""
    noise = textured(np.random.default_rng(0), count, side, side, 127, 4)
    return (128 + noise).astype(np.uint8)


@st.composite
def picture_sets(draw):
    """Sets of pictures with near-copies among them, so that many pairs are near the threshold."""
    height, width = draw(st.integers(1, 70)), draw(st.integers(1, 70))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    base = textured(rng, 1, height, width, 128, draw(st.sampled_from([1, 5, 16, 1024]))) + 128
    reach = draw(st.sampled_from([0, 1, 8, 25, 40, 255]))
    wobble = textured(rng, 6, height, width, reach, draw(st.sampled_from(list(GRAIN.values()))))
    # Textures that a block mean cannot see: alternating signs within every block.
    checks = (np.indices((height, width)).sum(axis=0) % 2 * 2 - 1)[..., None]
    hidden = checks * rng.integers(-reach, reach + 1, (6, 1, 1, 1))
    mixed = base + wobble * draw(st.integers(0, 1)) + hidden * draw(st.integers(0, 1))
    return np.clip(mixed, 0, 255).astype(np.uint8)


@settings(deadline=None, max_examples=200)
@given(picture_sets(), st.integers(1, 6), st.sampled_from(ALL_BLOCKS))
def test_no_bound_ever_exceeds_the_true_distance(pictures, tiles, blocks):
    _, height, width, _ = pictures.shape
    summaries, all_of = summaries_of(pictures, blocks), slice(0, len(pictures))
    grid = tile_grid(height, width, tiles)
    for tile in grid:
        ((_, _, true),) = squared_blocks(pictures, tile)
        for project in (project_coarse, project_fine):
            projections = project(summaries, tile)
            bounds = lower_bounds(projections, projections, all_of, all_of)
            assert (bounds <= true * projections.scale).all()
            assert np.array_equal(bounds, bounds.T)
            assert np.array_equal(bounds, np.rint(bounds))


@settings(deadline=None, max_examples=200)
@given(
    picture_sets(),
    st.integers(1, 6),
    st.sampled_from([0.0, 0.01, 0.05, 0.1, 0.15, 0.5, 1.0]),
    st.integers(2, 4),
    st.sampled_from(ALL_BLOCKS),
)
def test_the_core_of_the_true_edges_is_never_rejected(pictures, tiles, threshold, size, blocks):
    _, height, width, _ = pictures.shape
    possible = candidates(summaries_of(pictures, blocks), height, width, tiles, threshold, size)
    assert not (core(tiled_edges(pictures, tiles, threshold), size) & ~possible).any()
    assert np.array_equal(possible, possible.T)
    assert np.array_equal(possible, core(possible, size))
    assert not possible.diagonal().any()


@pytest.mark.parametrize("side", [1, 3, 16, 100, 1024])
def test_bounds_hold_from_one_pixel_to_1024(side):
    rng = np.random.default_rng(side)
    base = rng.integers(60, 190, (1, side, side, 3))
    pictures = (base + textured(rng, 4, side, side, 40, 16)).astype(np.uint8)
    summaries, tile = summaries_of(pictures), (slice(0, side), slice(0, side))
    ((_, _, true),) = squared_blocks(pictures, tile)
    projections = project_fine(summaries, tile)
    bounds = lower_bounds(projections, projections, slice(0, 4), slice(0, 4))
    assert (bounds <= true * projections.scale).all()
    if side >= 100:
        assert (bounds[0, 1:] > 0.7 * true[0, 1:] * projections.scale).all()


@pytest.mark.parametrize("tiles", [1, 2, 3, 4])
def test_a_flat_difference_of_exactly_the_threshold_is_kept_and_beyond_it_rejected(tiles):
    """Where pictures differ by a constant the bound is the distance itself."""
    black = np.zeros((64, 64, 3), np.uint8)
    at, beyond = black + np.uint8(51), black + np.uint8(52)  # 51 / 255 = 0.2
    possible = candidates(summaries_of(np.stack([black, at, beyond])), 64, 64, tiles, 0.2, 2)
    assert possible[0, 1]
    # With ragged tiles some blocks are left out of the bound, which then is smaller.
    assert possible[0, 2] == (tiles == 3)


def test_what_block_means_cannot_see_is_told_by_how_much_they_leave():
    """A texture with equal means in all blocks, of one strength or another."""
    checks = (np.indices((32, 32)).sum(axis=0) % 2 * 2 - 1)[..., None]
    pictures = np.stack([128 + strength * checks.repeat(3, axis=2) for strength in (0, 30, 60)])
    summaries = summaries_of(pictures.astype(np.uint8))
    assert not candidates(summaries, 32, 32, 2, 0.1, 2).any()  # 30 / 255 = 0.118 apart
    assert candidates(summaries, 32, 32, 2, 0.12, 2).sum() == 4


def test_colours_of_equal_brightness_are_told_apart():
    red, green = np.zeros((2, 16, 16, 3), np.uint8)
    red[..., 0] = green[..., 1] = 90
    assert not candidates(summaries_of(np.stack([red, green])), 16, 16, 1, 0.2, 2).any()


def test_ordinary_pictures_are_rejected_so_that_none_needs_decoding():
    assert not candidates(summaries_of(unlike(30, 64)), 64, 64, 4, 0.1, 2).any()


def test_pairs_that_cannot_belong_to_a_clique_of_the_wanted_size_are_rejected():
    pictures = unlike(9, 64)
    pictures[1] = pictures[0]
    pictures[5:] = pictures[4]
    pairs = candidates(summaries_of(pictures), 64, 64, 1, 0.1, 2)
    assert pairs[0, 1]
    fives = candidates(summaries_of(pictures), 64, 64, 1, 0.1, 5)
    assert np.flatnonzero(fives.any(axis=0)).tolist() == [4, 5, 6, 7, 8]


def test_more_pictures_than_are_compared_at_once_are_compared_all_the_same():
    pictures = unlike(1100, 16)
    pictures[[3, 700, 1099]] = pictures[3]
    possible = candidates(summaries_of(pictures), 16, 16, 1, 0.05, 3)
    assert np.flatnonzero(possible.any(axis=0)).tolist() == [3, 700, 1099]


def test_a_tile_too_large_for_exact_sums_rejects_nothing():
    summaries = summaries_of(np.zeros((1, 16, 16, 3), np.uint8))
    assert can_bound(tile_values((slice(0, 2048), slice(0, 2048))), summaries)
    assert not can_bound(tile_values((slice(0, 8192), slice(0, 8192))), summaries)


def test_no_picture_has_no_candidates():
    nothing = summarise([], 64, 64, Blocks())
    assert candidates(nothing, 64, 64, 4, 0.1, 10).shape == (0, 0)
