"""Vectors in cells, held against comparing all."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from seedsweep.workers.analysis import cells
from seedsweep.workers.analysis.cells import Cells


@pytest.fixture
def small(monkeypatch):
    """Few vectors are in many cells already, and few pivots in groups."""
    monkeypatch.setattr(cells, "WHOLE", 32)
    monkeypatch.setattr(cells, "CELL", 4)
    monkeypatch.setattr(cells, "COMPARED", 32)


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
    for rows, names, squared in made.near(vectors):
        for row, distances in zip(rows.tolist(), squared, strict=True):
            found |= {(row, name): d for name, d in zip(names.tolist(), distances, strict=True)}
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
    assert len(made._pivots._groups) > 1
    found = compared(made, moved)
    near = [(row, 10 * row) for row in range(len(moved))]
    assert np.mean([pair in found for pair in near]) > 0.99
    for row, name in near[::25]:
        assert found[row, name] == squared_of(moved[row], held[name])


def test_each_vector_finds_itself_once(small):
    held = vectors_of(700)
    times = np.zeros(700, int)
    for rows, names, _ in holding(held).near(held):
        itself = rows[:, None] == names[None, :]
        times[rows[itself.any(axis=1)]] += 1
    assert times.max() == 1
    assert times.mean() > 0.99


def test_a_search_compares_about_as_many_however_many_there_are(small):
    counts = []
    for count in (1000, 4000):
        held = vectors_of(count)
        counts.append(len(compared(holding(held, probes=8), held[:50])) / 50)
    assert counts[1] < 1.3 * counts[0]


def test_equal_vectors_are_held_in_one_cell_and_all_found(small):
    held = np.repeat(vectors_of(2), 100, axis=0)
    found = compared(holding(held), held[:1])
    assert {name for (_, name), d in found.items() if d == 0} == set(range(100))
