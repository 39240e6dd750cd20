from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seedsweep.workers.analysis import ranked as ranked_images
from seedsweep.workers.analysis import running_nearest
from seedsweep.workers.analysis.distances import l2_to_all
from seedsweep.workers.analysis.ranked import NOWHERE, nothing, take_in
from seedsweep.workers.analysis.running_nearest import (
    Ranking,
    content_digest,
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


def ranked(queries, rows, count, cuts, order, size=None):
    """Rank runs of the rows apart, in this order, each within the reach of what is known by then,
    and join what each gives."""
    bounds = [0, *sorted(cuts), len(rows)]
    runs = [range(a, b) for a, b in pairwise(bounds)]
    joined = nothing(len(queries), count)
    for place in sorted(range(len(runs)), key=lambda place: order[place % len(order)]):
        run = np.array(runs[place], dtype=np.int64)
        ranking = Ranking(queries, count, size=size, reach=joined.squared[:, -1].copy())
        for half in np.array_split(run, 2):
            ranking.add(rows[half], half)
        take_in(joined, ranking.ranked.found())
    return joined


@modest
@given(
    st.integers(1, 4),
    st.integers(0, 30),
    st.integers(1, 12),
    st.integers(2, 5),
    st.lists(st.integers(0, 30), max_size=4),
    st.permutations(range(5)),
    st.sampled_from([None, (2, 2), (1, 4)]),
    st.sampled_from([0.0, 1 / 32, 1.0]),
    st.sampled_from([1, 8, 1 << 21]),
    st.integers(0, 10_000),
)
def test_runs_ranked_apart_in_any_order_give_what_comparing_all_gives(
    queries, count, wanted, levels, cuts, order, size, dense, pairs, seed
):
    asked, rows = pictures(queries, levels, seed), pictures(count, levels, seed + 1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(running_nearest, "_DENSE", dense)
        patch.setattr(running_nearest, "_PAIRS", pairs)
        patch.setattr(ranked_images, "_ENTRIES", pairs)
        found = ranked(asked, rows, wanted, [min(cut, count) for cut in cuts], order, size)
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
