"""How pictures show most of each other if one is shifted, or mirrored, beside the other.

Pictures are reduced to their brightness, some 64 pixels a side. There each tile of one is compared
with what another has at every shift of so many pixels, by the rule of `parts.same_tiles`: the shift
counts at which most tiles are the same. Whole numbers decide, so that equal pictures are laid alike
on every machine.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from seedsweep.storage.prompt_results import Shift
from seedsweep.storage.settings.analysis import PartRule
from seedsweep.workers.analysis.descriptors import Summaries
from seedsweep.workers.analysis.distances import tile_grid
from seedsweep.workers.analysis.shift_bounds import ShiftBounds
from seedsweep.workers.analysis.windows import TileLimits, WindowedPictures

SIDE = 48
"""A reduced picture has at least so many pixels on its shorter side, and less than twice as many,
unless the picture itself has fewer."""

_DENSE = 0.05
"""If more than this share of all pairs and tiles may be the same, all are compared at once."""


@dataclass(frozen=True, slots=True, eq=False)
class Laid:
    """How each of n pictures is laid on each other: `shifts`, in pixels of reduced pictures, of
    which `best` (n, n) names the one of the second picture, -1 if none is good enough; `same`
    (tiles, n, n) bool, in which tiles of the first picture the second is the same then."""

    shifts: tuple[Shift, ...]
    best: NDArray[np.intp]
    same: NDArray[np.bool_]

    def at_least(self, least: int) -> Laid:
        """Only those that are the same in so many tiles."""
        enough = np.count_nonzero(self.same, axis=0) >= least
        return Laid(self.shifts, np.where(enough, self.best, -1), self.same & enough)


def reduction(height: int, width: int) -> int:
    """How many pixels of a picture are one of the reduced picture, on each side: a power of two."""
    side = 1
    while min(height, width) // (2 * side) >= SIDE:
        side *= 2
    return side


def reduce_pictures(pictures: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Of pictures (n, height, width, 3) uint8 the mean brightness of each square of `reduction`
    pixels, rounded down: (n, height // side, width // side, 1). What no whole square covers is left
    out."""
    side = reduction(pictures.shape[1], pictures.shape[2])
    return mean_brightness(pictures, side)


def reduce_summaries(summaries: Summaries, height: int, width: int) -> NDArray[np.uint8] | None:
    """What `reduce_pictures` makes of these pictures, from their descriptors alone; None if the
    blocks of these are larger than its squares."""
    side, fine = reduction(height, width), summaries.blocks.fine
    if side % fine:
        return None
    return _means(summaries.brightness, side // fine, 3 * side * side)


def brightness_means(picture: NDArray[np.uint8]) -> dict[int, NDArray[np.uint8]]:
    """By side the mean of all values in each square of so many pixels, rounded down, of a picture
    (height, width, 3): (height // side, width // side), from its `reduction` down to one pixel."""
    most = reduction(picture.shape[0], picture.shape[1])
    # By channel: numpy adds over a short last axis ten times slower.
    sums = picture[..., 0].astype(np.uint32)
    sums += picture[..., 1]
    sums += picture[..., 2]
    means, side = {}, 1
    while True:
        means[side] = (sums // (3 * side * side)).astype(np.uint8)
        if side == most:
            return means
        rows, columns = sums.shape[0] // 2, sums.shape[1] // 2
        whole = sums[: 2 * rows, : 2 * columns]
        sums = whole[::2] + whole[1::2]
        sums = sums[:, ::2] + sums[:, 1::2]
        side *= 2


def mean_brightness(pictures: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    """The mean of all values in each square of so many pixels on a side, rounded down, of pictures
    (n, height, width, 3) uint8: (n, height // side, width // side, 1)."""
    brightness = pictures[..., 0].astype(np.uint16)
    brightness += pictures[..., 1]
    brightness += pictures[..., 2]
    return _means(brightness, side, 3 * side * side)


def _means(values: NDArray[np.uint16], side: int, count: int) -> NDArray[np.uint8]:
    rows, columns = values.shape[1] // side, values.shape[2] // side
    whole = values[:, : rows * side, : columns * side]
    # Down the rows first: that is where numpy adds long runs at once.
    strips = whole.reshape(-1, rows, side, columns * side).sum(axis=2, dtype=np.uint32)
    sums = strips.reshape(-1, rows, columns, side).sum(axis=3, dtype=np.uint32)
    return np.asarray(sums // count).astype(np.uint8)[..., None]


def shifts_of(rule: PartRule, height: int, width: int) -> tuple[Shift, ...]:
    """All shifts that are tried in reduced pictures of that size, in their pixels: the smaller
    first, then those of the mirror image, if the rule asks for it."""
    most = math.floor(Fraction(str(rule.shift)) * min(height, width) + Fraction(1, 2))
    steps = range(-most, most + 1)
    moves = sorted((y * y + x * x, y, x) for y in steps for x in steps)
    ways = (False, True) if rule.mirror else (False,)
    return tuple(Shift(down=y, right=x, mirrored=way) for way in ways for _, y, x in moves)


def lay(reduced: NDArray[np.uint8], rule: PartRule, side: int) -> Laid:
    """Lay pictures that were reduced by `side` (n, height, width, 1) on each other, each at the
    first of the shifts at which most tiles are the same, if these are `rule.least` at least.

    If they are smaller than the pictures, all limits are twice as wide as the rule's: they are laid
    to the half of their pixels only. `ShiftBounds` rules out most pairs first, and never one that
    counts.
    """
    rule = twice_as_wide(rule) if side > 1 else rule
    count, height, width, _ = reduced.shape
    grid, shifts = tile_grid(height, width, rule.grid), shifts_of(rule, height, width)
    same = np.zeros((len(grid), count, count), np.bool_)
    best = np.full((count, count), -1, np.intp)
    most = np.full((count, count), rule.least - 1, np.int64)
    np.fill_diagonal(most, len(grid))
    limits, brightness = TileLimits.of(grid, rule), reduced[..., 0]
    tiles = WindowedPictures(brightness, grid).windows(0, 0)
    bounds = ShiftBounds(tiles, limits)
    pictures = WindowedPictures(brightness, grid)
    for number, shift in enumerate(shifts):
        if shift.mirrored and not shifts[number - 1].mirrored:
            pictures = WindowedPictures(brightness[:, :, ::-1], grid)
        others = pictures.windows(shift.down, shift.right)
        if not len(others.places):
            continue
        for first, second, may_be in bounds.pairs(others, most):
            found = np.zeros((len(grid), len(first)), np.bool_)
            if np.count_nonzero(may_be) > _DENSE * len(others.places) * count * count:
                images = slice(int(first[0]), int(first[-1]) + 1)
                for row, place in enumerate(others.places):
                    whole = tiles.all_same(others, row, images, limits)
                    found[place] = whole[first - images.start, second]
            else:
                asked, pair = np.nonzero(may_be)
                found[others.places[asked], pair] = tiles.same(
                    others, asked, (first[pair], second[pair]), limits
                )
            counts = np.count_nonzero(found, axis=0)
            more = counts > most[first, second]
            pairs = first[more], second[more]
            same[:, *pairs], most[pairs], best[pairs] = found[:, more], counts[more], number
    return Laid(shifts, best, same)


def twice_as_wide(rule: PartRule) -> PartRule:
    limits = {
        "distance": min(1.0, 2 * rule.distance),
        "texture": rule.texture / 2,
        "correlation": max(0.0, 2 * rule.correlation - 1),
    }
    return rule.model_copy(update=limits)
