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

_ROUNDED = 2.0**-24
"""What float32 rounds off a number, as a share of it."""

# The smaller, the more of a gap of lengths counts, and the more is taken off for its rounding.
_GAP = 2.0**-8


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
    for project in (project_coarse, project_fine):
        pairs = possible_tiles(summaries.take(left), height, width, rule, project, pairs)
        involved = _involved(pairs, size, rule.least)
        left = left[involved]
        if not involved.all():
            pairs = pairs[:, involved][:, :, involved]
        pairs &= np.count_nonzero(pairs, axis=0) >= rule.least
        if not len(left):
            break
    return PartCandidates(left, pairs)


@dataclass(frozen=True, slots=True, eq=False)
class Projected:
    """What a projection leaves of n images in one tile, times √scale: `vectors` (n, any) float32,
    each channel's mean taken off, and `kept` (n,) float64, the squared lengths of what it keeps of
    the whole coarse blocks, means included: whole numbers, and exact."""

    vectors: NDArray[np.float32]
    kept: NDArray[np.float64]


def project_coarse(summaries: Summaries, tile: Tile, images: NDArray[np.intp]) -> Projected:
    """On the means of red, green and blue over the coarse blocks that lie in the tile."""
    inside = whole_blocks(tile, summaries.blocks.coarse)
    _, colours = coarse_sums(summaries, inside, images)
    channels = colours.reshape(len(images), 3, -1)
    vectors = [_without_mean(channels[:, channel], 3.0) for channel in range(3)]
    return Projected(np.hstack(vectors), 3.0 * _squares(colours))


def project_fine(summaries: Summaries, tile: Tile, images: NDArray[np.intp]) -> Projected:
    """As `project_coarse`, and on the mean brightness over the fine blocks in the tile."""
    blocks = summaries.blocks
    ratio = blocks.coarse // blocks.fine
    inside = whole_blocks(tile, blocks.coarse)
    brightness, colours = coarse_sums(summaries, inside, images)
    every = fine_sums(summaries, whole_blocks(tile, blocks.fine), images)
    within = fine_sums(
        summaries, (times_ratio(inside[0], ratio), times_ratio(inside[1], ratio)), images
    )
    red, green, blue = colours.reshape(len(images), 3, -1).swapaxes(0, 1)
    # 3 (R² + G² + B²) = (R + G + B)² + 3/2 (R - B)² + 1/2 (R - 2G + B)².
    vectors = (
        _without_mean(every, ratio**2),
        _without_mean(red - blue, 1.5),
        _without_mean(red - 2.0 * green + blue, 0.5),
    )
    kept = ratio**2 * _squares(within) + 3.0 * _squares(colours) - _squares(brightness)
    return Projected(np.hstack(vectors), kept)


Project = Callable[[Summaries, Tile, NDArray[np.intp]], Projected]
"""The projection of these images, in this order, in a tile."""


def possible_tiles(
    summaries: Summaries,
    height: int,
    width: int,
    rule: PartRule,
    project: Project = project_fine,
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
            if not len(asked):
                continue
            possible = _may_be_same(summaries, tile, rule, project, asked)
            if len(asked) == count:
                same[place] &= possible
            else:
                same[place][np.ix_(asked, asked)] &= possible
        np.fill_diagonal(same[place], False)
    return same


def _may_be_same(
    summaries: Summaries, tile: Tile, rule: PartRule, project: Project, images: NDArray[np.intp]
) -> NDArray[np.bool_]:
    """Of these images: (n, n) bool, symmetric.

    A bound |x|² + |y|² - 2xy is compared with a limit as xy with half of what is left then, in
    float32. What that may round off is taken off the squares: products of k numbers are off by k
    times `_ROUNDED` of the lengths at most (Higham, 2002, section 3.1).
    """
    scale = 3.0 * summaries.blocks.coarse**2
    pixels = tile_values(tile) // 3
    limits = limits_of(rule, pixels)
    inside = whole_blocks(tile, summaries.blocks.coarse)
    energy = summaries.energy[:, *inside][images].sum(axis=(1, 2), dtype=np.float64)
    variance = _variance(summaries, tile, inside, images, energy)
    projected = project(summaries, tile, images)
    rest = np.sqrt(np.maximum(scale * energy - projected.kept, 0.0))
    # Roots of whole numbers that are off by a unit at most are off by one, so a gap of two by two:
    # (|d| - 2)² >= (1 - e) d² - 4 (1 - e) / e for any e between 0 and 1.
    gap = (math.sqrt(1.0 - _GAP) * rest).astype(np.float32)
    vectors = np.hstack([projected.vectors, gap[:, None]])
    products = vectors @ vectors.T
    rounded = (2 * vectors.shape[1] + 32) * _ROUNDED
    squares = products.diagonal().astype(np.float64)
    # The means of large blocks are rounded, too.
    slack = 4.0 / _GAP + scale * 3.0 * pixels * 255.0**2 * 2.0**-40
    most = scale * limits.distance / pixels * (1.0 + 2.0**-16) + slack
    least = ((1.0 - rounded) * squares - most / 2) / 2
    possible = products >= _sums_of_two(least)
    if variance is not None:
        # |a - b|² = |a|² + |b|² - 2ab, and ab is at least the correlation's share of |a| |b|.
        less = (1.0 - rounded) * squares - (1.0 + rounded) * scale * variance - slack / 2
        root = np.sqrt((1.0 - rounded) * scale * rule.correlation * variance).astype(np.float32)
        alike = np.outer(root, root)
        alike += _sums_of_two(less / 2)
        textured = pixels * variance >= limits.texture - 0.5
        possible &= products >= alike
        possible &= textured[:, None] & textured[None, :]
    return np.asarray(possible)


def _variance(
    summaries: Summaries,
    tile: Tile,
    inside: Tile,
    images: NDArray[np.intp],
    energy: NDArray[np.float64],
) -> NDArray[np.float64] | None:
    """The sums of squares (n,) of the images' tile without its channels' means, where it consists
    of whole coarse blocks, else None."""
    side = summaries.blocks.coarse
    if any(
        (side * blocks.start, side * blocks.stop) != (span.start, span.stop)
        for blocks, span in zip(inside, tile, strict=True)
    ):
        return None
    _, colours = coarse_sums(summaries, inside, images)
    sums = colours.reshape(len(colours), 3, colours.shape[1] // 3).sum(axis=2)
    return np.asarray(np.maximum(energy - _squares(sums) / (tile_values(tile) // 3), 0.0))


def _without_mean(rows: NDArray[np.float64], weight: float) -> NDArray[np.float32]:
    """Vectors whose squared distances are `weight` times those of the rows (n, blocks) once the
    mean of each is taken off; none without a block."""
    means = rows.mean(axis=1, keepdims=True) if rows.shape[1] else 0.0
    return np.asarray((rows - means) * math.sqrt(weight), dtype=np.float32)


def _sums_of_two(values: NDArray[np.float64]) -> NDArray[np.float32]:
    """(n, n): the sum of the i-th and the j-th value."""
    narrow = values.astype(np.float32)
    return np.asarray(np.add.outer(narrow, narrow))


def _squares(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(np.einsum("ij,ij->i", rows, rows))


def _involved(same: NDArray[np.bool_], size: int, least: int) -> NDArray[np.bool_]:
    """Which images (n,) can be the centre of a part, or are the same as one in enough tiles."""
    counts = np.count_nonzero(same, axis=0)
    near = counts >= least
    wide = np.count_nonzero(np.count_nonzero(same & near, axis=2) >= size - 1, axis=0) >= least
    return np.asarray(wide | near[wide].any(axis=0))
