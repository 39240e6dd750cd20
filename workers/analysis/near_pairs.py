"""Which of very many pictures are near each other, exactly, without looking at most pairs.

Brightness over cells, colour over cells and the length of what they leave are an orthogonal
projection: the distance of two pictures' features is at most that of the pictures. The features
are turned to their principal axes and cut into boxes; pairs of boxes too far apart hold no pair
that is near. What float32 rounds gets a slack, so that no near pair is missed; what is left is
decided by all pixels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from seedsweep.workers.analysis.descriptors import Summaries
from seedsweep.workers.analysis.distances import Tile, edge_limit, tile_grid, tile_values

Pictures = Callable[[NDArray[np.intp]], NDArray[np.uint8]]
"""Ascending places -> their pictures (n, height, width, 3) uint8."""

_CELLS = 8
"""Features have at most so many cells on a side, and half as many of colour."""

_BOX = 256
_SAMPLE = 20_000
_PAIRS_AT_ONCE = 1 << 24
_EXACT_BYTES = 1 << 26

_SLACK = 2.0**-13
"""Of both squared lengths. A sum of n products in float32 is off by at most n · 2⁻²⁴ of the product
of the lengths (Higham, 2002, section 3.1), and their rounding by 2 · 2⁻²⁴; n is at most 98."""


def near_pairs(
    summaries: Summaries,
    size: tuple[int, int],
    tiles: int,
    threshold: float,
    pictures: Pictures,
    most: int,
) -> NDArray[np.intp] | None:
    """All edges of `distances.tiled_edges`, by their places: (edges, 2), the smaller place first,
    in ascending order. None if more than `most` pairs would have to be looked at.

    `size` is height and width. `pictures` is asked for those alone that may have an edge, in
    blocks. Beside the pairs, memory is that of the features: 0.4 KB for each picture.
    """
    possible = possible_pairs(features(summaries, size), edge_bound(size, tiles, threshold), most)
    if possible is None:
        return None
    return _decided(possible, size, tiles, threshold, pictures)


def edge_bound(size: tuple[int, int], tiles: int, threshold: float) -> int:
    """The largest squared l2 in levels, over the whole picture, that an edge can have."""
    grid = tile_grid(*size, tiles)
    return sum(edge_limit(threshold, tile_values(tile)) for tile in grid)


def features(summaries: Summaries, size: tuple[int, int]) -> NDArray[np.float32]:
    """(n, any) float32: the squared distance of two rows is at most that of the pictures, in
    levels, but for rounding."""
    blocks, (height, width) = summaries.blocks, size
    brightness = _grouped(summaries.brightness, _CELLS)
    bright = brightness[0] / np.sqrt(3.0 * blocks.fine**2 * brightness[1])
    blue, red = summaries.blue.astype(np.float64), summaries.red.astype(np.float64)
    green = summaries.coarse_brightness - red - blue
    across, count = _grouped(red - blue, _CELLS // 2)
    along, _ = _grouped(red - 2 * green + blue, _CELLS // 2)
    area = float(blocks.coarse**2 * count)
    colour = np.concatenate([across / np.sqrt(2 * area), along / np.sqrt(6 * area)], axis=1)
    nothing = np.zeros((len(bright), 1))  # tiny pictures have no blocks
    parts = np.concatenate([bright, colour, nothing], axis=1)
    if height % blocks.coarse == 0 and width % blocks.coarse == 0:
        energy = summaries.energy.sum(axis=(1, 2), dtype=np.float64)
        rest = np.sqrt(np.maximum(energy - np.einsum("ij,ij->i", parts, parts), 0))
        parts = np.concatenate([parts, rest[:, None]], axis=1)
    return _turned(parts)


def possible_pairs(rows: NDArray[np.float32], limit: float, most: int) -> NDArray[np.intp] | None:
    """The pairs of rows whose squared distance may be at most `limit`: (pairs, 2), the smaller
    place first, in ascending order; None if they are more than `most`."""
    order = _in_boxes(rows)
    rows = rows[order]
    norms = np.einsum("ij,ij->i", rows, rows, dtype=np.float64)
    starts = np.arange(0, len(rows), _BOX)
    lows = np.minimum.reduceat(rows, starts, axis=0) if len(rows) else rows
    highs = np.maximum.reduceat(rows, starts, axis=0) if len(rows) else rows
    slack = _SLACK * float(norms.max(initial=0)) + 1
    own = (norms * (1 - _SLACK) - 1).astype(np.float32)
    found: list[NDArray[np.intp]] = []
    total = 0
    for box in range(len(starts)):
        gaps = np.maximum(lows[box:] - highs[box], lows[box] - highs[box:])
        np.maximum(gaps, 0, out=gaps)
        near = box + np.flatnonzero(np.einsum("ij,ij->i", gaps, gaps) <= limit + slack)
        mine = slice(starts[box], min(starts[box] + _BOX, len(rows)))
        for others in _runs(near, len(rows)):
            gram = rows[mine] @ rows[others].T
            gram *= 2
            first, second = np.nonzero(
                gram >= own[mine, None] + own[None, others] - np.float32(limit)
            )
            first, second = first + mine.start, second + others.start
            later = second > first
            pairs = np.stack([order[first[later]], order[second[later]]], axis=1)
            total += len(pairs)
            if total > most:
                return None
            found.append(pairs)
    pairs = np.sort(np.concatenate([np.empty((0, 2), np.intp), *found]), axis=1)
    return pairs[np.lexsort((pairs[:, 1], pairs[:, 0]))]


def _grouped(values: NDArray[np.generic], most: int) -> tuple[NDArray[np.float64], int]:
    """Sums (n, cells) over squares of so many blocks that there are at most `most` on a side, and
    how many blocks each has; what is left at the edges is in none."""
    count, rows, columns = values.shape
    side = max(1, -(-max(rows, columns) // most))
    down, across = rows // side, columns // side
    whole = values[:, : down * side, : across * side].astype(np.float64)
    sums = whole.reshape(count, down, side, across, side).sum(axis=(2, 4))
    return sums.reshape(count, down * across), side * side


def _turned(parts: NDArray[np.float64]) -> NDArray[np.float32]:
    """The rows about their mean, on their principal axes."""
    if not len(parts):
        return parts.astype(np.float32)
    parts = parts - parts.mean(axis=0)
    some = parts[:: max(1, len(parts) // _SAMPLE)]
    _, axes = np.linalg.eigh(some.T @ some)
    return np.asarray(parts @ axes[:, ::-1], np.float32)


def _in_boxes(rows: NDArray[np.float32]) -> NDArray[np.intp]:
    """An order in which each run of `_BOX` rows lies in a small box: halved again and again across
    where it is widest."""
    order = np.arange(len(rows))
    open_ = [(0, len(rows))]
    while open_:
        first, end = open_.pop()
        if end - first <= _BOX:
            continue
        mine = order[first:end]
        inside = rows[mine]
        widest = int((inside.max(axis=0) - inside.min(axis=0)).argmax())
        half = _BOX * (-(-(end - first) // _BOX) // 2)
        order[first:end] = mine[np.argpartition(inside[:, widest], half)]
        open_ += [(first, first + half), (first + half, end)]
    return order


def _runs(boxes: NDArray[np.intp], count: int) -> Iterator[slice]:
    """Boxes that follow each other as one slice of rows, none too long."""
    breaks = np.flatnonzero(np.diff(boxes) != 1) + 1
    longest = max(1, _PAIRS_AT_ONCE // _BOX // _BOX)
    for run in np.split(boxes, breaks):
        for at in range(0, len(run), longest):
            part = run[at : at + longest]
            yield slice(int(part[0]) * _BOX, min((int(part[-1]) + 1) * _BOX, count))


def _decided(
    pairs: NDArray[np.intp],
    size: tuple[int, int],
    tiles: int,
    threshold: float,
    pictures: Pictures,
) -> NDArray[np.intp]:
    """Those of the pairs that are edges."""
    places, flat = np.unique(pairs, return_inverse=True)
    at = flat.reshape(pairs.shape)
    seen = pictures(places)
    grid = tile_grid(*size, tiles)
    step = max(1, _EXACT_BYTES // (4 * 3 * size[0] * size[1]))
    kept = [
        _are_edges(seen[at[some, 0]], seen[at[some, 1]], grid, threshold)
        for some in (slice(start, start + step) for start in range(0, len(pairs), step))
    ]
    return np.asarray(pairs[np.concatenate([np.empty(0, np.bool_), *kept])], np.intp)


def _are_edges(
    first: NDArray[np.uint8], second: NDArray[np.uint8], grid: list[Tile], threshold: float
) -> NDArray[np.bool_]:
    """Which of the pairs (n, height, width, 3) are edges."""
    squares = np.square(first.astype(np.int32) - second).sum(axis=3, dtype=np.int64)
    edges = np.ones(len(first), np.bool_)
    for tile in grid:
        limit = edge_limit(threshold, tile_values(tile))
        edges &= squares[:, *tile].sum(axis=(1, 2)) <= limit
    return edges
