"""One picture laid on another: to the pixel where a slow search lays it, and compared exactly."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seedsweep.storage.prompt_results import Shift
from seedsweep.storage.settings.analysis import PartRule
from seedsweep.workers.analysis import part_shifts, pixel_laying
from seedsweep.workers.analysis.part_shifts import (
    brightness_means,
    lay,
    mean_brightness,
    reduce_pictures,
    reduction,
)
from seedsweep.workers.analysis.pixel_laying import Centre, Laying
from tests.support.shifted_pictures import shifted, slow_same, tiles_of
from tests.support.templates import noise

few = settings(max_examples=25, derandomize=True, deadline=None)
shapes = st.sampled_from([(16, 16), (15, 13), (9, 20)])


def near_copies(seed, height, width):
    """Two pictures, the second of which shows much of the first elsewhere."""
    rng = np.random.default_rng(seed)
    first, second = noise(rng, 2, max(height, width))[:, :height, :width]
    down, right = rng.integers(-2, 3, 2)
    second[2:-2, 2:-2] = np.roll(first, (down, right), (0, 1))[2:-2, 2:-2]
    second += rng.integers(0, 3, second.shape, dtype=np.uint8)
    return first, second


@few
@given(
    seed=st.integers(0, 10_000),
    shape=shapes,
    grid=st.integers(2, 5),
    down=st.integers(-3, 3),
    right=st.integers(-3, 3),
    mirrored=st.booleans(),
    more_than=st.integers(0, 4),
    narrow=st.booleans(),
)
def test_tiles_are_the_same_as_the_slow_comparison_of_all_pixels_says(
    seed, shape, grid, down, right, mirrored, more_than, narrow
):
    first, second = near_copies(seed, *shape)
    rule = PartRule(grid=grid, distance=0.08, texture=0.02, correlation=0.6)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pixel_laying, "_NARROW", 256 if narrow else 0)
        pixel_laying.TileSums.of.cache_clear()
        way = Shift(down=down, right=right, mirrored=mirrored)
        found = Centre(Laying(first), rule).same_tiles(Laying(second), way, more_than)
    pixel_laying.TileSums.of.cache_clear()
    wanted = slow_same(first, second, (down, right, mirrored), rule)
    if sum(wanted) > more_than:
        assert found.tolist() == wanted
    else:
        assert found is None


@few
@given(
    seed=st.integers(0, 10_000),
    shape=st.sampled_from([(100, 96), (110, 131)]),
    mirrored=st.booleans(),
    tiles=st.lists(st.booleans(), min_size=16, max_size=16).filter(any),
)
def test_a_picture_is_laid_to_the_pixel_as_the_slow_search_lays_it(seed, shape, mirrored, tiles):
    rng = np.random.default_rng(seed)
    first, second = near_copies(seed, *shape)
    rule, side = PartRule(grid=4), reduction(*shape)
    assert side == 2
    y, x = rng.integers(-2, 3, 2).tolist()
    how = Shift(down=y, right=x, mirrored=mirrored)
    found = Centre(Laying(first), rule).lay(Laying(second), how, np.array(tiles))
    turned = second[:, ::-1] if mirrored else second
    down, right = side * y, side * x
    for side in (2, 1):
        one, other = (
            mean_brightness(p[None], side)[0, ..., 0].astype(int) for p in (first, turned)
        )
        places = [
            (row, column)
            for tile, (rows, columns) in enumerate(tiles_of(*shape, 4))
            if tiles[tile]
            for row in range(-(-rows[0] // side), (rows[-1] + 1) // side)
            for column in range(-(-columns[0] // side), (columns[-1] + 1) // side)
        ]
        best = None
        for steps in sorted(((a, b) for a in (0, -1, 1) for b in (0, -1, 1)),
                            key=lambda step: step[0] ** 2 + step[1] ** 2):  # fmt: skip
            at = [(r + down // side + steps[0], c + right // side + steps[1]) for r, c in places]
            if all(0 <= r < len(one) and 0 <= c < one.shape[1] for r, c in at):
                apart = [one[p] - other[q] for p, q in zip(places, at, strict=True)]
                squared = len(apart) * sum(int(d) ** 2 for d in apart) - int(sum(apart)) ** 2
                if best is None or squared < best[0]:
                    best = squared, steps
        steps = best[1] if best else (0, 0)
        down, right = down + side * steps[0], right + side * steps[1]
    assert found == Shift(down=down, right=right, mirrored=mirrored)


@pytest.mark.parametrize("shape", [(48, 48), (101, 131), (200, 391)])
def test_brightness_is_reduced_step_by_step_as_at_once(shape):
    picture = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    means = brightness_means(picture)
    assert max(means) == reduction(*shape)
    for side, mean in means.items():
        assert (mean == mean_brightness(picture[None], side)[0, ..., 0]).all()


@pytest.mark.parametrize("mirror", [False, True])
def test_many_pairs_at_once_are_laid_as_one_by_one(monkeypatch, mirror):
    rng = np.random.default_rng(7)
    pictures, _ = shifted(rng, 9, 2, mirror=mirror)
    pictures[3] = pictures[2]
    reduced = reduce_pictures(pictures)
    rule = PartRule(grid=5, least=2, shift=0.08, mirror=True)
    laid = []
    for share in (0.0, 1.0):
        monkeypatch.setattr(part_shifts, "_DENSE", share)
        laid.append(lay(reduced, rule, 1))
    assert (laid[0].best == laid[1].best).all()
    assert (laid[0].same == laid[1].same).all()
    assert (laid[0].best >= 0).any()
