from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seedsweep.workers.analysis.distances import l2_to_all
from seedsweep.workers.analysis.running_nearest import (
    NOWHERE,
    Ranking,
    content_digest,
    join,
    l2_of,
    squared_norms,
)

modest = settings(max_examples=60, derandomize=True, deadline=None)
VALUES = 12


def pictures(count, levels, seed):
    """So few levels make many equal distances."""
    made = np.random.default_rng(seed).integers(0, levels, (count, VALUES))
    return (made * (255 // (levels - 1))).astype(np.uint8)


def slow(query, rows, count):
    """Every distance in Python's integers, copies once, sorted: (squared, position)."""
    first = {}
    for place, row in enumerate(rows):
        first.setdefault(row.tobytes(), place)
    squared = [
        (sum((int(a) - int(b)) ** 2 for a, b in zip(query, rows[place], strict=True)), place)
        for place in first.values()
    ]
    ordered = sorted(squared, key=lambda pair: (pair[0], content_digest(rows[pair[1]])))
    return ordered[:count]


def ranked(queries, rows, count, cuts, order):
    """Rank runs of the rows apart, in this order, and join what each gives."""
    bounds = [0, *sorted(cuts), len(rows)]
    runs = [range(a, b) for a, b in pairwise(bounds)]
    joined = Ranking(queries, count).ranked
    for place in sorted(range(len(runs)), key=lambda place: order[place % len(order)]):
        run = np.array(runs[place], dtype=np.int64)
        ranking = Ranking(queries, count)
        for half in np.array_split(run, 2):
            ranking.add(rows[half], half)
        joined = join(joined, ranking.ranked)
    return joined


@modest
@given(
    st.integers(1, 4),
    st.integers(0, 30),
    st.integers(1, 12),
    st.integers(2, 5),
    st.lists(st.integers(0, 30), max_size=4),
    st.permutations(range(5)),
    st.integers(0, 10_000),
)
def test_runs_ranked_apart_in_any_order_give_what_comparing_all_gives(
    queries, count, wanted, levels, cuts, order, seed
):
    asked, rows = pictures(queries, levels, seed), pictures(count, levels, seed + 1)
    found = ranked(asked, rows, wanted, [min(cut, count) for cut in cuts], order)
    for place, query in enumerate(asked):
        nearest = slow(query, rows, wanted)
        padding = [(np.inf, NOWHERE)] * (wanted - len(nearest))
        assert list(zip(found.squared[place], found.positions[place], strict=True)) == (
            nearest + padding
        )


def test_l2_is_the_very_number_of_the_other_comparison():
    rng = np.random.default_rng(0)
    image, others = rng.integers(0, 256, (2, 40, 5, 7, 3), dtype=np.uint8)
    ranking = Ranking(image[:1].reshape(1, -1), 40)
    ranking.add(others.reshape(40, -1), np.arange(40))
    expected = l2_to_all(image[0], others)
    found = np.empty(40)
    found[ranking.ranked.positions[0]] = l2_of(ranking.ranked.squared[0], 5 * 7 * 3)
    assert np.array_equal(found, expected)


@pytest.mark.parametrize("values", [1, 1024, 3000])
def test_norms_are_exact_at_the_ends_of_the_scale(values):
    rows = np.stack([np.zeros(values, np.uint8), np.full(values, 255, np.uint8)])
    assert squared_norms(rows).tolist() == [values * 128**2, values * 127**2]


def test_what_is_left_out_for_a_query_is_not_near_it():
    ranking = Ranking(np.zeros((2, 4), np.uint8), 2)
    rows = np.array([[1, 0, 0, 0], [2, 0, 0, 0], [3, 0, 0, 0]], np.uint8)
    without = np.array([[True, False, False], [True, True, True]])
    ranking.add(rows, np.arange(3), without)
    assert ranking.ranked.positions.tolist() == [[1, 2], [NOWHERE, NOWHERE]]
    assert ranking.ranked.squared.tolist() == [[4, 9], [np.inf, np.inf]]
