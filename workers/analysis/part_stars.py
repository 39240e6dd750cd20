"""The parts of `parts.find_parts`, of which no more pairs are compared than it takes to be sure.

What may be the same says how large a part around a picture can be at most, and how many pictures
may share it. The picture that could have the best part is compared tile by tile with those around
it, those tiles first in which that is least work, until it has that part or another one could have
a better; a part that none could better is the best. In a template most centres have the same part,
and few of them are ever looked at.
"""

from __future__ import annotations

import heapq
import math

import numpy as np
from numpy.typing import NDArray

from seedsweep.storage.settings.analysis import PartRule
from seedsweep.workers.analysis.distances import tile_grid
from seedsweep.workers.analysis.inner_products import Products, products
from seedsweep.workers.analysis.parts import (
    FoundPart,
    PartSearch,
    covariances_with,
    find_parts,
    grown_around,
    rank_of,
    same_by,
    same_tiles,
)

_WORK = 1.5
"""So many times the tiles that a comparison of all pairs takes are compared with a centre before
all pairs are compared instead."""

_Bound = tuple[int, int, int]


def find_parts_of(
    images: NDArray[np.uint8],
    rule: PartRule,
    size: int,
    max_steps: int,
    possible: NDArray[np.bool_] | None,
    inner: Products = products,
) -> PartSearch:
    """As `find_parts` of `same_tiles` of these images (n, height, width, 3), `possible` (tiles, n,
    n) bool being what these are looked for among, and equal to it."""
    found = (
        None if possible is None else _Stars(images, rule, size, possible, inner).find(max_steps)
    )
    if found is None:
        same = same_tiles(images, rule, inner, possible)
        return find_parts(same, size, rule.least, max_steps)
    return found


class _Stars:
    """What is known of the pictures around each centre."""

    def __init__(
        self,
        images: NDArray[np.uint8],
        rule: PartRule,
        size: int,
        possible: NDArray[np.bool_],
        inner: Products,
    ) -> None:
        self._images, self._rule, self._size, self._inner = images, rule, size, inner
        self._possible = possible
        self._grid = tile_grid(images.shape[1], images.shape[2], rule.grid)

    def find(self, max_steps: int) -> PartSearch | None:
        """None if that would take more than it saves, or if the steps could be too many."""
        left = np.ones(len(self._images), np.bool_)
        parts: list[FoundPart] = []
        steps = 0
        work = _WORK * int(np.count_nonzero(self._possible.any(axis=2)))
        while True:
            names = np.flatnonzero(left)
            inside = self._possible[:, names][:, :, names]
            inside &= (np.count_nonzero(inside, axis=0) >= self._rule.least)[None]
            bounds = self._bounds(inside, names)
            # `find_parts` tries no other centre, and adds no more tiles around one.
            steps += sum(1 - tiles for tiles, _, _ in bounds)
            if steps > max_steps:
                return None
            best, work = self._best(inside, names, bounds, work)
            if work < 0:
                return None
            if best is None:
                return PartSearch(tuple(parts), True)
            parts.append(best)
            left[list(best.shared)] = False

    def _bounds(self, inside: NDArray[np.bool_], names: NDArray[np.intp]) -> list[_Bound]:
        """What no part around each centre can be before, as of `rank_of`, of centres that may have
        one."""
        wide = np.count_nonzero(np.count_nonzero(inside, axis=2) >= self._size - 1, axis=0)
        shared = np.count_nonzero(inside.any(axis=0), axis=1) + 1
        may = np.flatnonzero(wide >= self._rule.least)
        firsts = (-wide[may]).tolist(), (-shared[may]).tolist(), names[may].tolist()
        return list(zip(*firsts, strict=True))

    def _best(
        self,
        inside: NDArray[np.bool_],
        names: NDArray[np.intp],
        bounds: list[_Bound],
        work: float,
    ) -> tuple[FoundPart | None, float]:
        """The best part around any centre, and how much work is left; below zero, none is known."""
        best: FoundPart | None = None
        heapq.heapify(bounds)
        rows: dict[int, NDArray[np.bool_]] = {}
        unseen: dict[int, list[int]] = {}
        while bounds and (best is None or bounds[0] < rank_of(best)):
            name = heapq.heappop(bounds)[2]
            place = int(np.searchsorted(names, name))
            if name not in rows:
                rows[name] = inside[:, place].copy()
                counts = np.count_nonzero(rows[name], axis=1)
                unseen[name] = [t for t in np.argsort(-counts, kind="stable").tolist() if counts[t]]
            row = rows[name]
            if not unseen[name]:
                part, _ = grown_around(row, names, place, self._size, self._rule.least)
                best = min(filter(None, (best, part)), key=rank_of, default=None)
                continue
            tile = unseen[name].pop()
            asked = np.flatnonzero(row[tile])
            work -= len(asked)
            if work < 0:
                return None, work
            row[tile, asked] = self._same(tile, name, names[asked])
            row &= np.count_nonzero(row, axis=0) >= self._rule.least
            wide = int(np.count_nonzero(np.count_nonzero(row, axis=1) >= self._size - 1))
            if wide >= self._rule.least:
                shared = int(np.count_nonzero(row.any(axis=0))) + 1
                heapq.heappush(bounds, (-wide, -shared, name))
        return best, work

    def _same(self, place: int, centre: int, others: NDArray[np.intp]) -> NDArray[np.bool_]:
        """Which others are the same as the centre in a tile."""
        tile = self._grid[place]
        tiles = self._images[others, *tile]
        mine = self._images[centre : centre + 1, *tile]
        variance, covariance = covariances_with(mine, tiles, self._inner)
        own, _ = covariances_with(mine, mine, self._inner)
        pixels = math.prod(tiles.shape[1:3])
        return np.asarray(same_by(own, variance, covariance, self._rule, pixels)[0])
