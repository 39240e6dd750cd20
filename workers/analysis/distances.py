"""Exact l2 and tiled l2 distances between images, and the edges they make.

l2 of two images is sqrt(mean((a - b)²)) over all values, pixels in [0, 1]; tiled l2 is the largest
l2 over the tiles of a grid (Carlini et al. 2023, arXiv 2301.13188, sections 4.1 and 4.2). All sums
are integers that float32 and float64 hold exactly, so every result is the same bit for bit on any
machine, whatever the BLAS, its threads or the order of the images.
"""

# Written by hand, since what libraries have is inexact or slow: torch.cdist rounds, scipy's pdist
# takes twelve times as long, and an edge has to be the same edge on every machine.

from __future__ import annotations

import math
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from fractions import Fraction
from itertools import combinations, pairwise

import numpy as np
from numpy.typing import NDArray

from seedsweep.workers.analysis.inner_products import Products, products

# 255² · 258 < 2²⁴: float32 holds every partial sum of that many squares.
_SQUARES_PER_SUM = 258
_BLOCK_BYTES = 1 << 25
_BLOCK_IMAGES = 512
_PAIRED_VALUES = 1 << 20

Tile = tuple[slice, slice]


@dataclass(frozen=True, slots=True, eq=False)
class Pairs:
    """All pairs of n images: `distances` (n, n) float64 in [0, 1], `edges` (n, n) bool."""

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


def squared_blocks(
    images: NDArray[np.uint8], tile: Tile, inner: Products = products
) -> Iterator[tuple[slice, slice, NDArray[np.float64]]]:
    """The exact squared distances in one tile, in blocks that cover every pair one way round:
    (first images, second images, integers (m, n) float64 in pixel levels 0-255).

    `images` is (n, height, width, 3) uint8, n may be 0; `inner` is what computes. Beside what it
    yields, which belongs to the caller, it holds a copy of the tile.
    """
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


def tiled_pairs(
    images: NDArray[np.uint8],
    tiles: int,
    threshold: float,
    inner: Products = products,
    threads: int = 1,
) -> Pairs:
    """Tiled l2 of all pairs of `images` (n, height, width, 3) uint8, and which are edges: those
    whose every tile is within `edge_limit`, which is within itself. n may be 0.

    Distances are symmetric with a zero diagonal; with one tile they are the plain l2. Edges are
    symmetric and False on the diagonal: no image is its own neighbour. The two can disagree only
    where a distance equals the threshold up to float64 rounding: there the edge is the exact one.

    `inner` is what computes. So many `threads` share the tiles (their BLAS should have one each),
    and the result does not depend on that. Each holds one tile of all images, 9 bytes for every
    pair and a few MB. ValueError for another shape, an image without pixels, tiles < 1, or as of
    `edge_limit`; TypeError unless uint8.
    """
    _check_images(images)
    _, height, width, _ = images.shape
    shares = _shared_out(tile_grid(height, width, tiles), threads)
    if len(shares) == 1:
        parts = [_pairs_in(shares[0], images, threshold, inner)]
    else:
        with ThreadPoolExecutor(len(shares), thread_name_prefix="tiles") as pool:
            parts = list(pool.map(lambda share: _pairs_in(share, images, threshold, inner), shares))
    worst = np.maximum.reduce([pairs.distances for pairs in parts])
    edges = np.logical_and.reduce([pairs.edges for pairs in parts])
    np.fill_diagonal(edges, False)
    return Pairs(_to_l2(worst), edges)


def tiled_distances(images: NDArray[np.uint8], tiles: int) -> NDArray[np.float64]:
    """The distances of `tiled_pairs`: (n, n) float64 in [0, 1]."""
    return tiled_pairs(images, tiles, 0.0).distances


def tiled_edges(images: NDArray[np.uint8], tiles: int, threshold: float) -> NDArray[np.bool_]:
    """The edges of `tiled_pairs`: (n, n) bool."""
    return tiled_pairs(images, tiles, threshold).edges


def _pairs_in(
    share: list[Tile], images: NDArray[np.uint8], threshold: float, inner: Products
) -> Pairs:
    """Of these tiles alone; the distances are mean squares in pixel levels."""
    shape = (len(images), len(images))
    worst, edges = np.zeros(shape, dtype=np.float64), np.ones(shape, dtype=np.bool_)
    for tile in share:
        values = tile_values(tile)
        limit = edge_limit(threshold, values)
        for first, second, squared in squared_blocks(images, tile, inner):
            edges[first, second] &= squared <= limit
            squared /= values
            np.maximum(worst[first, second], squared, out=worst[first, second])
    for first, second in combinations(image_blocks(len(images)), 2):
        edges[second, first] = edges[first, second].T
        worst[second, first] = worst[first, second].T
    return Pairs(worst, edges)


def _shared_out(grid: list[Tile], threads: int) -> list[list[Tile]]:
    return [grid[place::threads] for place in range(min(threads, len(grid)))]


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


def paired_squared(
    first: NDArray[np.uint8], second: NDArray[np.uint8], tile: Tile | None = None
) -> NDArray[np.float64]:
    """The exact squared distance of each of the images (n, height, width, 3) uint8 to the other one
    at its place, in one tile or in all of it: (n,) integers in pixel levels 0-255."""
    rows, columns = tile or (slice(None), slice(None))
    squared = np.zeros(len(first), dtype=np.float64)
    step = max(1, _PAIRED_VALUES // max(1, first[:1].size))
    for at in range(0, len(first), step):
        some = slice(at, at + step)
        apart = first[some, rows, columns].astype(np.int32) - second[some, rows, columns]
        squared[some] = np.square(apart).reshape(len(apart), -1).sum(axis=1, dtype=np.int64)
    return squared


def paired_tiled(
    first: NDArray[np.uint8], second: NDArray[np.uint8], tiles: int
) -> NDArray[np.float64]:
    """As `tiled_to`, of each of the images (n, height, width, 3) uint8 and the other one at its
    place: (n,), the very numbers."""
    worst = np.zeros(len(first), dtype=np.float64)
    for tile in tile_grid(first.shape[1], first.shape[2], tiles):
        np.maximum(worst, paired_squared(first, second, tile) / tile_values(tile), out=worst)
    return _to_l2(worst)


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


def _cuts(length: int, tiles: int) -> list[slice]:
    short, longer = divmod(length, tiles)
    ends = [short * k + min(k, longer) for k in range(tiles + 1)]
    return [slice(a, b) for a, b in pairwise(ends) if a < b]


def _check_images(images: NDArray[np.uint8]) -> None:
    if images.dtype != np.uint8:
        raise TypeError(f"images must be uint8, got {images.dtype}")
    if images.ndim != 4 or images.shape[3] != 3 or 0 in images.shape[1:]:
        raise ValueError(f"images must be (n, height, width, 3) with pixels, got {images.shape}")
