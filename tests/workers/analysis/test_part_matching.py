"""A part looked for in other pictures: held against exact fractions, pixel by pixel."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seedsweep.storage.prompt_results import Shift
from seedsweep.storage.settings.analysis import PartRule
from seedsweep.workers.analysis.part_matching import (
    MaskedPicture,
    PartRanking,
    PartReference,
    shown_either_way,
)
from tests.support.templates import noise, template

RULE = PartRule()
few = settings(max_examples=60, derandomize=True, deadline=None)
ROWS, COLUMNS = slice(8, 24), slice(4, 20)


def masked(picture):
    mask = np.zeros(picture.shape[:2], bool)
    mask[ROWS, COLUMNS] = True
    return MaskedPicture(picture, mask)


# The oracle: what the module's docstring says, in fractions.


def without_means(picture, mask):
    """The values less their channel's mean, each times the number of pixels: whole numbers of
    Python, which are exact."""
    pixels = picture[mask].astype(object)
    return (len(pixels) * pixels - pixels.sum(axis=0)).ravel()


def slow(part, picture, rule):
    """The squared l2 in levels, the squared correlation with its sign, and whether it is shown."""
    a, b = without_means(part.pixels, part.mask), without_means(picture, part.mask)
    inner, squared, *variances = (
        Fraction(whole.sum(), (len(a) // 3) ** 2 * len(a))
        for whole in (a * b, (a - b) ** 2, a**2, b**2)
    )
    wanted = Fraction(str(rule.correlation))
    same = (
        min(variances) >= (Fraction(str(rule.texture)) * 255) ** 2
        and squared <= (Fraction(str(rule.distance)) * 255) ** 2
        and inner >= 0
        and inner**2 >= wanted**2 * variances[0] * variances[1]
    )
    product = variances[0] * variances[1]
    return squared, (inner / Fraction(float(product) ** 0.5) if product else 0), same


@few
@given(
    seed=st.integers(0, 10_000),
    grain=st.sampled_from([0, 3, 12, 13, 14, 40]),
    plain=st.booleans(),
    density=st.floats(0.01, 0.6),
)
def test_each_picture_compares_as_by_exact_fractions(seed, grain, plain, density):
    rng = np.random.default_rng(seed)
    pictures = template(rng, 4, ROWS, COLUMNS)
    moved = pictures.astype(int) + rng.integers(-grain, grain + 1, pictures.shape)
    pictures = np.clip(moved, 0, 255).astype(np.uint8)
    if plain:
        pictures[3] = rng.integers(0, 256)
    mask = rng.random(pictures.shape[1:3]) < density
    mask[0, 0] = True
    part = MaskedPicture(pictures[0], mask)
    reference = PartReference(part, RULE)
    shown = reference.shown_by(pictures)
    for place, picture in enumerate(pictures):
        squared, correlation, same = slow(part, picture, RULE)
        l2 = reference.l2_of(float(shown.squared[place]))
        assert l2 == pytest.approx(float(squared) ** 0.5 / 255)
        assert shown.correlation[place] == pytest.approx(float(correlation), abs=1e-9)
        assert shown.same[place] == same


def test_what_is_outside_of_the_mask_and_what_tints_it_are_no_matter():
    rng = np.random.default_rng(0)
    pictures = template(rng, 6, ROWS, COLUMNS)
    part = masked(pictures[0])
    assert PartReference(part, RULE).shown_by(pictures).same.all()
    strangers = noise(rng, 40)
    assert not PartReference(part, RULE).shown_by(strangers).same.any()


def test_a_part_is_found_in_a_mirror_if_that_is_asked_for():
    rng = np.random.default_rng(1)
    pictures = template(rng, 3, ROWS, COLUMNS)
    part = masked(pictures[0])
    seen = np.concatenate([pictures[1:2, :, ::-1], pictures[2:], noise(rng, 2)])
    straight, mirrored = (PartReference(way, RULE) for way in (part, part.at(Shift(mirrored=True))))
    assert straight.shown_by(seen).same.tolist() == [False, True, False, False]
    assert shown_either_way([straight, mirrored], seen).same.tolist() == [True, True, False, False]
    both = shown_either_way([straight, mirrored], seen).squared
    assert (
        both.tolist()
        == np.minimum(straight.shown_by(seen).squared, mirrored.shown_by(seen).squared).tolist()
    )


@few
@given(seed=st.integers(0, 10_000), cuts=st.lists(st.integers(0, 12), max_size=4))
def test_however_pictures_are_dealt_out_the_same_is_met(seed, cuts):
    rng = np.random.default_rng(seed)
    made = template(rng, 6, ROWS, COLUMNS)
    pictures = np.concatenate([made[:3], noise(rng, 6), made[3:]])
    pictures[rng.integers(12)] = pictures[rng.integers(12)]
    reference, positions = PartReference(masked(made[0]), RULE), np.arange(12) + 100
    at_once = PartRanking(4)
    at_once.add(reference.shown_by(pictures), positions)
    apart = PartRanking(4)
    parts = list(np.split(np.arange(12), sorted(cuts)))
    for place in rng.permutation(len(parts)):
        met = PartRanking(4)
        met.add(reference.shown_by(pictures[parts[place]]), positions[parts[place]])
        apart.join(met)
    for seen in (at_once, apart):
        squared = reference.shown_by(pictures).squared
        assert seen.position == 100 + int(np.flatnonzero(squared == squared.min())[0])
        shows = 100 + np.flatnonzero(reference.shown_by(pictures).same)
        assert (seen.count, seen.positions) == (len(shows), tuple(shows[:4].tolist()))
