"""Which images may show a part that repeats, told from descriptors alone.

In a tile, what is left of two images a and b once each channel's mean is taken off differs by

    min over c of |a - b - c|² >= min over c of |P(a - b) - c|² + (|a - Pa| - |b - Pb|)²,

for c that is one colour all over the tile, and P the projection on block means of `bounds`, which
keeps such a c. Brightness and colour have a c each, since P takes them apart. If a tile consists of
whole coarse blocks its variance is known as well: whether it has texture, and how far two tiles can
be apart that correlate enough. So no pair that `parts.same_tiles` calls the same is rejected.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from seedsweep.storage.settings.analysis import PartRule
from seedsweep.workers.analysis.bounds import (
    can_bound,
    coarse_sums,
    fine_sums,
    times_ratio,
    whole_blocks,
)
from seedsweep.workers.analysis.descriptors import Summaries
from seedsweep.workers.analysis.distances import Tile, tile_grid, tile_values
from seedsweep.workers.analysis.parts import limits_of

# Terms are whole numbers, or quotients and roots of such, below 2⁵¹: their sums are off by less.
_SLACK = 2.0**-40

Columns = list[tuple[float, NDArray[np.float64]]]


@dataclass(frozen=True, slots=True, eq=False)
class PartCandidates:
    """The images, by ascending places, among which alone parts can be, and in which tiles which
    pairs of them may be the same and count: (tiles, images, images) bool, None for all."""

    images: NDArray[np.intp]
    pairs: NDArray[np.bool_] | None


def part_candidates(
    summaries: Summaries, height: int, width: int, rule: PartRule, size: int
) -> PartCandidates:
    """Without the other images, and the other pairs, `parts.find_parts` finds the same parts that
    `size` images share. The images are height x width.

    Coarse blocks are asked first, and fine ones only of images, tiles and pairs that are left then.
    Pairs that may be the same in fewer tiles than a part takes do not count.
    """
    left = np.arange(len(summaries))
    pairs: NDArray[np.bool_] | None = None
    for columns_of in (_coarse, _fine):
        pairs = possible_tiles(summaries.take(left), height, width, rule, columns_of, pairs)
        involved = _involved(pairs, size, rule.least)
        left = left[involved]
        if not involved.all():
            pairs = pairs[:, involved][:, :, involved]
        pairs &= np.count_nonzero(pairs, axis=0) >= rule.least
        if not len(left):
            break
    return PartCandidates(left, pairs)


def _coarse(summaries: Summaries, tile: Tile) -> tuple[Columns, Columns]:
    """What a tile's projection on coarse blocks is made of, weighted vectors (n, any), and what of
    it lies in whole coarse blocks, which is the same here; all without the blocks' common mean."""
    _, colours = coarse_sums(summaries, whole_blocks(tile, summaries.blocks.coarse))
    parts = _without_means(3, colours, 3)
    return parts, [(3, colours)]


def _fine(summaries: Summaries, tile: Tile) -> tuple[Columns, Columns]:
    """As `_coarse`, with the brightness of fine blocks."""
    blocks = summaries.blocks
    ratio = blocks.coarse // blocks.fine
    inside = whole_blocks(tile, blocks.coarse)
    brightness, colours = coarse_sums(summaries, inside)
    every = fine_sums(summaries, whole_blocks(tile, blocks.fine))
    within = fine_sums(summaries, (times_ratio(inside[0], ratio), times_ratio(inside[1], ratio)))
    parts = [
        *_without_means(ratio**2, every, 1),
        *_without_means(3, colours, 3),
        *_without_means(-1, brightness, 1),
    ]
    return parts, [(ratio**2, within), (3, colours), (-1, brightness)]


def possible_tiles(
    summaries: Summaries,
    height: int,
    width: int,
    rule: PartRule,
    columns_of: Callable[[Summaries, Tile], tuple[Columns, Columns]] = _fine,
    among: NDArray[np.bool_] | None = None,
) -> NDArray[np.bool_]:
    """In which tiles which pairs of images may be the same: (tiles, n, n) bool, symmetric, False on
    the diagonal, and True wherever `parts.same_tiles` is, of those `among` that shape, all by
    default."""
    count = len(summaries)
    grid = tile_grid(height, width, rule.grid)
    same = np.ones((len(grid), count, count), np.bool_) if among is None else among.copy()
    for place, tile in enumerate(grid):
        if can_bound(tile_values(tile), summaries):
            asked = np.flatnonzero(same[place].any(axis=1))
            some = summaries if len(asked) == count else summaries.take(asked)
            possible = _may_be_same(some, tile, rule, columns_of)
            same[place][np.ix_(asked, asked)] &= possible
        np.fill_diagonal(same[place], False)
    return same


