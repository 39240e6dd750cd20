"""The parts around few centres: those of the search that compares all pairs."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seedsweep.storage.settings.analysis import PartRule
from seedsweep.workers.analysis import part_stars
from seedsweep.workers.analysis.inner_products import products
from seedsweep.workers.analysis.part_stars import find_parts_of
from seedsweep.workers.analysis.parts import find_parts, same_tiles
from tests.support.templates import noise, template

few = settings(max_examples=100, derandomize=True, deadline=None)
RULE = PartRule(grid=4, least=3)
STEPS = 10**6


def pictures(rng, count, side, grain):
    """Two parts that overlap, each of some pictures, and noise of each picture's own."""
    wide = template(rng, count, slice(0, side // 2), slice(0, side), side)
    other = template(rng, count, slice(side // 4, side), slice(0, side // 2), side)
    made = noise(rng, count, side).astype(int)
    chosen = rng.random((2, count)) < 0.6
    made[chosen[0], : side // 2] = wide[chosen[0], : side // 2]
    rows, columns = slice(side // 4, side), slice(0, side // 2)
    made[chosen[1], rows, columns] = other[chosen[1], rows, columns]
    made += rng.integers(-grain, grain + 1, made.shape)
    return np.clip(made, 0, 255).astype(np.uint8)


def superset(rng, same, share):
    """What is the same, and so many of the other pairs, symmetric."""
    more = rng.random(same.shape) < share
    possible = same | more | more.swapaxes(1, 2)
    for tile in possible:
        np.fill_diagonal(tile, False)
    return possible


@few
@given(
    seed=st.integers(0, 10_000),
    count=st.integers(2, 14),
    side=st.sampled_from([16, 21, 32]),
    grain=st.sampled_from([0, 5, 12]),
    share=st.sampled_from([0.0, 0.05, 0.5, 1.0]),
    size=st.integers(2, 6),
    least=st.integers(1, 8),
    steps=st.sampled_from([1, 20, 200, STEPS]),
    work=st.sampled_from([0, 1.5, 1000]),
)
def test_parts_are_those_of_all_pairs(seed, count, side, grain, share, size, least, steps, work):
    rng = np.random.default_rng(seed)
    made = pictures(rng, count, side, grain)
    rule = RULE.model_copy(update={"least": least})
    same = same_tiles(made, rule)
    possible = superset(rng, same, share)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(part_stars, "_WORK", work)
        found = find_parts_of(made, rule, size, steps, possible)
    assert found == find_parts(same, size, least, steps)
    assert found == find_parts_of(made, rule, size, steps, None)


def test_of_a_template_a_fraction_of_the_pairs_is_compared():
    rng = np.random.default_rng(0)
    made = template(rng, 60, slice(0, 24), slice(0, 24), 32)
    multiplied = {"stars": 0, "pairs": 0}

    def find(who, possible):
        def inner(first, second):
            multiplied[who] += first.size * len(second)
            return products(first, second)

        return find_parts_of(made, RULE, 10, STEPS, possible, inner)

    possible = superset(rng, same_tiles(made, RULE), 0.001)
    found = find("stars", possible)
    assert found == find("pairs", None)
    assert len(found.parts) == 1
    assert multiplied["stars"] < multiplied["pairs"] / 5


def test_two_parts_of_one_prompt_are_found_one_after_the_other():
    rng = np.random.default_rng(0)
    one = template(rng, 8, slice(0, 16), slice(0, 32), 32)
    other = template(rng, 7, slice(8, 32), slice(0, 24), 32)
    made = np.concatenate([one, other])
    found = find_parts_of(made, RULE, 5, STEPS, superset(rng, same_tiles(made, RULE), 0.01))
    assert [len(part.members) for part in found.parts] == [7, 8]
    assert found.proven
