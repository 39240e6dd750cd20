"""How pictures show most of each other if one is shifted, or mirrored, beside the other.

Pictures are reduced to their brightness, some 64 pixels a side. There each tile of one is compared
with what another has at every shift of so many pixels, by the rule of `parts.same_tiles`: the shift
counts at which most tiles are the same. Whole numbers decide, so that equal pictures are laid alike
on every machine.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from seedsweep.storage.prompt_results import Shift
from seedsweep.storage.settings.analysis import PartRule
from seedsweep.workers.analysis.descriptors import Summaries
from seedsweep.workers.analysis.distances import Tile, tile_grid, tile_values
from seedsweep.workers.analysis.inner_products import products
from seedsweep.workers.analysis.parts import limits_of

SIDE = 48
"""A reduced picture has at least so many pixels on its shorter side, and less than twice as many,
unless the picture itself has fewer."""

# Correlations of vectors that are rounded to float32 are off by less.
_SLACK = 1e-3

_PAIRS_AT_ONCE = 1 << 14

_DENSE = 0.05
"""Of more pairs than this share of all, all are compared at once."""


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
    sums = picture.sum(axis=2, dtype=np.uint16).astype(np.uint32)
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
    to the half of their pixels only. Correlations in float32 rule out most pairs first, and never
    one that counts.
    """
    rule = twice_as_wide(rule) if side > 1 else rule
    count, height, width, _ = reduced.shape
    grid, shifts = tile_grid(height, width, rule.grid), shifts_of(rule, height, width)
    same = np.zeros((len(grid), count, count), np.bool_)
    best = np.full((count, count), -1, np.intp)
    most = np.full((count, count), rule.least - 1, np.intp)
    np.fill_diagonal(most, len(grid))
    mirrored = reduced[:, :, ::-1]
    room = max(map(tile_values, grid)) // 3
    directions = _directions(reduced, list(enumerate(grid)), room)
    for number, shift in enumerate(shifts):
        others = mirrored if shift.mirrored else reduced
        windows = [
            (place, window)
            for place, tile in enumerate(grid)
            if (window := window_of(tile, shift, height, width))
        ]
        possible = np.zeros((count, count), np.int16)
        for (place, _), there in zip(windows, _directions(others, windows, room), strict=True):
            possible += directions[place] @ there.T >= rule.correlation - _SLACK
        asked = possible > most
        dense = np.count_nonzero(asked) > _DENSE * asked.size
        whole = _same_everywhere(reduced, others, grid, windows, rule) if dense else None
        for first, second in _pairs(asked):
            found = np.zeros((len(grid), len(first)), np.bool_)
            for place, window in windows:
                if whole is not None:
                    found[place] = whole[place][first, second]
                    continue
                mine, other = reduced[:, *grid[place]][first], others[:, *window][second]
                found[place] = same_regions(mine, other, rule)
            counts = np.count_nonzero(found, axis=0)
            more = counts > most[first, second]
            pairs = first[more], second[more]
            same[:, *pairs], most[pairs], best[pairs] = found[:, more], counts[more], number
    return Laid(shifts, best, same)


def _same_everywhere(
    pictures: NDArray[np.uint8],
    others: NDArray[np.uint8],
    grid: Sequence[Tile],
    windows: Sequence[tuple[int, Tile]],
    rule: PartRule,
) -> dict[int, NDArray[np.bool_]]:
    """By tile which pictures are the same as which others in the window, (n, n) bool, as
    `same_regions` says it of pairs."""
    whole = {}
    for place, window in windows:
        first = pictures[:, *grid[place]].reshape(len(pictures), -1)
        second = others[:, *window].reshape(len(others), -1)
        pixels = first.shape[1]
        one, other = first.astype(np.float64) - 128.0, second.astype(np.float64) - 128.0
        limits = limits_of(rule, pixels, 1)
        sums, further = one.sum(axis=1), other.sum(axis=1)
        variance = pixels * np.einsum("ij,ij->i", one, one) - sums * sums
        variances = pixels * np.einsum("ij,ij->i", other, other) - further * further
        covariance = pixels * products(first, second) - np.outer(sums, further)
        same = variance[:, None] + variances - 2.0 * covariance <= limits.distance
        same &= covariance >= rule.correlation * np.outer(np.sqrt(variance), np.sqrt(variances))
        same &= (variance >= limits.texture)[:, None] & (variances >= limits.texture)
        whole[place] = same
    return whole


