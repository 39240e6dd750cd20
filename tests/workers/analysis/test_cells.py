"""Vectors in cells, held against comparing all."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from seedsweep.workers.analysis import cells
from seedsweep.workers.analysis.cells import Cells


@pytest.fixture
def small(monkeypatch):
    """Few vectors are in many cells already."""
    monkeypatch.setattr(cells, "WHOLE", 32)
    monkeypatch.setattr(cells, "CELL", 4)


def vectors_of(count, values=24, seed=0):
    rng = np.random.default_rng(seed)
    return rng.integers(-127, 128, (count, values)).astype(np.int8)


def holding(vectors, **options):
    made = Cells(vectors, **options)
    made.add(vectors, np.arange(len(vectors)))
    return made


def compared(made, vectors):
    """Of each pair that is compared, the squared distance."""
    found = {}
    for visit in made.near(vectors):
        names = visit.names.tolist()
        for row, distances in zip(visit.rows.tolist(), visit.squared(), strict=True):
            found |= {(row, name): d for name, d in zip(names, distances, strict=True)}
    return found


def squared_of(first, second):
    return int(((first.astype(int) - second.astype(int)) ** 2).sum())


@given(st.integers(0, 40), st.integers(1, 5), st.integers(0, 99))
def test_a_few_are_all_compared_and_exactly(count, asked, seed):
    held, vectors = vectors_of(count, 3, seed), vectors_of(asked, 3, seed + 1)
    assert compared(holding(held), vectors) == {
        (row, name): squared_of(vectors[row], held[name])
        for row in range(asked)
        for name in range(count)
    }


def test_of_many_those_nearby_are_found_at_their_exact_distance(small):
    held = vectors_of(3000)
    moved = np.clip(
        held.astype(int) + np.random.default_rng(1).integers(-9, 10, held.shape), -127, 127
    )
    moved = moved[::10].astype(np.int8)
    made = holding(held)
    found = compared(made, moved)
    near = [(row, 10 * row) for row in range(len(moved))]
    assert np.mean([pair in found for pair in near]) > 0.99
    for row, name in near[::25]:
        assert found[row, name] == squared_of(moved[row], held[name])


def test_each_vector_finds_itself_once(small):
    held = vectors_of(700)
    times = np.zeros(700, int)
    for visit in holding(held).near(held):
        itself = visit.rows[:, None] == visit.names[None, :]
        times[visit.rows[itself.any(axis=1)]] += 1
    assert times.max() == 1
    assert times.mean() > 0.99


def test_a_search_compares_about_as_many_however_many_there_are(small):
    counts = []
    for count in (1000, 4000):
        held = vectors_of(count)
        counts.append(len(compared(holding(held, probes=8), held[:50])) / 50)
    assert counts[1] < 1.3 * counts[0]


@given(st.integers(1, 6), st.integers(1, 36), st.integers(0, 99))
def test_the_nearest_pairs_of_pivots_are_those_of_comparing_all(each, count, seed):
    count = min(count, each**2)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cells, "cells_of", lambda _: each**2)
        pivots = cells._Pivots(vectors_of(40, 5, seed))
    vectors = vectors_of(9, 5, seed + 1)
    apart = []
    for half in pivots._halves:
        along = np.rint(vectors.astype(float) @ half._axes / 127)
        squared = np.square(along[:, None] - half._pivots[None]).sum(axis=2)
        apart.append(squared - np.square(along).sum(axis=1)[:, None])
    sums = (apart[0][:, :, None] + apart[1][:, None, :]).reshape(9, each**2)
    found = np.take_along_axis(sums, pivots.nearest(vectors, count), axis=1)
    assert np.sort(found, axis=1).tolist() == np.sort(sums, axis=1)[:, :count].tolist()
    alone = [pivots.nearest(vectors[[row]], count)[0] for row in range(9)]
    assert np.sort(alone, axis=1).tolist() == np.sort(pivots.nearest(vectors, count)).tolist()


def test_a_part_of_a_visit_has_the_distances_of_its_pairs():
    held = vectors_of(9)
    [visit] = holding(held).near(held[:5])
    rows, names = np.arange(5) % 2 == 0, np.arange(9) > 3
    part = visit.of(rows, names)
    assert (part.rows.tolist(), part.names.tolist()) == ([0, 2, 4], [4, 5, 6, 7, 8])
    assert part.squared().tolist() == visit.squared()[rows][:, names].tolist()


def test_equal_vectors_are_held_in_one_cell_and_all_found(small):
    held = np.repeat(vectors_of(2), 100, axis=0)
    found = compared(holding(held), held[:1])
    assert {name for (_, name), d in found.items() if d == 0} == set(range(100))
