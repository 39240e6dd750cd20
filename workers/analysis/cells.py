"""Vectors in cells, so that those near a vector are found without comparing it with all.

Vectors are turned to the axes along which they differ most, and these are dealt out to two halves
that differ as much. Each half has pivots of its own, and there is a cell for each pair of them: a
vector lies in that of the nearest, and a search visits those of the nearest pairs (the inverted
multi-index of Babenko and Lempitsky, CVPR 2012). So n vectors lie in some n / `CELL` cells, but a
search compares only 2 √(n / `CELL`) pivots, and as many vectors however many there are. It may miss
what lies in a cell further off; up to `WHOLE` vectors it visits all.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from math import sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

WHOLE = 4096
"""So few vectors are in one cell."""

CELL = 128
"""So many vectors a cell holds on average."""

PROBES = 48
"""So many cells are visited. Of 87,147 planted copies among a million pictures 0.9990 were found so
(`benchmarks/selection_lookup.py`)."""

LOOKS = 16
"""In so many parts at most many vectors are looked up: what it takes to visit a cell hardly depends
on how many do at once."""

_LENGTH = 127  # of an axis, in whole numbers
_ROUNDS = 4
_DRAWN = 64  # vectors for each pivot
_DRAWN_FOR_AXES = 8192
_AT_ONCE = 8192
_PAIRS = 1 << 21  # at once, in float32

Vectors = NDArray[np.int8]
"""(n, values); of at most 256 values squared distances are exact in float32."""


@dataclass(frozen=True, slots=True, eq=False)
class Visit:
    """Vectors that visit a cell, by their `rows` (m,), and the `names` (n,) of what it holds."""

    rows: NDArray[np.intp]
    names: NDArray[np.intp]
    _asked: NDArray[np.float32]
    _held: NDArray[np.float32]

    def squared(self) -> NDArray[np.float32]:
        """Their squared distances, (m, n)."""
        return np.asarray(self._asked[self.rows] @ self._held.T)

    def of(self, rows: NDArray[np.bool_], names: NDArray[np.bool_]) -> Visit:
        """That of some of the rows (m,) and of the names (n,)."""
        return Visit(self.rows[rows], self.names[names], self._asked, self._held[names])

    def first(self, count: int) -> Visit:
        """That of so many of the names."""
        return Visit(self.rows, self.names[:count], self._asked, self._held[:count])


class Cells:
    """Vectors, each with a whole number as its name; axes and pivots are those of `drawn_from`."""

    def __init__(self, drawn_from: Vectors, probes: int = PROBES) -> None:
        self._none = np.empty((0, drawn_from.shape[1]), np.int8)
        self._pivots = _Pivots(drawn_from)
        self._probes = min(probes, len(self._pivots))
        self._held: list[list[tuple[Any, NDArray[np.intp]]]] = [
            [] for _ in range(len(self._pivots))
        ]

    def add(self, vectors: Vectors, names: NDArray[np.intp]) -> None:
        """Take vectors (n, values) in under these names (n,)."""
        for cell, rows in _by_value(self._pivots.nearest(vectors, 1)[:, 0]):
            self._held[cell].append((vectors[rows], names[rows]))

    def near(self, vectors: Vectors) -> Iterator[Visit]:
        """The visits of these (n, values), cell by cell."""
        wide, norms, ones = _with_norms(vectors)
        asked = np.concatenate([-2.0 * wide, ones, norms], axis=1)
        visited = self._pivots.nearest(vectors, self._probes)
        for cell, places in _by_value(visited.reshape(-1)):
            held, names = self._of(cell)
            if not len(names):
                continue
            others = np.concatenate(_with_norms(held), axis=1)
            step = max(1, _PAIRS // len(names))
            for at in range(0, len(places), step):
                rows = places[at : at + step] // self._probes
                yield Visit(rows, names, asked, others)

    def _of(self, cell: int) -> tuple[Any, NDArray[np.intp]]:
        parts = self._held[cell]
        if len(parts) > 1:
            vectors, names = zip(*parts, strict=True)
            self._held[cell] = [(np.concatenate(vectors), np.concatenate(names))]
        return self._held[cell][0] if parts else (self._none, np.empty(0, np.intp))


def cells_of(count: int) -> int:
    """In about how many cells so many vectors lie."""
    return max(1, count // CELL) if count > WHOLE else 1


def looked_up(least: int, count: int) -> int:
    """How many of `count` vectors are looked up at once: `least` of them unless there are many."""
    return max(least, -(-count // LOOKS))


class _Pivots:
    """The pairs of two halves' pivots, of which those nearest to vectors are found.

    All numbers are whole, and float32 holds them, so that what is found does not depend on how many
    vectors are looked up at once.
    """

    def __init__(self, drawn_from: Vectors) -> None:
        each = round(sqrt(cells_of(len(drawn_from))))
        drawn = drawn_from[_evenly(len(drawn_from), min(len(drawn_from), _DRAWN * each))]
        axes = _halves(drawn_from, each)
        self._halves = [_Half(some, drawn, each) for some in axes]
        self._each = each

    def __len__(self) -> int:
        return self._each**2

    def nearest(self, vectors: Vectors, count: int) -> NDArray[np.intp]:
        """The numbers of the `count` nearest pairs to each of these, in any order: (m, count)."""
        parts = [
            self._nearest(vectors[at : at + _AT_ONCE].astype(np.float32), count)
            for at in range(0, len(vectors), _AT_ONCE)
        ]
        return np.concatenate([np.empty((0, count), np.intp), *parts])

    def _nearest(self, wide: NDArray[np.float32], count: int) -> NDArray[np.intp]:
        # The nearest pairs are of those that have no `count` others as near on both sides.
        some = min(count, self._each)
        ranks = np.arange(1, some + 1)
        one, other = np.nonzero(np.multiply.outer(ranks, ranks) <= count)
        (squared, places), (squared_too, places_too) = (
            half.nearest(wide, some) for half in self._halves
        )
        sums = squared[:, one] + squared_too[:, other]
        least = _least(sums, count)
        first = np.take_along_axis(places, one[least], axis=1)
        return np.asarray(first * self._each + np.take_along_axis(places_too, other[least], axis=1))


class _Half:
    """Vectors along some of the axes (values, m) float32, and the pivots there, `count` of them,
    learned from the vectors drawn."""

    def __init__(self, axes: NDArray[np.float32], drawn: Vectors, count: int) -> None:
        self._axes = axes
        along = self._along(drawn.astype(np.float32))
        self._pivots = np.zeros((1, along.shape[1]), np.float32)
        if count > 1:
            self._learn(along, count)

    def _learn(self, along: NDArray[np.float32], count: int) -> None:
        """Lloyd's algorithm, a few rounds of it."""
        self._pivots = along[_evenly(len(along), count)]
        for _ in range(_ROUNDS):
            own = self._squared(along).argmin(axis=1)
            for pivot, rows in _by_value(own):
                self._pivots[pivot] = np.rint(along[rows].mean(axis=0, dtype=np.float64))

    def nearest(
        self, wide: NDArray[np.float32], count: int
    ) -> tuple[NDArray[np.float32], NDArray[np.intp]]:
        """The squared distances of these vectors to their `count` nearest pivots, less what is the
        same for all pivots, and the pivots: (n, count) each, the nearest first."""
        squared = self._squared(self._along(wide))
        least = _least(squared, count)
        nearest = np.take_along_axis(squared, least, axis=1)
        order = np.argsort(nearest, axis=1)
        return (
            np.take_along_axis(nearest, order, axis=1),
            np.take_along_axis(least, order, axis=1),
        )

    def _along(self, wide: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.rint(wide @ self._axes / _LENGTH)

    def _squared(self, along: NDArray[np.float32]) -> NDArray[np.float32]:
        norms = np.einsum("ij,ij->i", self._pivots, self._pivots)
        return np.asarray(norms - 2.0 * (along @ self._pivots.T))


def _halves(drawn_from: Vectors, each: int) -> list[NDArray[np.float32]]:
    """Axes of these vectors, (values, about half of them) float32 of whole numbers: along both
    halves they differ about as much. None if there is one pivot `each`."""
    values = drawn_from.shape[1]
    if each == 1:
        return [np.zeros((values, 0), np.float32)] * 2
    vectors = drawn_from[_evenly(len(drawn_from), _DRAWN_FOR_AXES)]
    apart = vectors - vectors.mean(axis=0, dtype=np.float64)
    spread, axes = np.linalg.eigh(apart.T @ apart)
    halves: list[list[int]] = [[], []]
    sums = [0.0, 0.0]
    for axis in np.argsort(-spread).tolist():
        half = int(sums[0] > sums[1])
        half ^= len(halves[half]) > values // 2
        halves[half].append(axis)
        sums[half] += spread[axis]
    return [np.rint(_LENGTH * axes[:, some]).astype(np.float32) for some in halves]


def _with_norms(
    vectors: Vectors,
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """Vectors (n, values), their squared lengths and ones, (n, 1) each."""
    wide = vectors.astype(np.float32)
    norms = np.einsum("ij,ij->i", wide, wide)[:, None]
    return wide, norms, np.ones_like(norms)


def _least(values: NDArray[np.float32], count: int) -> NDArray[np.intp]:
    """Where in each row the `count` least are."""
    if count == 1:
        return np.asarray(values.argmin(axis=1)[:, None])
    return np.asarray(np.argpartition(values, count - 1, axis=1)[:, :count])


def _evenly(count: int, wanted: int) -> NDArray[np.intp]:
    """So many `wanted` places of `count`."""
    return np.linspace(0, count - 1, wanted).astype(np.intp)


def runs(ordered: NDArray[np.intp]) -> Iterator[tuple[int, int]]:
    """Where each run of equal values from 0 on begins, and where it ends."""
    starts = np.flatnonzero(np.diff(ordered, prepend=-1)).tolist()
    yield from pairwise([*starts, len(ordered)])


def _by_value(values: NDArray[np.intp]) -> Iterator[tuple[int, NDArray[np.intp]]]:
    """Each value from 0 on that there is, with the places where it stands."""
    narrow = values.astype(np.min_scalar_type(int(values.max(initial=0))))  # sorted in fewer passes
    order = np.argsort(narrow, kind="stable")
    for start, end in runs(values[order]):
        yield int(values[order[start]]), order[start:end]
