"""Of very many images the nearest ones that are known so far, and how those found elsewhere join.

Exact copies are kept once, by the smallest position, and of others that are equally far the smaller
digest comes first: the order in which they join changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

NOWHERE = np.iinfo(np.int64).max
"""The position of no image."""

_ENTRIES = 1 << 19
"""So many entries join at once, in 50 MB."""


@dataclass(frozen=True, slots=True, eq=False)
class Ranked:
    """Of Q images: `squared` (Q, count) float64, the squared distances of the nearest different
    ones, nearest first, their `positions` (Q, count) int64 and `digests` (Q, count) uint64; inf,
    `NOWHERE` and 0 if there are fewer."""

    squared: NDArray[np.float64]
    positions: NDArray[np.int64]
    digests: NDArray[np.uint64]

    def reach(self) -> NDArray[np.float64]:
        """Squared, how far the last of each is: what is farther changes nothing. (Q,)"""
        return self.squared[:, -1].copy()

    def found(self) -> NearPairs:
        """All that is there, without room for more."""
        queries, columns = np.nonzero(self.positions != NOWHERE)
        entries = queries, columns
        return NearPairs(
            queries, self.squared[entries], self.positions[entries], self.digests[entries]
        )


@dataclass(frozen=True, slots=True, eq=False)
class NearPairs:
    """Images that are near others: the place of the other one in `queries` (n,), ascending, and as
    of `Ranked` the `squared` distance, the `positions` and the `digests`, (n,) each."""

    queries: NDArray[np.intp]
    squared: NDArray[np.float64]
    positions: NDArray[np.int64]
    digests: NDArray[np.uint64]

    def of(self, which: NDArray[np.bool_] | slice) -> NearPairs:
        """These of them."""
        return NearPairs(
            self.queries[which], self.squared[which], self.positions[which], self.digests[which]
        )


def nothing(queries: int, count: int) -> Ranked:
    """The ranking of so many images before any other one was compared."""
    return Ranked(
        np.full((queries, count), np.inf),
        np.full((queries, count), NOWHERE, dtype=np.int64),
        np.zeros((queries, count), dtype=np.uint64),
    )


def take_in(ranked: Ranked, found: NearPairs) -> None:
    """Have `ranked` know as well what was found of the same images among different ones."""
    for some in _runs(found, ranked.squared.shape[1]):
        queries, places, width = places_of(some.queries)
        new = nothing(len(queries), width)
        new.squared[places] = some.squared
        new.positions[places] = some.positions
        new.digests[places] = some.digests
        _keep_nearest(ranked, queries, new)


def places_of(
    queries: NDArray[np.intp],
) -> tuple[NDArray[np.intp], tuple[NDArray[np.intp], NDArray[np.intp]], int]:
    """Of ascending queries the different ones, and of each entry its row among these and its column
    in that; and how many columns there are."""
    different, rows, counts = np.unique(queries, return_inverse=True, return_counts=True)
    columns = np.arange(len(queries)) - (np.cumsum(counts) - counts)[rows]
    return different, (rows, columns), int(counts.max(initial=0))


def _runs(found: NearPairs, count: int) -> Iterator[NearPairs]:
    """What was found of so many images at once that their rankings fit in the memory."""
    if not len(found.queries):
        return
    step = max(1, _ENTRIES // count)
    first, last = int(found.queries[0]), int(found.queries[-1])
    ends = np.searchsorted(found.queries, np.arange(first, last + step, step))
    ends = np.unique(np.append(ends, len(found.queries)))
    for begin, end in zip(ends[:-1].tolist(), ends[1:].tolist(), strict=True):
        yield found.of(slice(begin, end))


def _keep_nearest(ranked: Ranked, queries: NDArray[np.intp], new: Ranked) -> None:
    """Have the nearest of these queries be those of `new`, row by row, as well."""
    squared = np.concatenate([ranked.squared[queries], new.squared], axis=1)
    positions = np.concatenate([ranked.positions[queries], new.positions], axis=1)
    digests = np.concatenate([ranked.digests[queries], new.digests], axis=1)
    squared, positions, digests = _sorted(squared, positions, digests)
    same = np.zeros(squared.shape, np.bool_)
    same[:, 1:] = (squared[:, 1:] == squared[:, :-1]) & (digests[:, 1:] == digests[:, :-1])
    same &= positions != NOWHERE
    if same.any():
        squared[same], positions[same], digests[same] = np.inf, NOWHERE, 0
        squared, positions, digests = _sorted(squared, positions, digests)
    count = ranked.squared.shape[1]
    ranked.squared[queries] = squared[:, :count]
    ranked.positions[queries] = positions[:, :count]
    ranked.digests[queries] = digests[:, :count]


def _sorted(
    squared: NDArray[np.float64], positions: NDArray[np.int64], digests: NDArray[np.uint64]
) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.uint64]]:
    order = np.argsort(squared, axis=1)
    near = np.take_along_axis(squared, order, axis=1)
    # Few rows have two that are equally far, and only there the others decide.
    tied = ((near[:, 1:] == near[:, :-1]) & np.isfinite(near[:, 1:])).any(axis=1)
    if tied.any():
        order[tied] = np.lexsort((positions[tied], digests[tied], squared[tied]), axis=-1)
    return (
        near,
        np.take_along_axis(positions, order, axis=1),
        np.take_along_axis(digests, order, axis=1),
    )
