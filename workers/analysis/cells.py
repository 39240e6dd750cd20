"""Vectors in cells, so that those near a vector are found without comparing it with all.

Each vector lies in the cell of the pivot nearest to it, and a search visits the cells of the pivots
nearest to what it looks for (inverted lists, Jégou et al., PAMI 2011, with pivots drawn from the
vectors instead of learned ones). There are some 4 √n pivots, so that a search costs √n and all of
them n √n. It may miss what lies in a cell further off; up to `WHOLE` vectors it visits all.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from math import isqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

WHOLE = 4096
"""So few are in one cell."""

PROBES = 32
"""So many cells are visited."""

CELLS_PER_ROOT = 4
_PAIRS = 1 << 23  # at once, in float32

Vectors = NDArray[np.int8]
"""(n, values); of at most 256 values squared distances are exact in float32."""


class Cells:
    """Vectors, each with a whole number as its name; `drawn_from` is what pivots are drawn from,
    evenly."""

    def __init__(self, drawn_from: Vectors, probes: int = PROBES) -> None:
        count, values = drawn_from.shape
        self._pivots = np.zeros((1, values), np.float32)
        if count > WHOLE:
            places = np.linspace(0, count - 1, CELLS_PER_ROOT * isqrt(count)).astype(np.intp)
            self._pivots = drawn_from[places].astype(np.float32)
        self._probes = min(probes, len(self._pivots))
        self._held: list[list[tuple[Any, NDArray[np.intp]]]] = [[] for _ in self._pivots]

    def add(self, vectors: Vectors, names: NDArray[np.intp]) -> None:
        """Take vectors (n, values) in under these names (n,)."""
        for at in range(0, len(vectors), WHOLE):
            some, own = vectors[at : at + WHOLE], names[at : at + WHOLE]
            cells = self._to_pivots(some.astype(np.float32)).argmin(axis=1)
            for cell, rows in _by_value(cells):
                self._held[cell].append((some[rows], own[rows]))

    def near(
        self, vectors: Vectors
    ) -> Iterator[tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float32]]]:
        """Of each cell that is visited: the rows of `vectors` (n, values) that visit it, the names
        of what it holds, and their squared distances (rows, names)."""
        wide = vectors.astype(np.float32)
        norms = np.einsum("ij,ij->i", wide, wide)
        distances = self._to_pivots(wide)
        visited = np.argpartition(distances, self._probes - 1, axis=1)[:, : self._probes]
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

    def _to_pivots(self, wide: NDArray[np.float32]) -> NDArray[np.float32]:
        """The squared distances to all pivots, less the vectors' own squares."""
        norms = np.einsum("ij,ij->i", self._pivots, self._pivots)
        return np.asarray(norms[None, :] - 2.0 * (wide @ self._pivots.T))

    def _of(self, cell: int) -> tuple[Any, NDArray[np.intp]]:
        parts = self._held[cell]
        if len(parts) > 1:
            vectors, names = zip(*parts, strict=True)
            self._held[cell] = [(np.concatenate(vectors), np.concatenate(names))]
        return self._held[cell][0] if parts else (self._pivots[:0], np.empty(0, np.intp))


def runs(ordered: NDArray[np.intp]) -> Iterator[tuple[int, int]]:
    """Where each run of equal values begins, and where it ends."""
    starts = np.flatnonzero(np.diff(ordered, prepend=-1)).tolist()
    yield from pairwise([*starts, len(ordered)])


def _by_value(values: NDArray[np.intp]) -> Iterator[tuple[int, NDArray[np.intp]]]:
    """Each value that there is, with the places where it stands."""
    order = np.argsort(values, kind="stable")
    for start, end in runs(values[order]):
        yield int(values[order[start]]), order[start:end]