def _may_be_same(
    summaries: Summaries,
    tile: Tile,
    rule: PartRule,
    columns_of: Callable[[Summaries, Tile], tuple[Columns, Columns]],
) -> NDArray[np.bool_]:
    scale = 3.0 * summaries.blocks.coarse**2
    pixels = tile_values(tile) // 3
    columns, explained = columns_of(summaries, tile)
    norms = _norms(columns, len(summaries))
    bounds = norms[:, None] + norms[None, :]
    for weight, rows in columns:
        bounds -= (2.0 * weight) * (rows @ rows.T)
    inside = whole_blocks(tile, summaries.blocks.coarse)
    energy = summaries.energy[:, *inside].sum(axis=(1, 2), dtype=np.float64)
    residuals = np.sqrt(np.maximum(scale * energy - _norms(explained, len(summaries)), 0.0))
    # Roots of terms that are off by a unit at most are themselves off by one at most.
    gaps = np.maximum(np.abs(residuals[:, None] - residuals[None, :]) - 2.0, 0.0)
    gaps *= gaps
    bounds += gaps
    limits = limits_of(rule, pixels)
    most = scale * limits.distance / pixels
    slack = scale * 3.0 * pixels * 255.0**2 * _SLACK
    possible = bounds <= most + slack
    variance = _variance(summaries, tile, inside, energy)
    if variance is not None:
        textured = pixels * variance >= limits.texture - 0.5
        root = np.sqrt(variance)
        # |a - b|² = |a|² + |b|² - 2ab, and ab is at least the correlation's share of |a| |b|.
        alike = variance[:, None] + variance[None, :]
        alike -= (2.0 * rule.correlation) * (root[:, None] * root[None, :])
        possible &= bounds <= scale * alike + slack
        possible &= textured[:, None] & textured[None, :]
    return possible


def _variance(
    summaries: Summaries, tile: Tile, inside: Tile, energy: NDArray[np.float64]
) -> NDArray[np.float64] | None:
    """The sums of squares (n,) of the tile without its channels' means, where it consists of whole
    coarse blocks, else None."""
    side = summaries.blocks.coarse
    if any(
        (side * blocks.start, side * blocks.stop) != (span.start, span.stop)
        for blocks, span in zip(inside, tile, strict=True)
    ):
        return None
    _, colours = coarse_sums(summaries, inside)
    sums = colours.reshape(len(colours), 3, colours.shape[1] // 3).sum(axis=2)
    squares = np.einsum("ij,ij->i", sums, sums)
    return np.asarray(np.maximum(energy - squares / (tile_values(tile) // 3), 0.0))


def _without_means(weight: int, rows: NDArray[np.float64], channels: int) -> Columns:
    """Weighted vectors whose squared distances are those of the rows (n, channels · blocks) once
    the mean of each channel's blocks is taken off the differences; nothing without a block."""
    blocks = rows.shape[1] // channels
    if not blocks:
        return []
    sums = rows.reshape(len(rows), channels, blocks).sum(axis=2) / math.sqrt(blocks)
    return [(weight, rows), (-weight, sums)]


def _norms(columns: Columns, count: int) -> NDArray[np.float64]:
    total = np.zeros(count)
    for weight, rows in columns:
        total += weight * np.einsum("ij,ij->i", rows, rows)
    return total


def _involved(same: NDArray[np.bool_], size: int, least: int) -> NDArray[np.bool_]:
    """Which images (n,) can be the centre of a part, or are the same as one in enough tiles."""
    counts = np.count_nonzero(same, axis=0)
    near = counts >= least
    wide = np.count_nonzero(np.count_nonzero(same & near, axis=2) >= size - 1, axis=0) >= least
    return np.asarray(wide | near[wide].any(axis=0))
