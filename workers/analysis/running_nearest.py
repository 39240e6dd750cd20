"""The training images nearest to each of many images, told from one run of them after another.

For training sets that no memory holds: runs may come in any order, be looked at apart and joined
afterwards, and the result is that of comparing all pixels at once. Squared distances are exact
integers in pixel levels 0-255. Exact copies are kept once, by the smallest position, and of others
that are equally far the smaller digest comes first: the order of the images changes nothing.

Where images are small and many, most pairs are settled by lower bounds (`coarse_bounds`), and only
those that these leave are compared by all their pixels.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from seedsweep.workers.analysis.coarse_bounds import Coarse
from seedsweep.workers.analysis.inner_products import (
    PRODUCTS_PER_SUM,
    Products,
    paired_products,
    products,
)
from seedsweep.workers.analysis.ranked import NearPairs, Ranked, nothing, places_of, take_in

_PAIRS = 1 << 21
"""So many pairs are looked at at once, in 50 MB."""

_PAIRED_BYTES = 1 << 23
_DENSE = 1 / 32
"""If bounds leave a larger share of the pairs, comparing all of them is cheaper than some."""


class Ranking:
    """The `count` different images nearest to each of `queries` (Q, values) uint8 among all that
    were added. With `mirrored`, the queries' mirror images, each is as far as the nearer of both,
    which is how far it is from an image or its mirror image.

    `size`, the images' height and width, lets bounds spare comparisons; the result is the same.
    `coarse` are those of the queries, and of their mirror images, where the caller has them.
    Squared distances beyond `reach` (Q,) need not be kept: the caller knows of as many images
    within it."""

    def __init__(
        self,
        queries: NDArray[np.uint8],
        count: int,
        mirrored: NDArray[np.uint8] | None = None,
        inner: Products = products,
        size: tuple[int, int] | None = None,
        reach: NDArray[np.float64] | None = None,
        coarse: Sequence[Coarse] = (),
    ) -> None:
        self._sides = [queries] if mirrored is None else [queries, mirrored]
        self._inner = inner
        self._coarse = coarse or ([Coarse.of(side, size) for side in self._sides] if size else [])
        self._norms = self._coarse[0].norms if self._coarse else squared_norms(queries)
        self._size, self._reach = size, reach
        self.ranked = nothing(len(queries), count)

    def add(self, rows: NDArray[np.uint8], positions: NDArray[np.int64]) -> None:
        """Take rows (n, values) uint8 in, that are at these positions (n,), each only once.

        Beside the arguments it holds some 50 MB, or 24 bytes for each row, and, as float32, some
        thousand values of every row.
        """
        norms = squared_norms(rows)
        first = _first_of_equal(rows, norms, positions)
        rows, positions, norms = rows[first], positions[first], norms[first]
        coarse = Coarse.of(rows, self._size) if self._size and len(rows) else None
        digests = _Digests(rows)
        step = max(1, _PAIRS // max(1, len(rows)))
        for at in range(0, len(self._norms) if len(rows) else 0, step):
            tile = slice(at, min(at + step, len(self._norms)))
            near = self._near(tile, rows, norms, coarse)
            _take_nearest(self.ranked, near, positions, digests)

    def _near(
        self,
        tile: slice,
        rows: NDArray[np.uint8],
        norms: NDArray[np.float64],
        coarse: Coarse | None,
    ) -> _Near:
        """Of these queries, the rows that may be among their nearest, and how far they are."""
        reach = self.ranked.squared[tile, -1]
        if self._reach is not None:
            reach = np.minimum(reach, self._reach[tile])
        if coarse is not None:
            lower = self._coarse[0].of_rows(tile).lower_bounds(coarse)
            for side in self._coarse[1:]:
                np.minimum(lower, side.of_rows(tile).lower_bounds(coarse), out=lower)
            left = lower <= reach[:, None]
            reach = self._nearer_reach(tile, rows, norms, lower, left, reach)
            if np.count_nonzero(left) <= _DENSE * left.size:
                queries, columns = np.nonzero(left)
                squared = self._of_pairs(queries + tile.start, columns, rows, norms)
                near = squared <= reach[queries]
                return _Near(queries[near] + tile.start, columns[near], squared[near])
        inner = self._inner(self._sides[0][tile], rows)
        for other in self._sides[1:]:
            np.maximum(inner, self._inner(other[tile], rows), out=inner)
        inner *= -2.0
        inner += self._norms[tile, None]
        inner += norms[None, :]
        queries, columns = np.nonzero(inner <= reach[:, None])
        return _Near(queries + tile.start, columns, inner[queries, columns])

    def _nearer_reach(
        self,
        tile: slice,
        rows: NDArray[np.uint8],
        norms: NDArray[np.float64],
        lower: NDArray[np.float32],
        left: NDArray[np.bool_],
        reach: NDArray[np.float64],
    ) -> NDArray[np.float64]:
        """The reach of these queries, once the rows with the least bounds are compared, as many as
        are wanted, all different; `left` is then what it leaves."""
        count = self.ranked.squared.shape[1]
        many = np.flatnonzero(np.count_nonzero(left, axis=1) > 2 * count)
        if not len(many) or count >= len(rows):
            return reach
        some = lower[many]
        if count == 1:
            columns = some.argmin(axis=1)
        else:
            columns = np.argpartition(some, count - 1, axis=1)[:, :count].reshape(-1)
        queries = np.repeat(many + tile.start, count)
        squared = self._of_pairs(queries, columns, rows, norms).reshape(len(many), count)
        nearer = reach.copy()
        nearer[many] = np.minimum(reach[many], squared.max(axis=1))
        left[many] = some <= nearer[many, None]
        return nearer

    def _of_pairs(
        self,
        queries: NDArray[np.intp],
        columns: NDArray[np.intp],
        rows: NDArray[np.uint8],
        norms: NDArray[np.float64],
    ) -> NDArray[np.float64]:
        """The squared distance of each of the queries to the row at its place."""
        inner = np.empty(len(queries))
        step = max(1, _PAIRED_BYTES // max(1, rows.shape[1]))
        for at in range(0, len(queries), step):
            some = slice(at, at + step)
            others = rows[columns[some]]
            each = [paired_products(side[queries[some]], others) for side in self._sides]
            inner[some] = each[0] if len(each) == 1 else np.maximum(*each)
        return np.asarray(self._norms[queries] + norms[columns] - 2.0 * inner)


@dataclass(frozen=True, slots=True, eq=False)
class _Near:
    """Pairs, ascending by query: of each the query, the column and the squared distance."""

    queries: NDArray[np.intp]
    columns: NDArray[np.intp]
    squared: NDArray[np.float64]

    def of(self, which: NDArray[np.bool_]) -> _Near:
        return _Near(self.queries[which], self.columns[which], self.squared[which])


def _first_of_equal(
    rows: NDArray[np.uint8], norms: NDArray[np.float64], positions: NDArray[np.int64]
) -> NDArray[np.intp]:
    """The places of the rows that differ, of equal ones that with the smallest position."""
    _, groups, counts = np.unique(norms, return_inverse=True, return_counts=True)
    gone = np.zeros(len(rows), np.bool_)
    alike: dict[bytes, list[int]] = defaultdict(list)
    for place in np.flatnonzero(counts[groups] > 1).tolist():
        alike[hashlib.sha256(rows[place].data).digest()].append(place)
    for places in alike.values():
        gone[places] = True
        gone[min(places, key=positions.__getitem__)] = False
    return np.flatnonzero(~gone)


def _take_nearest(
    ranked: Ranked, near: _Near, positions: NDArray[np.int64], digests: _Digests
) -> None:
    """Have each query's nearest be those of these rows, all different, as well."""
    count = ranked.squared.shape[1]
    queries, places, width = places_of(near.queries)
    if width > count:
        # No more than are wanted, and all that are as far as the last of these.
        spread = np.full((len(queries), width), np.inf)
        spread[places] = near.squared
        last = np.partition(spread, count - 1, axis=1)[:, count - 1]
        near = near.of(near.squared <= last[places[0]])
    of_rows = digests.of(near.columns)
    take_in(ranked, NearPairs(near.queries, near.squared, positions[near.columns], of_rows))


class _Digests:
    """The digests of rows, each computed once."""

    def __init__(self, rows: NDArray[np.uint8]) -> None:
        self._rows = rows
        self._digests = np.zeros(len(rows), np.uint64)
        self._known = np.zeros(len(rows), np.bool_)

    def of(self, columns: NDArray[np.intp]) -> NDArray[np.uint64]:
        asked = np.unique(columns)
        for column in asked[~self._known[asked]].tolist():
            self._digests[column] = content_digest(self._rows[column])
        self._known[asked] = True
        return self._digests[columns]


def content_digest(picture: NDArray[np.uint8]) -> int:
    """Eight bytes of the sha256 of its pixels: equal for equal pictures, whatever their shape."""
    return int.from_bytes(hashlib.sha256(np.ascontiguousarray(picture).data).digest()[:8], "big")


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
