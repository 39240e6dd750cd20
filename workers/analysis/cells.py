"""Vectors in cells, so that those near a vector are found without comparing it with all.

Each vector lies in the cell of the pivot nearest to it, and a search visits the cells of the pivots
nearest to what it looks for (inverted lists, Jégou et al., PAMI 2011, with pivots drawn from the
vectors instead of learned ones). There is a pivot for every `CELL` vectors, so a search compares as
many of them however many there are. All pivots are compared too, up to `COMPARED` of them, those of
a million vectors; beyond that they lie in groups themselves, √ of them, and a search looks into the
nearest. It may miss what lies in a cell further off; up to `WHOLE` vectors it visits all.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from math import isqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

WHOLE = 4096
"""So few vectors are in one cell."""

CELL = 128
"""So many vectors a cell holds on average."""

PROBES = 32
"""So many cells are visited. Of 9,707 planted copies among 100,000 pictures that found 0.9998, and
as many vectors in smaller cells no more at more cost."""

COMPARED = 1 << 13
"""So few pivots are all compared."""

GROUPS = 48
"""In so many groups pivots are looked for: of 4,333 planted copies among 300,000 pictures in cells
of 64, with 68 groups, 16 found 0.995 and 48 0.9995; with all pivots compared all were found."""

_PAIRS = 1 << 23  # at once, in float32

Vectors = NDArray[np.int8]
"""(n, values); of at most 256 values squared distances are exact in float32."""


class Cells:
    """Vectors, each with a whole number as its name; `drawn_from` is what pivots are drawn from,
    evenly."""

    def __init__(self, drawn_from: Vectors, probes: int = PROBES) -> None:
        count, values = drawn_from.shape
        self._none = np.empty((0, values), np.int8)
        pivots = np.zeros((1, values), np.float32)
        if count > WHOLE:
            pivots = drawn_from[_evenly(count, cells_of(count))].astype(np.float32)
        self._pivots = _Pivots(pivots)
        self._probes = min(probes, len(self._pivots))
        self._held: list[list[tuple[Any, NDArray[np.intp]]]] = [
            [] for _ in range(len(self._pivots))
        ]

    def add(self, vectors: Vectors, names: NDArray[np.intp]) -> None:
        """Take vectors (n, values) in under these names (n,)."""
        for cell, rows in _by_value(self._pivots.nearest(vectors, 1)[:, 0]):
            self._held[cell].append((vectors[rows], names[rows]))

    def near(
        self, vectors: Vectors
    ) -> Iterator[tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float32]]]:
        """Of each cell that is visited: the rows of `vectors` (n, values) that visit it, the names
        of what it holds, and their squared distances (rows, names)."""
        wide = vectors.astype(np.float32)
        norms = np.einsum("ij,ij->i", wide, wide)
        visited = self._pivots.nearest(vectors, self._probes)
        for cell, places in _by_value(visited.reshape(-1)):
            held, names = self._of(cell)
            if not len(names):
                continue
            others = held.astype(np.float32)
            theirs = np.einsum("ij,ij->i", others, others)
            step = max(1, _PAIRS // len(names))
            for at in range(0, len(places), step):
                rows = places[at : at + step] // self._probes
                squared = wide[rows] @ others.T
                squared *= -2.0
                squared += norms[rows, None]
                squared += theirs[None, :]
                yield rows, names, squared

    def _of(self, cell: int) -> tuple[Any, NDArray[np.intp]]:
        parts = self._held[cell]
        if len(parts) > 1:
            vectors, names = zip(*parts, strict=True)
            self._held[cell] = [(np.concatenate(vectors), np.concatenate(names))]
        return self._held[cell][0] if parts else (self._none, np.empty(0, np.intp))


def cells_of(count: int) -> int:
    """How many cells so many vectors lie in."""
    return max(1, count // CELL) if count > WHOLE else 1


class _Pivots:
    """Vectors (n, values) float32, of which those nearest to others are found: nearly always the
    very nearest ones."""

    def __init__(self, vectors: NDArray[np.float32]) -> None:
        self._vectors, self._groups = vectors, [np.arange(len(vectors))]
        self._norms = np.einsum("ij,ij->i", vectors, vectors)
        self._leaders: _Pivots | None = None
        if len(vectors) > COMPARED:
            self._leaders = _Pivots(vectors[_evenly(len(vectors), isqrt(len(vectors)))])
            own = self._leaders.nearest(vectors, 1)[:, 0]
            self._groups = [np.flatnonzero(own == group) for group in range(len(self._leaders))]

    def __len__(self) -> int:
        return len(self._vectors)

    def nearest(self, vectors: Vectors | NDArray[np.float32], count: int) -> NDArray[np.intp]:
        """The places of the `count` nearest to each of these, in any order: (m, count); -1 where
        the groups that were looked into hold fewer."""
        step = max(1, _PAIRS // max(map(len, self._groups)))
        parts = [
            self._nearest(vectors[at : at + step].astype(np.float32), count)
            for at in range(0, len(vectors), step)
        ]
        return np.concatenate([np.empty((0, count), np.intp), *parts])

    def _nearest(self, wide: NDArray[np.float32], count: int) -> NDArray[np.intp]:
        if self._leaders is None:
            return _least(self._squared(wide, self._groups[0]), count)
        groups = self._leaders.nearest(wide, min(GROUPS, len(self._leaders)))
        squared = np.full((len(wide), count), np.inf, np.float32)
        places = np.full((len(wide), count), -1)
        for group, visits in _by_value(groups.reshape(-1)):
            rows, members = visits // groups.shape[1], self._groups[group]
            if not len(members):
                continue
            found = np.concatenate([squared[rows], self._squared(wide[rows], members)], axis=1)
            least = _least(found, count)
            squared[rows] = np.take_along_axis(found, least, axis=1)
            known = np.take_along_axis(places[rows], np.minimum(least, count - 1), axis=1)
            places[rows] = np.where(least < count, known, members[np.maximum(least - count, 0)])
        return places

    def _squared(self, wide: NDArray[np.float32], members: NDArray[np.intp]) -> NDArray[np.float32]:
        """The squared distances to these, less the vectors' own squares."""
        return np.asarray(self._norms[members] - 2.0 * (wide @ self._vectors[members].T))


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
    order = np.argsort(values, kind="stable")
    for start, end in runs(values[order]):
        yield int(values[order[start]]), order[start:end]
