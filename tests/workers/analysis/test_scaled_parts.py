"""Parts that are larger or smaller in each picture: found, and exact where each shows them."""

import numpy as np
import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from seedsweep.storage.prompt_results import Shift
from seedsweep.storage.settings.analysis import PartRule
from seedsweep.workers.analysis import part_scales
from seedsweep.workers.analysis.moved_pictures import columns_of, moved, rows_of
from seedsweep.workers.analysis.part_scales import LaidPictures
from seedsweep.workers.analysis.part_shifts import reduce_pictures, reduction
from seedsweep.workers.analysis.parts import same_tiles
from seedsweep.workers.analysis.shifted_parts import ShiftedParts
from tests.support.shifted_pictures import scaled, slow_same, tiles_of
from tests.support.templates import noise

RULE = PartRule(grid=8, least=12, shift=0.05, scale=0.08, mirror=True)
SMALL = RULE.model_copy(update={"grid": 4, "least": 3})
few = settings(max_examples=6, derandomize=True, deadline=None)


def search_of(pictures, rule=RULE):
    laid = LaidPictures(reduce_pictures(pictures), rule, reduction(*pictures.shape[1:3]))
    fixed = same_tiles(pictures, rule)
    return ShiftedParts(fixed, laid, lambda places: pictures[list(places)], rule)


def tiles_that_are_the_same(one, other, shift, rule):
    """By all pixels of the picture as it is laid, of tiles that it shows whole."""
    height, width = one.shape[:2]
    found = slow_same(one, moved(other, shift), (0, 0, False), rule)
    places = (rows_of(shift, height), height), (columns_of(shift, width), width)
    inside = [(at >= 0) & (at <= 16 * (length - 1)) for at, length in places]
    tiles = tiles_of(height, width, rule.grid)
    whole = [bool(inside[0][ys].all() and inside[1][xs].all()) for ys, xs in tiles]
    return [is_same and is_whole for is_same, is_whole in zip(found, whole, strict=True)]


ways = st.tuples(
    st.integers(960, 1040), st.integers(-1, 1), st.integers(-1, 1), st.booleans()
)  # fmt: skip


@few
@given(seed=st.integers(0, 10_000), how=st.lists(ways, min_size=4, max_size=4))
def test_a_part_holds_pixel_by_pixel_as_each_picture_is_laid(seed, how):
    rng = np.random.default_rng(seed)
    pictures = np.concatenate([scaled(rng, how, 32, 12), noise(rng, 2)])
    search = search_of(pictures, SMALL)
    parts, proven = search.find(3, 10**6)
    assert proven
    for part in parts:
        event("scaled" if any(shift.scaling for shift in search.shifts(part)) else "not scaled")
        shifts = search.shifts(part) or (Shift(),) * len(part.shared)
        for place, shift in zip(part.shared, shifts, strict=True):
            if place == part.centre:
                assert shift == Shift()
                continue
            tiles = tiles_that_are_the_same(pictures[part.centre], pictures[place], shift, SMALL)
            there = sum(tiles[tile] for tile in part.tiles)
            assert there >= SMALL.least
            assert (there == len(part.tiles)) == (place in part.members)


@pytest.mark.parametrize(("side", "mirror"), [(64, True), (130, False)])
def test_a_subject_is_found_at_other_sizes_and_places(side, mirror):
    rng = np.random.default_rng(side)
    how = [
        (thousandths, *rng.uniform(-1, 1, 2), mirror and number % 2 == 1)
        for number, thousandths in enumerate((1000, 925, 960, 985, 1030, 1075))
    ]
    pictures = np.concatenate([scaled(rng, how, side, 0.3 * side), noise(rng, 2, side)])
    rule = RULE.model_copy(update={"scale": 0.0})
    assert search_of(pictures, rule).find(5, 10**6)[0] == []
    search = search_of(pictures)
    [part] = search.find(5, 10**6)[0]
    shifts = search.shifts(part)
    assert part.shared == tuple(range(6))
    own, down, _, turned = how[part.centre]
    to_the_grid = 0
    for place, shift in zip(part.shared, shifts, strict=True):
        assert shift.mirrored == (how[place][3] != turned)
        # What is as large to within what tiles bear is laid as it is.
        if shift.scaling:
            share = how[place][0] / own
            off = shift.scaling.thousandths - 1000 * share
            step = shift.down + shift.scaling.down / 16 - (how[place][1] - share * down)
            assert abs(off) <= 30
            to_the_grid += abs(off) <= 5 and abs(step) <= 0.25
    assert to_the_grid >= 3


def test_a_search_that_asks_for_no_scales_is_as_before():
    rng = np.random.default_rng(1)
    pictures = np.concatenate([scaled(rng, [(1000, 0, 0, False)] * 4, 48, 15), noise(rng, 3, 48)])
    laid = LaidPictures(reduce_pictures(pictures), PartRule(shift=0.08), 1)
    assert laid.pairs() == {}
    assert laid.scaled([(0, 1)]) == [None]


def test_what_is_as_large_everywhere_lies_as_without_scales():
    rng = np.random.default_rng(2)
    how = [(1000, y, x, False) for y, x in ((0, 0), (1, -1), (-1, 1), (1, 1))]
    pictures = np.concatenate([scaled(rng, how, 64, 20), noise(rng, 3, 64)])
    plain, also_scaled = (
        search_of(pictures, RULE.model_copy(update={"scale": scale})) for scale in (0.0, 0.08)
    )
    [one], [other] = (search.find(4, 10**6)[0] for search in (plain, also_scaled))
    assert (one.tiles, one.shared) == (other.tiles, other.shared)
    assert not any(shift.scaling for shift in also_scaled.shifts(other))


def test_a_search_that_leaves_out_pairs_says_so(monkeypatch):
    rng = np.random.default_rng(3)
    pictures = scaled(rng, [(1000 + 20 * n, 0, 0, False) for n in range(4)], 32, 12)
    assert search_of(pictures, SMALL).find(3, 10**6)[1]
    monkeypatch.setattr(part_scales, "_PAIRS", 0)
    search = search_of(pictures, SMALL)
    assert not search.find(3, 10**6)[1]
    assert not search.critical_least(3, 10**6)[1]
