"""Where in the picture a part is, to the pixel."""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from seedsweep.storage.settings.analysis import PartRule
from seedsweep.workers.analysis.distances import Tile, tile_grid

# 255² times so many is below 2³²: uint32 holds that sum of squares.
_SQUARES_PER_SUM = 1 << 9


def mask_of(
    pictures: NDArray[np.uint8],
    tiles: Sequence[int],
    rule: PartRule,
    members: Sequence[int] | None = None,
) -> NDArray[np.bool_]:
    """Which pixels (height, width) bool a part is: those of its tiles that hardly vary over its
    members, all pictures (n, height, width, 3) uint8 by default, whose standard deviation over
    these and all channels is at most `rule.spread`."""
    height, width = pictures.shape[1:3]
    grid = tile_grid(height, width, rule.grid)
    places = np.arange(len(pictures)) if members is None else np.array(members)
    limit = math.floor((Fraction(str(rule.spread)) * 255 * len(places)) ** 2 * 3)
    mask = np.zeros((height, width), dtype=np.bool_)
    for place in tiles:
        sums, squares = _sums(pictures, places, grid[place])
        spread = len(places) * squares - np.square(sums)
        mask[grid[place]] = spread.sum(axis=2) <= limit
    return mask


def _sums(
    pictures: NDArray[np.uint8], places: NDArray[np.intp], tile: Tile
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The sums and the sums of squares over the pictures at these places, of each value of the
    tile (height, width, 3)."""
    sums, squares = (np.zeros(pictures[0][tile].shape, np.int64) for _ in range(2))
    for at in range(0, len(places), _SQUARES_PER_SUM):
        values = pictures[places[at : at + _SQUARES_PER_SUM], *tile]
        sums += values.sum(axis=0, dtype=np.uint32)
        squares += np.square(values, dtype=np.uint16).sum(axis=0, dtype=np.uint32)
    return sums, squares
