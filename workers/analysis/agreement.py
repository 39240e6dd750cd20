"""Where a generation and its training picture agree: in what both show, or on a background alone.

Plain l2 joins pictures that have an empty background in common. Here each tile's mean is taken off
and only tiles with some texture count.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from seedsweep.workers.analysis.distances import Tile, tile_grid

TILES = 8
"""Tiles on each side: so small that a gradient across the picture is flat in each."""

TEXTURED = 0.05
"""The standard deviation, in [0, 1], from which a tile has texture in either picture. A gradient
from black to white across the picture has 0.036 in a tile."""

AGREES = 0.6
"""A textured tile agrees if the difference, without the means, is at most this share of the larger
standard deviation. Tiles that have nothing in common reach 1 and more."""


_UNSURE = 1e-9
"""So near to a limit the order in which numbers were added may decide."""

_VALUES = 1 << 18


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


def agreements(images: NDArray[np.uint8], pictures: NDArray[np.uint8]) -> Iterator[float | None]:
    """As `agreement`, of each of the images (n, height, width, 3) uint8 and the picture at its
    place; of many small ones at once, and the same."""
    step = max(1, _VALUES // max(1, images[:1].size))
    for at in range(0, len(images), step):
        yield from _agreements(images[at : at + step], pictures[at : at + step])


def _agreements(images: NDArray[np.uint8], pictures: NDArray[np.uint8]) -> Iterator[float | None]:
    count, height, width, _ = images.shape
    if count == 1:
        yield agreement(images[0], pictures[0])
        return
    agreeing = np.zeros(count, np.int64)
    textured, unsure = np.zeros(count, np.bool_), np.zeros(count, np.bool_)
    for tile in tile_grid(height, width, TILES):
        first, second = _tiles(images, tile), _tiles(pictures, tile)
        texture = np.maximum(_deviations(first), _deviations(second))
        apart, limit = _deviations(first - second), AGREES * texture
        has = texture >= TEXTURED
        textured |= has
        agreeing[has & (apart <= limit)] += first.shape[1] // 3
        unsure |= np.abs(texture - TEXTURED) < _UNSURE
        unsure |= np.abs(apart - limit) < _UNSURE * has
    for place in range(count):
        if unsure[place]:
            yield agreement(images[place], pictures[place])
        else:
            yield int(agreeing[place]) / (height * width) if textured[place] else None


def _tiles(pictures: NDArray[np.uint8], tile: Tile) -> NDArray[np.float64]:
    """Of each picture the tile without its mean, (n, values)."""
    rows, columns = tile
    values = pictures[:, rows, columns] / 255.0
    values -= values.mean(axis=(1, 2), keepdims=True)
    return values.reshape(len(values), -1)


def _deviations(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(np.sqrt(np.einsum("ij,ij->i", values, values) / values.shape[1]))


def _without_mean(tile: NDArray[np.uint8]) -> NDArray[np.float64]:
    values = tile / 255.0
    return np.asarray(values - values.mean(axis=(0, 1)))


def _deviation(values: NDArray[np.float64]) -> float:
    return float(np.sqrt(np.square(values).mean()))
