"""Pictures by how far they are from their nearest neighbours, the furthest first, exactly.

The search of Bay and Schwabacher (KDD 2003): the mean distance to the nearest among a few pictures
is never below that to the nearest among all. So all pictures are only looked at for those whose
bound is high, and no other can come before what is told.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from seedsweep.workers.analysis.cells import Cells, looked_up
from seedsweep.workers.analysis.frames import FRAME, Frames

SIDE = 8
"""Distances are between pictures averaged to so many pixels both ways."""

_PROBES = 4
_ROWS = 1024
_LOOKED_UP = 1 << 14  # at once, at least
_AT_ONCE = 64
_CROWD = 4096
_PAIRS = 1 << 23

Thumbnails = NDArray[np.int8]
"""Pictures averaged to `SIDE` pixels both ways, less 128: (n, 192) int8."""

Progress = Callable[[int, int], None]


def thumbnails(frames: Frames) -> Thumbnails:
    """The frames averaged over areas; n may be 0."""
    block = FRAME // SIDE
    # One way after the other, which takes a sixth of the time; a sum is at most 64 times 255.
    down = frames.reshape(len(frames), SIDE, block, 3 * FRAME).sum(axis=2, dtype=np.uint16)
    sums = down.reshape(len(frames), SIDE, SIDE, block, 3).sum(axis=3, dtype=np.uint16)
    means = (sums + block**2 // 2) // block**2
    centred = (means.astype(np.int16) - 128).astype(np.int8)
    return np.asarray(centred).reshape(len(frames), 3 * SIDE**2)


class Space(Protocol):
    """Pictures with a distance."""

    def __len__(self) -> int: ...

    def bounds(
        self, places: NDArray[np.intp], count: int, progress: Progress
    ) -> NDArray[np.float64]:
        """What the mean distances of the pictures at these places to their nearest `count` others
        are at most."""

    def exact(self, places: NDArray[np.intp], count: int) -> NDArray[np.float64]:
        """What they are."""


def furthest(
    pictures: Space,
    wanted: NDArray[np.bool_],
    neighbours: int,
    progress: Progress = lambda done, total: None,
) -> Iterator[tuple[int, float]]:
    """The `wanted` (n,) of the pictures and their mean distance to their nearest `neighbours` among
    all others (to all, if these are fewer): the furthest first, of equal ones the first. It is
    worked out as it is asked for."""
    count = min(neighbours, len(pictures) - 1)
    if count < 1:
        yield from ((int(place), 0.0) for place in np.flatnonzero(wanted))
        return
    bounds = pictures.bounds(np.flatnonzero(wanted), count, progress)
    places = np.flatnonzero(wanted)[np.argsort(-bounds, kind="stable")]
    bounds = np.sort(bounds)[::-1]
    known: list[tuple[float, int]] = []
    for at in range(0, len(places), _AT_ONCE):
        while known and -known[0][0] > bounds[at]:
            score, place = heapq.heappop(known)
            yield place, -score
        some = places[at : at + _AT_ONCE]
        for place, score in zip(some, pictures.exact(some, count), strict=True):
            heapq.heappush(known, (-float(score), int(place)))
    while known:
        score, place = heapq.heappop(known)
        yield place, -score


class ThumbnailSpace:
    """Pictures with the l2 of their 8 × 8 averages, pixels in [0, 1], which is at most that of the
    pictures."""

    def __init__(self, pictures: Thumbnails) -> None:
        self._pictures, self._norms = pictures, _norms(pictures)

    def __len__(self) -> int:
        return len(self._pictures)

    def bounds(
        self, places: NDArray[np.intp], count: int, progress: Progress
    ) -> NDArray[np.float64]:
        """As of `Space`, by the pictures in a few cells."""
        pictures = self._pictures
        cells = Cells(pictures, _PROBES)
        cells.add(pictures, np.arange(len(pictures)))
        bounds = np.empty(len(places))
        step = looked_up(_LOOKED_UP, len(places))
        for at in range(0, len(places), step):
            rows = places[at : at + step]
            nearest = np.full((len(rows), count), np.inf, np.float32)
            for whole in cells.near(pictures[rows]):
                # What is left out of a crowded cell makes a bound no less true.
                visit = whole.first(_CROWD)
                squared = visit.squared()
                squared[rows[visit.rows][:, None] == visit.names[None, :]] = np.inf
                merged = np.concatenate([nearest[visit.rows], squared], axis=1)
                nearest[visit.rows] = np.partition(merged, count - 1, axis=1)[:, :count]
            bounds[at : at + step] = _mean_l2(nearest)
            progress(min(at + step, len(places)), len(places))
        return bounds

    def exact(self, places: NDArray[np.intp], count: int) -> NDArray[np.float64]:
        """As of `Space`."""
        pictures, norms = self._pictures, self._norms
        wide = pictures[places].astype(np.float32)
        nearest = np.full((len(places), count), np.inf, np.float32)
        step = _PAIRS // max(1, len(places))
        for at in range(0, len(pictures), step):
            others = pictures[at : at + step].astype(np.float32)
            squared = wide @ others.T
            squared *= -2.0
            squared += norms[places, None]
            squared += norms[None, at : at + step]
            squared[places[:, None] == np.arange(at, at + len(others))[None, :]] = np.inf
            merged = np.concatenate([nearest, squared], axis=1)
            nearest = np.partition(merged, count - 1, axis=1)[:, :count]
        return _mean_l2(nearest)


def _mean_l2(squared: NDArray[np.float32]) -> NDArray[np.float64]:
    """The mean l2 of squared distances (n, count): whole numbers, in the same order whatever found
    them, so that equal distances have an equal mean."""
    ordered = np.sort(squared, axis=1).astype(np.float64)
    return np.asarray(np.sqrt(ordered / (3 * SIDE**2)).mean(axis=1) / 255.0)


def _norms(pictures: Thumbnails) -> NDArray[np.float32]:
    norms = np.empty(len(pictures), np.float32)
    for at in range(0, len(pictures), _ROWS):
        wide = pictures[at : at + _ROWS].astype(np.float32)
        norms[at : at + _ROWS] = np.einsum("ij,ij->i", wide, wide)
    return norms