def twice_as_wide(rule: PartRule) -> PartRule:
    limits = {
        "distance": min(1.0, 2 * rule.distance),
        "texture": rule.texture / 2,
        "correlation": max(0.0, 2 * rule.correlation - 1),
    }
    return rule.model_copy(update=limits)


def window_of(tile: Tile, shift: Shift, height: int, width: int) -> Tile | None:
    """Where a picture, mirrored first if the shift says so, shows what another one has in the tile;
    None if some of that lies outside of the picture."""
    rows, columns = tile
    window = (
        slice(rows.start + shift.down, rows.stop + shift.down),
        slice(columns.start + shift.right, columns.stop + shift.right),
    )
    inside = window[0].start >= 0 <= window[1].start
    return window if inside and window[0].stop <= height and window[1].stop <= width else None


def same_regions(
    first: NDArray[np.uint8], second: NDArray[np.uint8], rule: PartRule
) -> NDArray[np.bool_]:
    """Whether each of some regions (n, height, width, channels) uint8 is the same as the second of
    that place, (n,) bool, by the rule of `parts.same_tiles` and as exactly."""
    pixels, channels = math.prod(first.shape[1:3]), first.shape[3]
    shape = len(first), pixels, channels
    one = first.reshape(shape).astype(np.float64) - 128.0
    other = second.reshape(shape).astype(np.float64) - 128.0
    limits = limits_of(rule, pixels, channels)
    # By a product, which adds far faster than `sum` does over an axis in the middle.
    sums, others = (np.matmul(np.ones(pixels), values) for values in (one, other))
    variance = _inner(one, one, sums, sums)
    further = _inner(other, other, others, others)
    covariance = _inner(one, other, sums, others)
    textured = (variance >= limits.texture) & (further >= limits.texture)
    near = variance + further - 2.0 * covariance <= limits.distance
    alike = covariance >= rule.correlation * (np.sqrt(variance) * np.sqrt(further))
    return np.asarray(textured & near & alike)


def _inner(
    one: NDArray[np.float64],
    other: NDArray[np.float64],
    sums: NDArray[np.float64],
    others: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Inner products (n,) of values (n, pixels, channels) once each channel's mean is taken off,
    times the number of pixels; their sums are (n, channels)."""
    products = one.shape[1] * np.einsum("ijk,ijk->i", one, other)
    return np.asarray(products - np.einsum("ik,ik->i", sums, others))


def _directions(
    pictures: NDArray[np.uint8], windows: Sequence[tuple[int, Tile]], room: int
) -> NDArray[np.float32]:
    """What the pictures (n, height, width, 1) have in the windows, of at most `room` pixels, as
    vectors (windows, n, room) of length one without their mean, or of zeros; zeros follow if a
    window is smaller."""
    sizes = np.array([tile_values(window) // 3 for _, window in windows])
    flat = np.zeros((len(windows), len(pictures), room), np.float32)
    for row, (_, window), size in zip(flat, windows, sizes.tolist(), strict=True):
        row[:, :size] = pictures[:, *window].reshape(len(pictures), size)
    flat -= (flat.sum(axis=2) / sizes[:, None]).astype(np.float32)[..., None]
    flat *= (np.arange(room) < sizes[:, None])[:, None]
    lengths = np.sqrt(np.einsum("ijk,ijk->ij", flat, flat))
    flat /= np.maximum(lengths, 1e-3)[..., None]
    return flat


def _pairs(among: NDArray[np.bool_]) -> Iterator[tuple[NDArray[np.intp], NDArray[np.intp]]]:
    """The pairs, some at a time."""
    first, second = np.nonzero(among)
    for at in range(0, len(first), _PAIRS_AT_ONCE):
        some = slice(at, at + _PAIRS_AT_ONCE)
        yield first[some], second[some]
