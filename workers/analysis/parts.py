"""Parts of pictures that repeat while the rest varies: a template's subject on other backgrounds.

Pictures are cut into a grid of tiles. In one tile two pictures are *the same* if both have texture
there, and what is left of them once each channel's mean is taken off is near and correlates: a
background that tints everything then joins nobody, and neither do two plain tiles. A *part* is a
set of tiles, and the pictures that are the same as one of them, its centre, in all of these.

Distances and textures are compared as whole numbers, and correlations by products and roots that
are rounded alike everywhere, so that equal pictures have equal parts on every machine.
"""

# Written by hand, since nothing that is kept up finds what repeats in some places of some pictures:
# near-duplicate search compares whole pictures, and biclustering libraries sample.

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from seedsweep.storage.settings.analysis import PartRule
from seedsweep.workers.analysis.distances import Tile, tile_grid, tile_values
from seedsweep.workers.analysis.inner_products import Products, products

TILE_PIXELS = 1 << 17
"""Of a tile with so many, four times the largest variance times the number of its pixels is below
2⁵³, which float64 holds exactly."""


@dataclass(frozen=True, slots=True)
class FoundPart:
    """A part that repeats: `tiles` are places in the grid, row by row; `members` the pictures that
    are the same as `centre` in all of these; `shared` those that are in at least the wanted number
    of them, the members among them. All ascend."""

    centre: int
    tiles: tuple[int, ...]
    members: tuple[int, ...]
    shared: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class PartSearch:
    """The parts that were found, the largest first; no two of them share a picture. `proven`: each
    is what the search comes to when it is not cut short."""

    parts: tuple[FoundPart, ...]
    proven: bool


