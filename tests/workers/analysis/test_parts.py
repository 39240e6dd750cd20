"""Parts that repeat: found as the definition says, by code that knows nothing of the search."""

import itertools
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seedsweep.storage.settings.analysis import PartRule
from seedsweep.workers.analysis import part_mask
from seedsweep.workers.analysis.part_mask import mask_of
from seedsweep.workers.analysis.parts import critical_least, find_parts, same_tiles
from tests.support.templates import noise, template

RULE = PartRule(grid=4, least=3)
few = settings(max_examples=60, derandomize=True, deadline=None)


# The oracle: exact fractions, loops, and the words of the docstring.


def tiles_of(picture, grid):
    rows = np.array_split(picture.astype(object), grid)
    return [tile for row in rows for tile in np.array_split(row, grid, axis=1)]


def without_means(tile):
    """The tile's values less their channel's mean, each times the number of pixels: whole numbers
    of Python, which are exact."""
    pixels = tile.shape[0] * tile.shape[1]
    return (pixels * tile - tile.sum(axis=(0, 1))).reshape(-1)


def slow_same(first, second, rule):
    """In which tiles two pictures are the same."""
    found = []
    for one, other in zip(tiles_of(first, rule.grid), tiles_of(second, rule.grid), strict=True):
        a, b = without_means(one), without_means(other)
        scale = Fraction(255) ** 2 * len(a)
        inner, near, *variances = (
            Fraction(whole.sum(), (len(a) // 3) ** 2) for whole in (a * b, (a - b) ** 2, a**2, b**2)
        )
        wanted = Fraction(str(rule.correlation))
        found.append(
            min(variances) >= Fraction(str(rule.texture)) ** 2 * scale
            and near <= Fraction(str(rule.distance)) ** 2 * scale
            and inner >= 0
            and inner**2 >= wanted**2 * variances[0] * variances[1]
        )
    return found


def slow_parts(same, size, least):
    """The search as its docstring has it, over sets."""
    tiles, count = same.shape[:2]
    left, parts = set(range(count)), []
    while True:
        found = []
        for centre in sorted(left):
            beside = {
                other
                for other in left
                if sum(bool(same[t, centre, other]) for t in range(tiles)) >= least
            }
            kept, chosen = set(beside), []
            while len(chosen) < tiles:
                rest = [t for t in range(tiles) if t not in chosen]
                after = {t: {o for o in kept if same[t, centre, o]} for t in rest}
                best = max(rest, key=lambda t: (len(after[t]), -t))
                if len(after[best]) < size - 1:
                    break
                kept, chosen = after[best], [*chosen, best]
            if len(chosen) >= least:
                shared = {
                    other
                    for other in beside
                    if sum(bool(same[t, centre, other]) for t in chosen) >= least
                } | {centre}
                key = (-len(chosen), -len(shared), centre)
                found.append((key, sorted(chosen), sorted(kept | {centre}), sorted(shared)))
        if not found:
            return parts
        key, chosen, members, shared = min(found)
        parts.append((key[2], chosen, members, shared))
        left -= set(shared)


@few
@given(seed=st.integers(0, 10_000), side=st.sampled_from([16, 21, 32]))
def test_tiles_are_the_same_by_exact_fractions(seed, side):
    rng = np.random.default_rng(seed)
    pictures = template(rng, 3, slice(0, side // 2), slice(2, side - 3), side)
    pictures = np.clip(pictures + rng.integers(-3, 4, pictures.shape), 0, 255).astype(np.uint8)
    pictures[2, -6:, -6:] = rng.integers(0, 256)
    same = same_tiles(pictures, RULE)
    for a, b in itertools.combinations(range(3), 2):
        assert same[:, a, b].tolist() == same[:, b, a].tolist()
        assert same[:, a, b].tolist() == slow_same(pictures[a], pictures[b], RULE)
    assert not same.diagonal(axis1=1, axis2=2).any()


@few
@given(
    seed=st.integers(0, 10_000),
    count=st.integers(0, 9),
    density=st.floats(0.05, 0.95),
    size=st.integers(2, 4),
    least=st.integers(1, 4),
)
def test_parts_are_those_of_the_slow_search(seed, count, density, size, least):
    rng = np.random.default_rng(seed)
    same = rng.random((6, count, count)) < density
    same &= same.swapaxes(1, 2)
    same[:, range(count), range(count)] = False
    found = find_parts(same, size, least, max_steps=10**6)
    assert found.proven
    assert [
        (part.centre, list(part.tiles), list(part.members), list(part.shared))
        for part in found.parts
    ] == slow_parts(same, size, least)


@few
@given(
    seed=st.integers(0, 10_000),
    count=st.integers(0, 9),
    density=st.floats(0.05, 0.95),
    size=st.integers(2, 4),
)
def test_the_critical_least_is_the_largest_with_a_part(seed, count, density, size):
    rng = np.random.default_rng(seed)
    same = rng.random((6, count, count)) < density
    same &= same.swapaxes(1, 2)
    same[:, range(count), range(count)] = False
    found = [least for least in range(1, 7) if slow_parts(same, size, least)]
    assert critical_least(same, size, max_steps=10**6) == (max(found, default=0), True)
    least, proven = critical_least(same, size, max_steps=1)
    assert proven or least <= max(found, default=0)


def test_a_subject_on_other_backgrounds_is_found_and_outlined():
    rng = np.random.default_rng(0)
    pictures = np.concatenate([template(rng, 6, slice(8, 24), slice(8, 32)), noise(rng, 5)])
    [part] = find_parts(same_tiles(pictures, RULE), 4, RULE.least, 10**6).parts
    assert part.shared == part.members == tuple(range(6))
    assert part.tiles == (5, 6, 7, 9, 10, 11)
    mask = mask_of(np.repeat(pictures[:1], 6, axis=0), part.tiles, RULE)
    assert mask[8:24, 8:32].all()
    assert mask.sum() == 16 * 24
    assert not mask_of(noise(rng, 6), part.tiles, RULE).any()


@few
@given(
    seed=st.integers(0, 10_000),
    side=st.sampled_from([5, 8, 11]),
    spread=st.sampled_from([0.02, 0.06, 1.0]),
    at_once=st.integers(1, 7),
)
def test_a_mask_is_what_hardly_varies_by_exact_fractions(seed, side, spread, at_once):
    rng = np.random.default_rng(seed)
    pictures = rng.integers(0, 256, (6, side, side, 3), np.uint8)
    level = rng.choice([3, 15, 40, 120], (side, side, 1))
    around = np.clip(pictures[:1] + rng.integers(-level, level + 1, (5, side, side, 3)), 0, 255)
    pictures[1:] = around
    rule = PartRule(grid=4, spread=spread)
    members = sorted(rng.choice(6, rng.integers(2, 7), replace=False).tolist())
    tiles = sorted(rng.choice(16, rng.integers(0, 17), replace=False).tolist())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(part_mask, "_SQUARES_PER_SUM", at_once)
        mask = mask_of(pictures, tiles, rule, members)
    places = np.arange(side * side).reshape(side, side, 1)
    inside = {int(v) for n, tile in enumerate(tiles_of(places, 4)) if n in tiles for v in tile.flat}
    for place, (y, x) in enumerate(itertools.product(range(side), repeat=2)):
        values = [[Fraction(int(pictures[m, y, x, c]), 255) for m in members] for c in range(3)]
        means = [sum(each) / len(each) for each in values]
        around = [(v - mean) ** 2 for each, mean in zip(values, means, strict=True) for v in each]
        hardly = sum(around) / len(around) <= Fraction(str(spread)) ** 2
        assert mask[y, x] == (place in inside and hardly)


def test_the_whitest_pictures_overflow_no_sum():
    white = np.full((1300, 4, 4, 3), 255, np.uint8)
    assert mask_of(white, [0], PartRule(grid=2)).sum() == 4


def test_only_pairs_and_tiles_that_are_asked_for_are_the_same():
    rng = np.random.default_rng(3)
    pictures = template(rng, 6, slice(8, 24), slice(8, 32))
    same = same_tiles(pictures, RULE)
    among = rng.random(same.shape) < 0.5
    among &= among.swapaxes(1, 2)
    assert np.array_equal(same_tiles(pictures, RULE, among=among), same & among)
    assert (same & ~among).any()


def test_two_subjects_of_one_prompt_are_two_parts():
    rng = np.random.default_rng(1)
    first = template(rng, 5, slice(0, 16), slice(0, 24))
    second = template(rng, 4, slice(16, 32), slice(8, 32))
    found = find_parts(same_tiles(np.concatenate([first, second]), RULE), 4, 3, 10**6).parts
    assert [part.shared for part in found] == [(0, 1, 2, 3, 4), (5, 6, 7, 8)]


def test_pictures_that_have_nothing_or_plain_tiles_in_common_have_no_part():
    rng = np.random.default_rng(2)
    plain = np.broadcast_to(rng.integers(0, 256, (8, 1, 1, 3)), (8, 32, 32, 3)).astype(np.uint8)
    for pictures in (noise(rng, 8), plain, noise(rng, 0)):
        assert find_parts(same_tiles(pictures, RULE), 2, 1, 10**6).parts == ()


def test_a_search_that_is_cut_short_says_so():
    same = np.ones((6, 5, 5), dtype=np.bool_)
    same[:, range(5), range(5)] = False
    assert find_parts(same, 3, 2, max_steps=10**6).proven
    cut = find_parts(same, 3, 2, max_steps=0)
    assert not cut.proven
    assert cut.parts == ()


def test_a_part_takes_two_pictures_and_a_tile():
    same = np.zeros((4, 3, 3), dtype=np.bool_)
    for size, least in ((1, 1), (2, 0)):
        with pytest.raises(ValueError, match="takes 2 pictures"):
            find_parts(same, size, least, 10)
