"""Exact l2 and tiled l2 distances between images, and the edges they make.

l2 of two images is sqrt(mean((a - b)²)) over all values, pixels in [0, 1]; tiled l2 is the largest
l2 over the tiles of a grid (Carlini et al. 2023, arXiv 2301.13188, sections 4.1 and 4.2). All sums
are integers that float32 and float64 hold exactly, so every result is the same bit for bit on any
machine, whatever the BLAS, its threads or the order of the images.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

# 128² · 1024 = 2²⁴ and 255² · 258 < 2²⁴: float32 holds every partial sum of that many terms.
_PRODUCTS_PER_SUM = 1024
_SQUARES_PER_SUM = 258
_BLOCK_BYTES = 1 << 25


@dataclass(frozen=True, slots=True, eq=False)
class TilePairs:
    """One tile of n images: `squared` (n, n) float64 holds the integer squared distances of all
    pairs in pixel levels 0-255, `values` how many values (height x width x 3) the tile has."""

    squared: NDArray[np.float64]
    values: int


@dataclass(frozen=True, slots=True, eq=False)
class Pairs:
    """All pairs of n images: `distances` (n, n) float64 as of `tiled_distances`, `edges` (n, n)
    bool as of `tiled_edges`."""

    distances: NDArray[np.float64]
    edges: NDArray[np.bool_]


def tile_grid(height: int, width: int, tiles: int) -> list[tuple[slice, slice]]:
    """The (rows, columns) of a tiles x tiles grid, row by row, cut like `numpy.array_split`:
    sides differ by one at most, larger ones first. Together they cover each pixel once; tiles that
    would be empty are left out. ValueError unless all three are at least 1.
    """
    if min(height, width, tiles) < 1:
        raise ValueError(f"height, width and tiles must be >= 1, got {height}, {width}, {tiles}")
    return [(rows, columns) for rows in _cuts(height, tiles) for columns in _cuts(width, tiles)]


def tile_pairs(images: NDArray[np.uint8], tiles: int) -> Iterator[TilePairs]:
    """The exact squared distances of all pairs, one tile after the other in `tile_grid` order.

    `images` is (n, height, width, 3) uint8, n may be 0. Beside what it yields it holds a copy of
    one tile. Each `squared` is symmetric with a zero diagonal and belongs to the caller.
    ValueError for another shape, an image without pixels, or tiles < 1; TypeError unless uint8.
    """
    _check_images(images)
    count, height, width, _ = images.shape
    for rows, columns in tile_grid(height, width, tiles):
        flat = images[:, rows, columns].reshape(count, _area(rows, columns) * 3)
        gram = _gram(flat)
        norms = gram.diagonal()
        yield TilePairs(norms[:, None] + norms[None, :] - 2.0 * gram, flat.shape[1])


def edge_limit(threshold: float, values: int) -> int:
    """The largest integer squared distance (levels 0-255, over `values` values) whose l2 is still
    <= `threshold`: floor(threshold² · 255² · values), with the threshold read as the decimal that
    it prints as, so that 0.1 means one tenth. ValueError if it is negative or not finite.
    """
    if not (math.isfinite(threshold) and threshold >= 0):
        raise ValueError(f"the threshold must be finite and >= 0, got {threshold}")
    return math.floor((Fraction(str(threshold)) * 255) ** 2 * values)


def within(pairs: TilePairs, threshold: float) -> NDArray[np.bool_]:
    """Which pairs lie within `threshold` in this tile, by the integer test of `edge_limit`; a
    distance of exactly the threshold is within. (n, n) bool, symmetric, True on the diagonal."""
    return pairs.squared <= edge_limit(threshold, pairs.values)


def tiled_pairs(images: NDArray[np.uint8], tiles: int, threshold: float) -> Pairs:
    """Distances and edges of all pairs in one pass; arguments and errors as of `tile_pairs` and
    `edge_limit`. They can disagree only where a distance equals the threshold up to float64
    rounding: there the edge is the exact one."""
    worst, edges = _nothing(images)
    for pairs in tile_pairs(images, tiles):
        edges &= within(pairs, threshold)
        np.maximum(worst, pairs.squared / pairs.values, out=worst)
    np.fill_diagonal(edges, False)
    return Pairs(_to_l2(worst), edges)


def tiled_distances(images: NDArray[np.uint8], tiles: int) -> NDArray[np.float64]:
    """Tiled l2 of all pairs of `images`, (n, n) float64 in [0, 1]: symmetric, zero diagonal.
    With one tile it is the plain l2. Arguments and errors as of `tile_pairs`."""
    worst, _ = _nothing(images)
    for pairs in tile_pairs(images, tiles):
        np.maximum(worst, pairs.squared / pairs.values, out=worst)
    return _to_l2(worst)


def tiled_edges(images: NDArray[np.uint8], tiles: int, threshold: float) -> NDArray[np.bool_]:
    """Which pairs of `images` have a tiled l2 <= `threshold`, decided in integers: every tile must
    pass `within`. (n, n) bool, symmetric, False on the diagonal (no image is its own neighbour).
    Arguments and errors as of `tile_pairs` and `edge_limit`."""
    _, edges = _nothing(images)
    for pairs in tile_pairs(images, tiles):
        edges &= within(pairs, threshold)
    np.fill_diagonal(edges, False)
    return edges


def tiled_to(a: NDArray[np.uint8], b: NDArray[np.uint8], tiles: int) -> float:
    """Tiled l2 of two images (height, width, 3) uint8 of the same size, the very number that
    `tiled_distances` has for the pair. ValueError if their shapes differ."""
    if a.shape != b.shape:
        raise ValueError(f"the images differ in shape: {a.shape} and {b.shape}")
    return float(tiled_distances(np.stack([a, b]), tiles)[0, 1])


def l2_to_all(image: NDArray[np.uint8], others: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Plain l2 from `image` (height, width, 3) to each of `others` (N, height, width, 3), both
    uint8: (N,) float64 in [0, 1], in the order of `others`.

    Equal distances come out as equal numbers and different ones as different numbers, so a minimum
    and its ties are exact. Memory beside the arguments stays within about 100 MB whatever N is
    (`others` may be a memory map). ValueError if the sizes differ; TypeError unless uint8.
    """
    _check_images(image[None])
    _check_images(others)
    if others.shape[1:] != image.shape:
        raise ValueError(f"the image is {image.shape}, the others are {others.shape[1:]}")
    squared = np.zeros(len(others), dtype=np.float64)
    step = max(1, _BLOCK_BYTES // image.size)
    for start in range(0, len(others), step):
        block = others[start : start + step]
        squared[start : start + step] = _squared_to(image.reshape(-1), block)
    return _to_l2(squared / image.size)


def _squared_to(image: NDArray[np.uint8], others: NDArray[np.uint8]) -> NDArray[np.float64]:
    flat = others.reshape(len(others), image.size)
    total = np.zeros(len(others), dtype=np.float64)
    for start in range(0, image.size, _SQUARES_PER_SUM):
        part = slice(start, start + _SQUARES_PER_SUM)
        difference = flat[:, part].astype(np.float32) - image[part]
        total += np.einsum("ij,ij->i", difference, difference)
    return total


def _gram(flat: NDArray[np.uint8]) -> NDArray[np.float64]:
    total = np.zeros((len(flat), len(flat)), dtype=np.float64)
    for start in range(0, flat.shape[1], _PRODUCTS_PER_SUM):
        part = flat[:, start : start + _PRODUCTS_PER_SUM].astype(np.float32)
        part -= 128.0
        total += part @ part.T
    return total


def _to_l2(mean_squared: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.sqrt(mean_squared) / 255.0


def _nothing(images: NDArray[np.uint8]) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    shape = (len(images), len(images))
    return np.zeros(shape, dtype=np.float64), np.ones(shape, dtype=np.bool_)


def _cuts(length: int, tiles: int) -> list[slice]:
    short, longer = divmod(length, tiles)
    ends = [short * k + min(k, longer) for k in range(tiles + 1)]
    return [slice(a, b) for a, b in pairwise(ends) if a < b]


def _area(rows: slice, columns: slice) -> int:
    return int((rows.stop - rows.start) * (columns.stop - columns.start))


def _check_images(images: NDArray[np.uint8]) -> None:
    if images.dtype != np.uint8:
        raise TypeError(f"images must be uint8, got {images.dtype}")
    if images.ndim != 4 or images.shape[3] != 3 or 0 in images.shape[1:]:
        raise ValueError(f"images must be (n, height, width, 3) with pixels, got {images.shape}")
