"""Parts that are shifted or mirrored: found by a slow search too, and exact wherever they lie."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seedsweep.storage.prompt_results import Shift
from seedsweep.storage.settings.analysis import PartRule
from seedsweep.storage.settings.sampling import Blocks
from seedsweep.workers.analysis.descriptors import describe, summarise
from seedsweep.workers.analysis.moved_pictures import moved, moved_back
from seedsweep.workers.analysis.part_scales import LaidPictures
from seedsweep.workers.analysis.part_shifts import (
    lay,
    reduce_pictures,
    reduce_summaries,
    reduction,
)
from seedsweep.workers.analysis.parts import find_parts, same_tiles
from seedsweep.workers.analysis.shifted_parts import ShiftedParts
from tests.support.shifted_pictures import shifted, slow_same
from tests.support.templates import noise

RULE = PartRule(grid=4, least=3, shift=0.08, mirror=True)
few = settings(max_examples=25, derandomize=True, deadline=None)


def slow_lay(one, other, rule, most):
    """The first of the best shifts of two pictures, and the tiles that are the same at it."""
    steps = range(-most, most + 1)
    ways = sorted((m, y * y + x * x, y, x) for m in (False, True) for y in steps for x in steps)
    best = None
    for mirrored, _, y, x in ways:
        tiles = slow_same(one, other, (y, x, mirrored), rule)
        if sum(tiles) >= rule.least and (best is None or sum(tiles) > sum(best[1])):
            best = (y, x, mirrored), tiles
    return best


@few
@given(
    seed=st.integers(0, 10_000),
    mirror=st.booleans(),
    side=st.sampled_from([1, 2]),
    shape=st.sampled_from([(16, 16), (15, 13)]),
)
def test_reduced_pictures_are_laid_as_the_slow_search_lays_them(seed, mirror, side, shape):
    rng = np.random.default_rng(seed)
    pictures, _ = shifted(rng, 2, 1, 16, mirror)
    rule = PartRule(grid=2, least=1, shift=0.06, mirror=True)
    wide = {"distance": 0.1, "texture": 0.015, "correlation": 0.6}
    first, second = reduced = reduce_pictures(pictures[:, : shape[0], : shape[1]])
    laid = lay(reduced, rule, side)
    wanted = slow_lay(first, second, rule.model_copy(update=wide if side > 1 else {}), 1)
    assert laid.best.diagonal().tolist() == [-1, -1]
    if wanted is None:
        assert (laid.best[0, 1], laid.same[:, 0, 1].any()) == (-1, False)
        return
    way = laid.shifts[laid.best[0, 1]]
    assert (way.down, way.right, way.mirrored) == wanted[0]
    assert laid.same[:, 0, 1].tolist() == wanted[1]


def search_of(pictures, rule):
    """What is known of pictures before parts are looked for."""
    laid = LaidPictures(reduce_pictures(pictures), rule, reduction(*pictures.shape[1:3]))
    fixed = same_tiles(pictures, rule)
    return ShiftedParts(fixed, laid, lambda places: pictures[list(places)], rule)


@few
@given(seed=st.integers(0, 10_000), mirror=st.booleans())
def test_a_part_holds_pixel_by_pixel_wherever_each_picture_shows_it(seed, mirror):
    rng = np.random.default_rng(seed)
    pictures, _ = shifted(rng, 6, 2, mirror=mirror)
    pictures = np.concatenate([pictures, noise(rng, 4)])
    search = search_of(pictures, RULE)
    parts, proven = search.find(3, 10**6)
    assert proven
    seen = set()
    for part in parts:
        shifts = search.shifts(part) or (Shift(),) * len(part.shared)
        assert shifts[part.shared.index(part.centre)] == Shift()
        assert not seen & {*part.shared}
        seen |= {*part.shared}
        for place, way in zip(part.shared, shifts, strict=True):
            if place == part.centre:
                continue
            tiles = slow_same(
                pictures[part.centre], pictures[place], (way.down, way.right, way.mirrored), RULE
            )
            there = sum(tiles[tile] for tile in part.tiles)
            assert there >= RULE.least
            assert (there == len(part.tiles)) == (place in part.members)


@few
@given(seed=st.integers(0, 10_000), density=st.floats(0.3, 0.9))
def test_the_first_part_is_no_smaller_than_at_fixed_places(seed, density):
    rng = np.random.default_rng(seed)
    pictures, _ = shifted(rng, 8, 1)
    pictures[rng.random(8) < density, 6:26, 6:26] = pictures[0, 6:26, 6:26]
    fixed = find_parts(same_tiles(pictures, RULE), 3, RULE.least, 10**6).parts
    parts, _ = search_of(pictures, RULE).find(3, 10**6)
    assert not fixed or len(parts[0].tiles) >= len(fixed[0].tiles)


@pytest.mark.parametrize("mirror", [False, True])
def test_a_subject_that_lies_elsewhere_in_each_picture_is_found(mirror):
    rng = np.random.default_rng(2)
    pictures, shifts = shifted(rng, 6, 1, mirror=mirror)
    pictures = np.concatenate([pictures, noise(rng, 5)])
    assert find_parts(same_tiles(pictures, RULE), 5, RULE.least, 10**6).parts == ()
    search = search_of(pictures, RULE)
    [part] = search.find(5, 10**6)[0]
    assert part.shared == tuple(range(6))
    down, right, mirrored = shifts[part.centre]
    for way, (y, x, turned) in zip(search.shifts(part), shifts, strict=True):
        step = right - x if mirrored else x - right
        assert (way.down, way.right, way.mirrored) == (y - down, step, turned != mirrored)


def test_large_pictures_are_laid_to_the_pixel():
    rng = np.random.default_rng(3)
    [small] = noise(rng, side=24)
    subject = small.repeat(6, axis=0).repeat(6, axis=1)
    pictures = noise(rng, 5, 48).repeat(4, axis=1).repeat(4, axis=2)
    assert reduction(192, 192) == 4
    steps = [(0, 0), (5, -3), (-7, 2), (1, 14), (11, 9)]
    for picture, (y, x) in zip(pictures, steps, strict=True):
        picture[24 + y : 168 + y, 24 + x : 168 + x] = subject
    rule = PartRule(least=9, shift=0.08)
    search = search_of(pictures, rule)
    [part] = search.find(5, 10**6)[0]
    down, right = steps[part.centre]
    wanted = [(y - down, x - right) for y, x in steps]
    assert [(way.down, way.right) for way in search.shifts(part)] == wanted


@pytest.mark.parametrize("shape", [(64, 64), (100, 140), (512, 300)])
@pytest.mark.parametrize("fine", [2, 4, 8])
def test_descriptors_tell_reduced_pictures_if_their_blocks_are_small_enough(shape, fine):
    rng = np.random.default_rng(0)
    pictures = rng.integers(0, 256, (2, *shape, 3), dtype=np.uint8)
    blocks = Blocks(fine=fine)
    summaries = summarise([describe(each, blocks) for each in pictures], *shape, blocks)
    reduced = reduce_summaries(summaries, *shape)
    assert (reduced is None) == (reduction(*shape) % fine != 0)
    if reduced is not None:
        assert (reduced == reduce_pictures(pictures)).all()


@few
@given(
    down=st.integers(-9, 9),
    right=st.integers(-9, 9),
    mirrored=st.booleans(),
    seed=st.integers(0, 9),
)
def test_what_is_moved_and_moved_back_is_as_it_was(down, right, mirrored, seed):
    way = Shift(down=down, right=right, mirrored=mirrored)
    picture = np.random.default_rng(seed).integers(1, 256, (7, 8, 3), dtype=np.uint8)
    laid = moved(picture, way)
    turned = picture[:, ::-1] if mirrored else picture
    for y in range(7):
        for x in range(8):
            inside = 0 <= y + down < 7 and 0 <= x + right < 8
            assert (laid[y, x] == (turned[y + down, x + right] if inside else 0)).all()
    back = moved_back(laid, way)
    assert ((back == picture) | (back == 0)).all()
    assert (back != 0).all(axis=2).sum() == (laid != 0).all(axis=2).sum()


def test_pictures_that_have_nothing_in_common_have_no_part_anywhere():
    rng = np.random.default_rng(4)
    plain = np.broadcast_to(rng.integers(0, 256, (8, 1, 1, 3)), (8, 32, 32, 3)).astype(np.uint8)
    for pictures in (noise(rng, 8), plain):
        assert search_of(pictures, RULE).find(3, 10**6) == ([], True)


def test_a_search_that_is_cut_short_says_so():
    pictures, _ = shifted(np.random.default_rng(5), 6, 1)
    assert search_of(pictures, RULE).find(3, 0) == ([], False)


def test_the_critical_least_is_the_largest_at_which_a_part_is_found():
    pictures, _ = shifted(np.random.default_rng(6), 6, 1)
    least, proven = search_of(pictures, RULE).critical_least(5, 10**6)
    assert proven
    assert least >= RULE.least
    for tiles, found in ((least, True), (least + 1, False)):
        rule = RULE.model_copy(update={"least": tiles})
        assert bool(search_of(pictures, rule).find(5, 10**6)[0]) == found
