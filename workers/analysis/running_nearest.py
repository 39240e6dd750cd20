"""The training images nearest to each of many images, told from one run of them after another.

For training sets that no memory holds: runs may come in any order, be looked at apart and joined
afterwards, and the result is that of comparing all pixels at once. Squared distances are exact
integers in pixel levels 0-255, and of equal ones the smaller position comes first.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from seedsweep.workers.analysis.inner_products import PRODUCTS_PER_SUM, Products, products

NOWHERE = np.iinfo(np.int64).max
"""The position of no image."""


@dataclass(frozen=True, slots=True, eq=False)
class Ranked:
    """Of Q images: `squared` (Q, count) float64, the squared distances of the nearest ones, and
    `positions` (Q, count) int64, nearest first and by position among equals; inf and `NOWHERE`
    where there are fewer. `within` (Q,) int64: how many are within the limit."""

    squared: NDArray[np.float64]
    positions: NDArray[np.int64]
    within: NDArray[np.int64]


class Ranking:
    """The `count` images nearest to each of `queries` (Q, values) uint8 among all that were added,
    and how many of those are within the squared distance `limit`. With `mirrored`, the queries'
    mirror images, each is as far as the nearer of both, which is how far it is from an image or its
    mirror image."""

    def __init__(
        self,
        queries: NDArray[np.uint8],
        count: int,
        limit: int,
        mirrored: NDArray[np.uint8] | None = None,
        inner: Products = products,
    ) -> None:
        self._queries, self._mirrored = queries, mirrored
        self._limit, self._inner = limit, inner
        self._norms = squared_norms(queries)
        self.ranked = nothing(len(queries), count)

    def add(self, rows: NDArray[np.uint8], positions: NDArray[np.int64]) -> None:
        """Take rows (n, values) uint8 in, that are at these positions (n,), each only once.

        Beside the arguments it holds 24 bytes for each pair and, as float32, some thousand values
        of every row.
        """
        squared = self._inner(self._queries, rows)
        if self._mirrored is not None:
            np.maximum(squared, self._inner(self._mirrored, rows), out=squared)
        squared *= -2.0
        squared += self._norms[:, None]
        squared += squared_norms(rows)[None, :]
        mine = self.ranked
        mine.within[:] += np.count_nonzero(squared <= self._limit, axis=1)
        near = squared <= mine.squared[:, -1:]
        for query in np.flatnonzero(near.any(axis=1)):
            columns = np.flatnonzero(near[query])
            distances = np.concatenate([mine.squared[query], squared[query, columns]])
            places = np.concatenate([mine.positions[query], positions[columns]])
            order = np.lexsort((places, distances))[: mine.squared.shape[1]]
            mine.squared[query], mine.positions[query] = distances[order], places[order]


def nothing(queries: int, count: int) -> Ranked:
    """What is known of so many images before any other one was looked at."""
    return Ranked(
        np.full((queries, count), np.inf),
        np.full((queries, count), NOWHERE, dtype=np.int64),
        np.zeros(queries, dtype=np.int64),
    )


def join(first: Ranked, second: Ranked) -> Ranked:
    """What is known once different images were looked at apart, for the same queries and count."""
    count = first.squared.shape[1]
    squared = np.concatenate([first.squared, second.squared], axis=1)
    positions = np.concatenate([first.positions, second.positions], axis=1)
    order = np.lexsort((positions, squared), axis=1)[:, :count]
    return Ranked(
        np.take_along_axis(squared, order, axis=1),
        np.take_along_axis(positions, order, axis=1),
        first.within + second.within,
    )


def squared_norms(rows: NDArray[np.uint8]) -> NDArray[np.float64]:
    """What `Products` would say of each of the rows (n, values) uint8 with itself: (n,)."""
    total = np.zeros(len(rows), dtype=np.float64)
    for start in range(0, rows.shape[1], PRODUCTS_PER_SUM):
        part = rows[:, start : start + PRODUCTS_PER_SUM].astype(np.float32)
        part -= 128.0
        total += np.einsum("ij,ij->i", part, part)
    return total


def l2_of(squared: NDArray[np.float64], values: int) -> NDArray[np.float64]:
    """The l2 of squared distances over so many values, the very numbers of `l2_to_all`."""
    return np.asarray(np.sqrt(squared / values) / 255.0)
