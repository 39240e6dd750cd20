"""Exact l2 and tiled l2 distances between images, and the edges they make.

l2 of two images is sqrt(mean((a - b)²)) over all values, pixels in [0, 1]; tiled l2 is the largest
l2 over the tiles of a grid (Carlini et al. 2023, arXiv 2301.13188, sections 4.1 and 4.2). All sums
are integers that float32 and float64 hold exactly, so every result is the same bit for bit on any
machine, whatever the BLAS, its threads or the order of the images.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from fractions import Fraction
from itertools import combinations, pairwise
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from workers.analysis.products import Products, products

# 255² · 258 < 2²⁴: float32 holds every partial sum of that many squares.
_SQUARES_PER_SUM = 258
_BLOCK_BYTES = 1 << 25
_BLOCK_IMAGES = 512

Tile = tuple[slice, slice]
T = TypeVar("T")


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


def tile_grid(height: int, width: int, tiles: int) -> list[Tile]:
    """The (rows, columns) of a tiles x tiles grid, row by row, cut like `numpy.array_split`:
    sides differ by one at most, larger ones first. Together they cover each pixel once; tiles that
    would be empty are left out. ValueError unless all three are at least 1.
    """
    if min(height, width, tiles) < 1:
        raise ValueError(f"height, width and tiles must be >= 1, got {height}, {width}, {tiles}")
    return [(rows, columns) for rows in _cuts(height, tiles) for columns in _cuts(width, tiles)]


def tile_values(tile: Tile) -> int:
    """How many values, height x width x 3, an image has in a tile."""
    rows, columns = tile
    return int((rows.stop - rows.start) * (columns.stop - columns.start)) * 3


def image_blocks(count: int) -> list[slice]:
    """Cut `count` images into runs of at most 512, so that what is held of all their pairs at once
    does not grow with their number."""
    return [slice(at, min(at + _BLOCK_IMAGES, count)) for at in range(0, count, _BLOCK_IMAGES)]


def tile_pairs(images: NDArray[np.uint8], tiles: int) -> Iterator[TilePairs]:
    """The exact squared distances of all pairs, one tile after the other in `tile_grid` order.

    `images` is (n, height, width, 3) uint8, n may be 0. Beside what it yields it holds a copy of
    one tile. Each `squared` is symmetric with a zero diagonal and belongs to the caller.
    ValueError for another shape, an image without pixels, or tiles < 1; TypeError unless uint8.
    """
    _check_images(images)
    _, height, width, _ = images.shape
    for tile in tile_grid(height, width, tiles):
        squared = np.zeros((len(images), len(images)), dtype=np.float64)
        for first, second, block in _squared_blocks(images, tile, products):
            squared[first, second] = block
            squared[second, first] = block.T
        yield TilePairs(squared, tile_values(tile))


def _squared_blocks(
    images: NDArray[np.uint8], tile: Tile, inner: Products
) -> Iterator[tuple[slice, slice, NDArray[np.float64]]]:
    """The squared distances in one tile: (first images, second images, their distances), blocks
    that cover every pair of different images at least one way round."""
    flat = images[:, *tile].reshape(len(images), tile_values(tile))
    blocks = image_blocks(len(images))
    norms = np.empty(len(images), dtype=np.float64)
    for block in blocks:
        rows = flat[block]
        gram = inner(rows, rows)
        norms[block] = gram.diagonal()
        yield block, block, _squared_from(norms[block], norms[block], gram)
    for first, second in combinations(blocks, 2):
        gram = inner(flat[first], flat[second])
        yield first, second, _squared_from(norms[first], norms[second], gram)


def _squared_from(
    first: NDArray[np.float64], second: NDArray[np.float64], gram: NDArray[np.float64]
) -> NDArray[np.float64]:
    gram *= -2.0
    gram += first[:, None]
    gram += second[None, :]
    return gram


def edge_limit(threshold: float, values: int) -> int:
    """The largest integer squared distance (levels 0-255, over `values` values) whose l2 is still
    <= `threshold`: floor(threshold² · 255² · values), with the threshold read as the decimal that
    it prints as, so that 0.1 means one tenth. ValueError if it is negative or not finite.
    """
    if not (math.isfinite(threshold) and threshold >= 0):
        raise ValueError(f"the threshold must be finite and >= 0, got {threshold}")
    return math.floor((Fraction(str(threshold)) * 255) ** 2 * values)


def tiled_pairs(images: NDArray[np.uint8], tiles: int, threshold: float) -> Pairs:
    """Distances and edges of all pairs in one pass; arguments and errors as of `tile_pairs` and
    `edge_limit`. They can disagree only where a distance equals the threshold up to float64
    rounding: there the edge is the exact one."""
    worst, edges = _nothing(images)
    for pairs in tile_pairs(images, tiles):
        edges &= pairs.squared <= edge_limit(threshold, pairs.values)
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


def tiled_edges(
    images: NDArray[np.uint8],
    tiles: int,
    threshold: float,
    inner: Products = products,
    threads: int = 1,
) -> NDArray[np.bool_]:
    """Which pairs of `images` have a tiled l2 <= `threshold`, decided in integers: every tile must
    be within `edge_limit`, which is within itself. (n, n) bool, symmetric, False on the diagonal
    (no image is its own neighbour).

    `inner` is what computes. So many `threads` share the tiles (their BLAS should have one each),
    and the result does not depend on that. Beside the arguments and the result it holds, for each
    thread, one tile of all images, n² bytes and a few MB. Arguments and errors as of `tile_pairs`
    and `edge_limit`.
    """
    _check_images(images)

    def edges_in(share: list[Tile]) -> NDArray[np.bool_]:
        _, edges = _nothing(images)
        for tile in share:
            limit = edge_limit(threshold, tile_values(tile))
            for first, second, squared in _squared_blocks(images, tile, inner):
                near = squared <= limit
                edges[first, second] &= near
                edges[second, first] &= near.T
        return edges

    _, height, width, _ = images.shape
    grid = tile_grid(height, width, tiles)
    edges = np.logical_and.reduce(_shared_out(grid, threads, edges_in))
    np.fill_diagonal(edges, False)
    return np.asarray(edges)


def _shared_out(grid: list[Tile], threads: int, work: Callable[[list[Tile]], T]) -> list[T]:
    shares = [grid[place::threads] for place in range(min(threads, len(grid)))]
    if len(shares) == 1:
        return [work(grid)]
    with ThreadPoolExecutor(len(shares), thread_name_prefix="tiles") as pool:
        return list(pool.map(work, shares))


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


def _to_l2(mean_squared: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.sqrt(mean_squared) / 255.0


def _nothing(images: NDArray[np.uint8]) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    shape = (len(images), len(images))
    return np.zeros(shape, dtype=np.float64), np.ones(shape, dtype=np.bool_)


def _cuts(length: int, tiles: int) -> list[slice]:
    short, longer = divmod(length, tiles)
    ends = [short * k + min(k, longer) for k in range(tiles + 1)]
    return [slice(a, b) for a, b in pairwise(ends) if a < b]


def _check_images(images: NDArray[np.uint8]) -> None:
    if images.dtype != np.uint8:
        raise TypeError(f"images must be uint8, got {images.dtype}")
    if images.ndim != 4 or images.shape[3] != 3 or 0 in images.shape[1:]:
        raise ValueError(f"images must be (n, height, width, 3) with pixels, got {images.shape}")
