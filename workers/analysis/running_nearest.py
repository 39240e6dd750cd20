"""The training images nearest to each of many images, told from one run of them after another.

For training sets that no memory holds: runs may come in any order, be looked at apart and joined
afterwards, and the result is that of comparing all pixels at once. Squared distances are exact
integers in pixel levels 0-255. Exact copies are kept once, by the smallest position, and of others
that are equally far the smaller digest comes first: the order of the images changes nothing.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from seedsweep.workers.analysis.inner_products import PRODUCTS_PER_SUM, Products, products

NOWHERE = np.iinfo(np.int64).max
"""The position of no image."""


@dataclass(frozen=True, slots=True, eq=False)
class Ranked:
    """Of Q images: `squared` (Q, count) float64, the squared distances of the nearest different
    ones, nearest first, their `positions` (Q, count) int64 and `digests` (Q, count) uint64; inf,
    `NOWHERE` and 0 if there are fewer."""

    squared: NDArray[np.float64]
    positions: NDArray[np.int64]
    digests: NDArray[np.uint64]


class Ranking:
    """The `count` different images nearest to each of `queries` (Q, values) uint8 among all that
    were added. With `mirrored`, the queries' mirror images, each is as far as the nearer of both,
    which is how far it is from an image or its mirror image."""

    def __init__(
        self,
        queries: NDArray[np.uint8],
        count: int,
        mirrored: NDArray[np.uint8] | None = None,
        inner: Products = products,
    ) -> None:
        self._queries, self._mirrored = queries, mirrored
        self._inner = inner
        self._norms = squared_norms(queries)
        self.ranked = nothing(len(queries), count)

    def add(
        self,
        rows: NDArray[np.uint8],
        positions: NDArray[np.int64],
        without: NDArray[np.bool_] | None = None,
    ) -> None:
        """Take rows (n, values) uint8 in, that are at these positions (n,), each only once; for
        each query those are left out that `without` (Q, n) says.

        Beside the arguments it holds 24 bytes for each pair and, as float32, some thousand values
        of every row.
        """
        squared = self._inner(self._queries, rows)
        if self._mirrored is not None:
            np.maximum(squared, self._inner(self._mirrored, rows), out=squared)
        squared *= -2.0
        squared += self._norms[:, None]
        squared += squared_norms(rows)[None, :]
        if without is not None:
            squared[without] = np.inf
        mine = self.ranked
        near = (squared <= mine.squared[:, -1:]) & np.isfinite(squared)
        digests = np.zeros(len(rows), np.uint64)
        for column in np.flatnonzero(near.any(axis=0)):
            digests[column] = content_digest(rows[column])
        for query in np.flatnonzero(near.any(axis=1)).tolist():
            columns = np.flatnonzero(near[query])
            _keep_nearest(
                mine, query, squared[query, columns], positions[columns], digests[columns]
            )


def content_digest(picture: NDArray[np.uint8]) -> int:
    """Eight bytes of the sha256 of its pixels: equal for equal pictures, whatever their shape."""
    return int.from_bytes(hashlib.sha256(np.ascontiguousarray(picture).data).digest()[:8], "big")


def nothing(queries: int, count: int) -> Ranked:
    """The ranking of so many images before any other one was compared."""
    return Ranked(
        np.full((queries, count), np.inf),
        np.full((queries, count), NOWHERE, dtype=np.int64),
        np.zeros((queries, count), dtype=np.uint64),
    )


def join(first: Ranked, second: Ranked) -> Ranked:
    """Join two rankings, of the same queries and count, over different images."""
    joined = Ranked(first.squared.copy(), first.positions.copy(), first.digests.copy())
    for query in range(len(second.squared)):
        found = second.positions[query] != NOWHERE
        _keep_nearest(
            joined,
            query,
            second.squared[query, found],
            second.positions[query, found],
            second.digests[query, found],
        )
    return joined


def _keep_nearest(
    ranked: Ranked,
    query: int,
    squared: NDArray[np.float64],
    positions: NDArray[np.int64],
    digests: NDArray[np.uint64],
) -> None:
    """Have the query's nearest be those of these as well."""
    squared = np.concatenate([ranked.squared[query], squared])
    positions = np.concatenate([ranked.positions[query], positions])
    digests = np.concatenate([ranked.digests[query], digests])
    order = np.lexsort((positions, digests, squared))
    new = np.ones(len(order), np.bool_)
    squared_there, digests_there = squared[order], digests[order]
    new[1:] = (squared_there[1:] != squared_there[:-1]) | (digests_there[1:] != digests_there[:-1])
    new |= positions[order] == NOWHERE
    order = order[new][: ranked.squared.shape[1]]
    ranked.squared[query] = squared[order]
    ranked.positions[query] = positions[order]
    ranked.digests[query] = digests[order]


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
