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
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from seedsweep.storage.settings.analysis import PartRule
from seedsweep.workers.analysis.distances import tile_grid
from seedsweep.workers.analysis.inner_products import Products, paired_products, products

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
    bool, symmetric, False on the diagonal, tiles row by row. Of pairs and tiles that are not
    `among` those of that shape, all by default, it says False. Exact for tiles of at most
    `TILE_PIXELS`."""
    count, height, width, _ = images.shape
    grid = tile_grid(height, width, rule.grid)
    same = np.zeros((len(grid), count, count), dtype=np.bool_)
    for place, tile in enumerate(grid):
        if among is None:
            same[place] = _same(images[:, *tile], rule, inner)
        elif len(asked := np.flatnonzero(among[place].any(axis=1))):
            pairs = np.ix_(asked, asked)
            same[place][pairs] = _same(images[asked, *tile], rule, inner) & among[place][pairs]
        np.fill_diagonal(same[place], False)
    return same


def _same(tiles: NDArray[np.uint8], rule: PartRule, inner: Products) -> NDArray[np.bool_]:
    """Which pairs of tiles (n, height, width, 3) are the same, each with itself if textured."""
    covariance = _covariances(tiles, inner)
    variance = covariance.diagonal().copy()
    return same_by(variance, variance, covariance, rule, math.prod(tiles.shape[1:3]))


def same_by(
    variance: NDArray[np.float64],
    others: NDArray[np.float64],
    covariance: NDArray[np.float64],
    rule: PartRule,
    pixels: int,
) -> NDArray[np.bool_]:
    """Which tiles of so many pixels are the same as which others, by their variances (m,) and (n,)
    and covariances (m, n), all times the number of pixels."""
    limits = limits_of(rule, pixels)
    textured = variance >= limits.texture
    also = textured if others is variance else others >= limits.texture
    apart = variance[:, None] + others[None, :] - 2.0 * covariance
    alike = covariance >= rule.correlation * (np.sqrt(variance)[:, None] * np.sqrt(others)[None, :])
    return np.asarray((apart <= limits.distance) & alike & textured[:, None] & also[None, :])


@dataclass(frozen=True, slots=True)
class Limits:
    """The least and the largest whole numbers of a region: of its variance, to have texture, and
    of the squared distance without means, to be the same; both times the number of its pixels."""

    texture: int
    distance: int


@lru_cache(256)
def limits_of(rule: PartRule, pixels: int, channels: int = 3) -> Limits:
    """A standard deviation and an l2, in [0, 1], as whole numbers of 0-255 levels of so many
    pixels; the settings are read as the decimals that they print as."""
    scale = 255**2 * channels * pixels * pixels
    return Limits(
        math.ceil(Fraction(str(rule.texture)) ** 2 * scale),
        math.floor(Fraction(str(rule.distance)) ** 2 * scale),
    )


def _covariances(tiles: NDArray[np.uint8], inner: Products) -> NDArray[np.float64]:
    """Inner products (n, n) of all pairs of tiles (n, height, width, 3), once each channel's mean
    is taken off, times the number of their pixels: whole numbers below 2⁵³."""
    count, pixels = len(tiles), math.prod(tiles.shape[1:3])
    flat = _and_channels(tiles)
    gram = inner(flat, flat)
    sums = gram[:count, count:]
    return np.asarray(gram[:count, :count] * pixels - sums @ sums.T)


def covariances_with(
    tile: NDArray[np.uint8], others: NDArray[np.uint8], inner: Products
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The variances (n,) of other tiles (n, height, width, 3), and their inner products (1, n) with
    one (1, height, width, 3), both as of `_covariances`."""
    pixels = math.prod(tile.shape[1:3])
    flat = others.reshape(len(others), 3 * pixels)
    head = _and_channels(tile)
    gram, own = inner(head, flat), inner(head[:1], head[1:])
    sums = gram[1:]
    variance = paired_products(flat, flat) * pixels - np.einsum("ij,ij->j", sums, sums)
    return variance, np.asarray(gram[:1] * pixels - own @ sums)


def _and_channels(tiles: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Tiles as rows (n + 3, values). Products take 128 off each value: three rows that are one in a
    channel, else zero, give the channels' sums."""
    count, pixels = len(tiles), math.prod(tiles.shape[1:3])
    rows = np.full((count + 3, pixels, 3), 128, np.uint8)
    rows[:count] = tiles.reshape(count, pixels, 3)
    for channel in range(3):
        rows[count + channel, :, channel] += 1
    return rows.reshape(count + 3, 3 * pixels)


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


Grown = dict[int, tuple[FoundPart | None, int]]
"""By centre the part that grew around it, and how many steps that took."""


def best_part(
    same: NDArray[np.bool_],
    left: NDArray[np.bool_],
    size: int,
    least: int,
    steps: int,
    most: int,
    grown: Grown | None = None,
) -> tuple[FoundPart | None, int, bool]:
    """The first part of `find_parts` among the pictures `left` (n,) bool, the steps so far, at most
    `most`, and whether all centres were tried. `same` may differ from picture to picture: it is
    [tile, centre, other]. `grown`: what is known of these very pictures, size and least, which
    counts as many steps as if it were not; the rest is added to it."""
    grown = {} if grown is None else grown
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
        if centre not in grown:
            grown[centre] = grown_around(inside[:, centre], names, centre, size, least)
        found, taken = grown[centre]
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
    return grown_around(inside, names, int(np.searchsorted(names, centre)), size, least)[0]


def grown_around(
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
    left = np.arange(len(near))
    while True:
        counts = np.count_nonzero(near[left] & kept, axis=1)
        # Tiles that keep all come next, one after the other, and change no count.
        whole = counts == np.count_nonzero(kept)
        tiles += left[whole].tolist()
        # What too few are the same in cannot be added later either.
        possible = ~whole & (counts >= size - 1)
        left = left[possible]
        if not len(left):
            return tiles, kept
        kept &= near[left[counts[possible].argmax()]]
