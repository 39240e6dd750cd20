"""Tiles that may be the same at a shift: all that are the same, and told exactly which are."""

import numpy as np
import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from seedsweep.storage.settings.analysis import PartRule
from seedsweep.workers.analysis import shift_bounds, windows
from seedsweep.workers.analysis.distances import tile_grid
from seedsweep.workers.analysis.shift_bounds import ShiftBounds
from seedsweep.workers.analysis.windows import TileLimits, WindowedPictures
from tests.support.shifted_pictures import slow_same

few = settings(max_examples=8, derandomize=True, deadline=None)
rules = st.builds(
    PartRule,
    grid=st.sampled_from([2, 3, 5]),
    distance=st.sampled_from([0.01, 0.1, 1.0]),
    texture=st.sampled_from([1e-6, 0.03]),
    correlation=st.sampled_from([0.0, 0.6, 0.97]),
)


def alike(seed, height, width):
    """Grey pictures: some of others' smooth shapes with noise, one plain, one plain but a pixel."""
    rng = np.random.default_rng(seed)
    shapes = rng.integers(0, 256, (2, 4, 4)).repeat(height // 4, 1).repeat(width // 4, 2)
    made = shapes[rng.integers(0, 2, 6)] * rng.choice([0.02, 0.5, 1.0], (6, 1, 1))
    made = np.clip(made + rng.normal(0, rng.choice([0, 2, 30], (6, 1, 1)), made.shape), 0, 255)
    made[4:] = 7
    made[5, 3, 3] = 8
    return np.roll(made.astype(np.uint8), rng.integers(-2, 3), axis=2)


@few
@given(
    seed=st.integers(0, 10_000),
    rule=rules,
    down=st.integers(-2, 2),
    right=st.integers(-2, 2),
    many=st.sampled_from([0.0, 1.0]),
    together=st.sampled_from([1, 1 << 18]),
)
def test_no_tile_that_the_slow_comparison_calls_the_same_is_ruled_out(
    seed, rule, down, right, many, together
):
    pictures = alike(seed, 20, 16)
    grid = tile_grid(20, 16, rule.grid)
    own, others = WindowedPictures(pictures, grid), WindowedPictures(pictures, grid)
    limits, tiles = TileLimits.of(grid, rule), own.windows(0, 0)
    wanted = np.array(
        [[slow_same(one[..., None], other[..., None], (down, right, False), rule)
          for other in pictures] for one in pictures]
    ).transpose(2, 0, 1)  # fmt: skip
    possible, found = np.zeros_like(wanted), np.zeros_like(wanted)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shift_bounds, "_MANY", many)
        patch.setattr(shift_bounds, "_TOGETHER", together)
        patch.setattr(windows, "_VALUES", together)
        bounds = ShiftBounds(tiles, limits)
        those = others.windows(down, right)
        for first, second, may_be in bounds.pairs(those, np.zeros((6, 6), np.int64)):
            possible[those.places[:, None], first, second] = may_be
            asked, pair = np.nonzero(may_be)
            images = first[pair], second[pair]
            same = tiles.same(those, asked, images, limits)
            found[those.places[asked], *images] = same
    assert not (wanted & ~possible).any()
    assert (found == wanted).all()
    for window, place in enumerate(those.places):
        assert (tiles.all_same(those, window, slice(1, 5), limits) == wanted[place, 1:5]).all()
    event(f"{min(int(wanted.sum()), 20)} the same")


def test_pairs_are_asked_that_may_be_the_same_in_more_tiles():
    pictures = alike(3, 20, 16)
    grid = tile_grid(20, 16, 2)
    rule = PartRule(grid=2)
    tiles = WindowedPictures(pictures, grid).windows(0, 0)
    more_than = np.full((6, 6), 3)
    np.fill_diagonal(more_than, 4)
    more_than[1] = 4
    bounds = ShiftBounds(tiles, TileLimits.of(grid, rule))
    asked = [first for first, _, may_be in bounds.pairs(tiles, more_than)
             for first in first.tolist()]  # fmt: skip
    assert asked == sorted(asked)
    assert 1 not in asked
