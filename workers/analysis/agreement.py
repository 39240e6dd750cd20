"""Where a generation and its training picture agree: in what both show, or on a background alone.

Plain l2 joins pictures that have an empty background in common. Here each tile's mean is taken off
and only tiles with some texture count.
"""

import numpy as np
from numpy.typing import NDArray

from seedsweep.workers.analysis.distances import tile_grid

TILES = 8
"""Tiles on each side: so small that a gradient across the picture is flat in each."""

TEXTURED = 0.05
"""The standard deviation, in [0, 1], from which a tile has texture in either picture. A gradient
from black to white across the picture has 0.036 in a tile."""

AGREES = 0.6
"""A textured tile agrees if the difference, without the means, is at most this share of the larger
standard deviation. Tiles that have nothing in common reach 1 and more."""


def agreement(image: NDArray[np.uint8], picture: NDArray[np.uint8]) -> float | None:
    """The share of the picture's area in which both have the same texture, 0 to 1; None if
    neither has any, so that a match rests on plain tiles alone.

    Both (height, width, 3) uint8. 0: there is texture, and none of it is alike.
    """
    height, width, _ = picture.shape
    agreeing, textured = 0, False
    for rows, columns in tile_grid(height, width, TILES):
        first, second = (_without_mean(each[rows, columns]) for each in (image, picture))
        texture = max(_deviation(first), _deviation(second))
        if texture < TEXTURED:
            continue
        textured = True
        if _deviation(first - second) <= AGREES * texture:
            agreeing += first.shape[0] * first.shape[1]
    return agreeing / (height * width) if textured else None


def _without_mean(tile: NDArray[np.uint8]) -> NDArray[np.float64]:
    values = tile / 255.0
    return np.asarray(values - values.mean(axis=(0, 1)))


def _deviation(values: NDArray[np.float64]) -> float:
    return float(np.sqrt(np.square(values).mean()))