def same_tiles(
    images: NDArray[np.uint8],
    rule: PartRule,
    inner: Products = products,
    among: NDArray[np.bool_] | None = None,
) -> NDArray[np.bool_]:
    """In which tiles which pairs of images (n, height, width, 3) uint8 are the same: (tiles, n, n)
    bool, symmetric, False on the diagonal, tiles row by row, and in tiles that are not `among`
    (tiles,) bool. Exact for tiles of at most `TILE_PIXELS`."""
    count, height, width, _ = images.shape
    grid = tile_grid(height, width, rule.grid)
    same = np.zeros((len(grid), count, count), dtype=np.bool_)
    for place, tile in enumerate(grid):
        if among is not None and not among[place]:
            continue
        covariance = _covariances(images, tile, inner)
        variance = covariance.diagonal().copy()
        limits = limits_of(rule, tile_values(tile) // 3)
        textured = variance >= limits.texture
        apart = variance[:, None] + variance[None, :] - 2.0 * covariance
        deviation = np.sqrt(variance)
        alike = covariance >= rule.correlation * (deviation[:, None] * deviation[None, :])
        same[place] = (apart <= limits.distance) & alike & textured[:, None] & textured[None, :]
        np.fill_diagonal(same[place], False)
    return same


@dataclass(frozen=True, slots=True)
class Limits:
    """The least and the largest whole numbers of a region: of its variance, to have texture, and
    of the squared distance without means, to be the same; both times the number of its pixels."""

    texture: int
    distance: int


def limits_of(rule: PartRule, pixels: int, channels: int = 3) -> Limits:
    """A standard deviation and an l2, in [0, 1], as whole numbers of 0-255 levels of so many
    pixels; the settings are read as the decimals that they print as."""
    scale = 255**2 * channels * pixels * pixels
    return Limits(
        math.ceil(Fraction(str(rule.texture)) ** 2 * scale),
        math.floor(Fraction(str(rule.distance)) ** 2 * scale),
    )


def _covariances(images: NDArray[np.uint8], tile: Tile, inner: Products) -> NDArray[np.float64]:
    """Inner products (n, n) of the tile of all pairs, once each channel's mean is taken off, times
    the number of its pixels: whole numbers below 2⁵³."""
    pixels = tile_values(tile) // 3
    flat = np.ascontiguousarray(images[:, *tile]).reshape(len(images), 3 * pixels)
    sums = flat.reshape(len(images), pixels, 3).sum(axis=1, dtype=np.float64) - 128.0 * pixels
    return np.asarray(inner(flat, flat) * pixels - sums @ sums.T)


def find_parts(same: NDArray[np.bool_], size: int, least: int, max_steps: int) -> PartSearch:
    """The parts of at least `least` tiles that at least `size` pictures share.

    Around each picture a part grows: of the pictures that are the same as it in `least` tiles or
    more, the tile that keeps most is added, the first among equals, as long as `size` pictures are
    left. The part of most tiles is taken, of equals that which more pictures share, then the first
    picture's; and so on among the pictures that no part before shares. The work is bounded by
    `max_steps`, a step being a tile that is added. ValueError unless size >= 2 and least >= 1.
    """
    if size < 2 or least < 1:
        raise ValueError(f"a part takes 2 pictures and 1 tile or more, got {size} and {least}")
    left = np.ones(same.shape[1], dtype=np.bool_)
    parts: list[FoundPart] = []
    steps = 0
    while True:
        best, steps, proven = best_part(same, left, size, least, steps, max_steps)
        if best is None:
            return PartSearch(tuple(parts), proven)
        parts.append(best)
        if not proven:
            return PartSearch(tuple(parts), False)
        left[list(best.shared)] = False


def critical_least(same: NDArray[np.bool_], size: int, max_steps: int) -> tuple[int, bool]:
    """The largest `least` at which `find_parts` finds a part, 0 if it finds one at none, and
    whether no larger one was missed because its search was cut short.

    A smaller one nearly always finds a part as well, but need not: more pictures then compete for
    the next tile.
    """
    left = np.ones(same.shape[1], dtype=np.bool_)
    proven = True
    for least in range(most_tiles(same, size), 0, -1):
        best, _, whole = best_part(same, left, size, least, 0, max_steps)
        proven &= whole
        if best is not None:
            return least, proven
    return 0, proven


def most_tiles(same: NDArray[np.bool_], size: int) -> int:
    """No part that `size` pictures share has more tiles: those in which enough are the same as its
    centre."""
    return int(np.count_nonzero(same.sum(axis=2) >= size - 1, axis=0).max(initial=0))


def best_part(
    same: NDArray[np.bool_], left: NDArray[np.bool_], size: int, least: int, steps: int, most: int
) -> tuple[FoundPart | None, int, bool]:
    """The first part of `find_parts` among the pictures `left` (n,) bool, the steps so far, at most
    `most`, and whether all centres were tried. `same` may differ from picture to picture: it is
    [tile, centre, other]."""
    names = np.flatnonzero(left)
    inside = same[:, names][:, :, names]
    inside &= (np.count_nonzero(inside, axis=0) >= least)[None]
    # No part around a picture has more tiles than those in which enough are the same as it.
    bounds = np.count_nonzero(np.count_nonzero(inside, axis=2) >= size - 1, axis=0)
    best: FoundPart | None = None
    for centre in np.argsort(-bounds, kind="stable").tolist():
        if bounds[centre] < max(least, len(best.tiles) if best else 0):
            break
        if steps >= most:
            return best, steps, False
        found, taken = _around(inside[:, centre], names, centre, size, least)
        steps += taken
        if found and (best is None or rank_of(found) < rank_of(best)):
            best = found
    return best, steps, True


def part_around(
    near: NDArray[np.bool_], left: NDArray[np.bool_], centre: int, size: int, least: int
) -> FoundPart | None:
    """The part that grows around a picture of those `left` (n,) bool, which is the same as they in
    tiles `near` (tiles, n) bool."""
    names = np.flatnonzero(left)
    inside = near[:, names]
    inside &= np.count_nonzero(inside, axis=0) >= least
    return _around(inside, names, int(np.searchsorted(names, centre)), size, least)[0]


def _around(
    near: NDArray[np.bool_], names: NDArray[np.intp], centre: int, size: int, least: int
) -> tuple[FoundPart | None, int]:
    """The part around the picture at the place `centre` of these, and how many steps it took."""
    tiles, members = _grown(near, size)
    if len(tiles) < least:
        return None, len(tiles) + 1
    shared = np.count_nonzero(near[tiles], axis=0) >= least
    members[centre] = shared[centre] = True
    found = FoundPart(
        int(names[centre]),
        tuple(sorted(tiles)),
        tuple(names[members].tolist()),
        tuple(names[shared].tolist()),
    )
    return found, len(tiles) + 1


def rank_of(part: FoundPart) -> tuple[int, int, int]:
    """Better parts come first: those of most tiles, of equals those that more pictures share."""
    return (-len(part.tiles), -len(part.shared), part.centre)


def _grown(near: NDArray[np.bool_], size: int) -> tuple[list[int], NDArray[np.bool_]]:
    """The tiles that are added one by one around a picture, which is the same as those of `near`
    (tiles, n) bool, and which pictures (n,) are left in the end beside it."""
    tiles: list[int] = []
    kept = np.ones(near.shape[1], dtype=np.bool_)
    counts = np.count_nonzero(near, axis=1)
    while len(tiles) < len(near):
        counts[tiles] = -1
        tile = int(counts.argmax())
        if counts[tile] < size - 1:
            break
        kept &= near[tile]
        tiles.append(tile)
        counts = np.count_nonzero(near & kept, axis=1)
    return tiles, kept


def mask_of(members: NDArray[np.uint8], tiles: Sequence[int], rule: PartRule) -> NDArray[np.bool_]:
    """Which pixels (height, width) bool a part is: those of its tiles that hardly vary over its
    members (n, height, width, 3) uint8, whose standard deviation over these and all channels is at
    most `rule.spread`."""
    count, height, width, _ = members.shape
    grid = tile_grid(height, width, rule.grid)
    limit = math.floor((Fraction(str(rule.spread)) * 255 * count) ** 2 * 3)
    mask = np.zeros((height, width), dtype=np.bool_)
    for place in tiles:
        values = members[:, *grid[place]].astype(np.int64)
        spread = count * np.square(values).sum(axis=0) - np.square(values.sum(axis=0))
        mask[grid[place]] = spread.sum(axis=2) <= limit
    return mask
