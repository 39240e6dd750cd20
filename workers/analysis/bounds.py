"""Lower bounds on distances, and which pairs may be edges, told from descriptors alone.

Block means are an orthogonal projection P, so for two images a, b and any set of whole blocks

    |a - b|² = |Pa - Pb|² + |(a - Pa) - (b - Pb)|² >= |Pa - Pb|² + (|a - Pa| - |b - Pb|)²,

the last by the triangle inequality, and |a - Pa|² = |a|² - |Pa|² is known from the sums of squares.
The blocks that lie wholly in a tile so give a lower bound on the squared distance in that tile.
Everything is multiplied by 3 · coarse², which makes all terms integers, and integers that float64
holds exactly: a pair that is rejected is certainly no edge.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations_with_replacement
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seedsweep.workers.analysis.cliques import core
from seedsweep.workers.analysis.descriptors import Summaries
from seedsweep.workers.analysis.distances import (
    Tile,
    edge_limit,
    image_blocks,
    tile_grid,
    tile_values,
)

# Sums of a few terms of this size still are exact.
_EXACT = 2**51

Part = tuple[int, NDArray[np.float64]]

Images = NDArray[np.intp] | slice
EVERY = slice(None)


@dataclass(frozen=True, slots=True, eq=False)
class Projections:
    """The projections of n images in one tile, times √scale.

    `parts`: weights and vectors (n, any) float64 of integers; the squared distance of two
    projections is the weighted sum of the squared distances of their vectors, and `norms` (n,) are
    the weighted sums of their squares. `residuals` (n,) float64: the length of what the projection
    leaves of each image, an integer that is off by 1 at most.
    """

    scale: int
    parts: tuple[Part, ...]
    norms: NDArray[np.float64]
    residuals: NDArray[np.float64]


def lower_bounds(
    first: Projections, second: Projections, rows: slice, columns: slice
) -> NDArray[np.float64]:
    """`scale` times lower bounds on the squared distances, in pixel levels 0-255, in the tile that
    both are of, from images `rows` of the first to images `columns` of the second: (m, n) float64
    of integers."""
    bounds = first.norms[rows, None] + second.norms[None, columns]
    for (weight, left), (_, right) in zip(first.parts, second.parts, strict=True):
        gram = left[rows] @ right[columns].T
        gram *= 2 * weight
        bounds -= gram
    gaps = first.residuals[rows, None] - second.residuals[None, columns]
    np.abs(gaps, out=gaps)
    gaps -= 2  # each is off by 1 at most
    np.maximum(gaps, 0, out=gaps)
    gaps *= gaps
    bounds += gaps
    return bounds


def project_coarse(summaries: Summaries, tile: Tile) -> Projections:
    """Project on the means of red, green and blue over the coarse blocks that lie in the tile."""
    inside = whole_blocks(tile, summaries.blocks.coarse)
    _, colours = coarse_sums(summaries, inside)
    parts = ((3, colours),)
    return _projections(summaries, inside, parts, _norms(parts))


def project_fine(summaries: Summaries, tile: Tile) -> Projections:
    """Project on what `project_coarse` does, and on the mean brightness over the fine blocks that
    lie in the tile. The lower bounds are at least those of `project_coarse`."""
    blocks = summaries.blocks
    ratio = blocks.coarse // blocks.fine
    inside = whole_blocks(tile, blocks.coarse)
    brightness, colours = coarse_sums(summaries, inside)
    chroma = (3, colours), (-1, brightness)
    every = ratio**2, fine_sums(summaries, whole_blocks(tile, blocks.fine))
    # Energy is known of whole coarse blocks only: fine ones beside them explain none of it.
    within = (
        ratio**2,
        fine_sums(summaries, (times_ratio(inside[0], ratio), times_ratio(inside[1], ratio))),
    )
    return _projections(summaries, inside, (every, *chroma), _norms((within, *chroma)))


def candidates(
    summaries: Summaries, height: int, width: int, tiles: int, threshold: float, size: int
) -> NDArray[np.bool_]:
    """Which pairs may be edges of a clique of `size`: (n, n) bool, symmetric, False on the
    diagonal; it holds the canonical core of the true edges, and is its own core (`cliques.core`).

    The images are height x width; tiles and threshold are those of `distances.tiled_edges`. Coarse
    blocks are asked first, and fine ones only of images that then are still in the core.
    """
    grid = tile_grid(height, width, tiles)
    possible = core(_possible(summaries, grid, threshold, project_coarse), size)
    left = np.flatnonzero(possible.any(axis=1))
    closer = _possible(summaries.take(left), grid, threshold, project_fine)
    possible[np.ix_(left, left)] &= closer
    return core(possible, size)


def _possible(
    summaries: Summaries,
    grid: Sequence[Tile],
    threshold: float,
    project: Callable[[Summaries, Tile], Projections],
) -> NDArray[np.bool_]:
    """True for every true edge, and for whatever the bounds of all tiles cannot reject."""
    possible = np.ones((len(summaries), len(summaries)), dtype=np.bool_)
    np.fill_diagonal(possible, False)
    blocks = image_blocks(len(summaries))
    for tile in grid:
        values = tile_values(tile)
        if not can_bound(values, summaries):
            continue
        projections = project(summaries, tile)
        limit = edge_limit(threshold, values) * projections.scale
        for first, second in combinations_with_replacement(blocks, 2):
            near = lower_bounds(projections, projections, first, second) <= limit
            possible[first, second] &= near
            possible[second, first] &= near.T
    return possible


def can_bound(values: int, summaries: Summaries) -> bool:
    """Whether float64 holds all terms for a tile of so many values (height x width x 3): up to some
    3,800 x 3,800 pixels with coarse blocks of 16."""
    return values * 255**2 * _scale(summaries) < _EXACT


def _scale(summaries: Summaries) -> int:
    return 3 * summaries.blocks.coarse**2


def _projections(
    summaries: Summaries, inside: Tile, parts: tuple[Part, ...], explained: NDArray[np.float64]
) -> Projections:
    """`explained` (n,): scale times the energy in the blocks `inside` that the projection keeps."""
    scale = _scale(summaries)
    energy = summaries.energy[:, *inside].sum(axis=(1, 2), dtype=np.float64)
    residuals = np.floor(np.sqrt(scale * energy - explained))
    return Projections(scale, parts, _norms(parts), residuals)


def _norms(parts: tuple[Part, ...]) -> NDArray[np.float64]:
    terms = [weight * np.einsum("ij,ij->i", rows, rows) for weight, rows in parts]
    return np.asarray(sum(terms))


def coarse_sums(
    summaries: Summaries, inside: Tile, images: Images = EVERY
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Brightness (n, blocks), and red, green, blue (n, 3 · blocks), of the coarse blocks of these
    images."""
    brightness = summaries.coarse_brightness[:, *inside][images]
    red, blue = summaries.red[:, *inside][images], summaries.blue[:, *inside][images]
    colours = np.stack([red, brightness - red - blue, blue], axis=1, dtype=np.float64)
    return _rows(brightness), _rows(colours)


def fine_sums(summaries: Summaries, inside: Tile, images: Images = EVERY) -> NDArray[np.float64]:
    """The brightness (n, blocks) of the fine blocks of these images."""
    return _rows(summaries.brightness[:, *inside][images])


def _rows(values: NDArray[Any]) -> NDArray[np.float64]:
    return values.reshape(len(values), math.prod(values.shape[1:])).astype(np.float64)


def whole_blocks(tile: Tile, side: int) -> Tile:
    """The blocks of that side that lie wholly in the tile."""
    rows, columns = tile
    return _whole(rows, side), _whole(columns, side)


def _whole(span: slice, side: int) -> slice:
    first, last = -(-span.start // side), span.stop // side
    return slice(first, max(first, last))


def times_ratio(span: slice, ratio: int) -> slice:
    return slice(ratio * span.start, ratio * span.stop)
