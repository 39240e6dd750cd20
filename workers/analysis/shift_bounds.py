"""Which tiles of pictures may be the same as what others show at a shift, told by a few products.

In a tile, let a and b be what two pictures have there without their means, and u and v the same as
vectors of length one. By `parts.same_tiles` they can be the same only if

    uv >= correlation   and   |a - b|² <= distance:  uv >= (|a|/|b| + |b|/|a| - distance/|a||b|)/2.

Let P be the projection on some waves that have no mean, and r and s what it leaves of u and v. Then

    uv = PuPv + rs <= PuPv + |r| |s| <= PuPv + √(|r|² + e) √(|s|² + e) - e   for any e >= 0,

so that a product of vectors of one number more than there are waves is no less than uv + e. It is
made in float32, which rounds off far less than such an e; what that rounds off the second limit is
taken off it as a share of its terms. So no tiles that are the same are ruled out.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from seedsweep.workers.analysis.distances import image_blocks
from seedsweep.workers.analysis.windows import Places, TileLimits, Windows

_FREQUENCIES = 5
"""The waves have so many frequencies in each direction, none included."""

_MANY = 0.03
"""If that takes more than this share of pairs to be the same, all of a tile is compared instead of
waves, from then on."""

_SLACK = 1e-3
_ROUNDED = 2.0**-20

_TOGETHER = 1 << 18
"""So many products are made at once, or those of one tile."""


@dataclass(frozen=True, slots=True, eq=False)
class _Projected:
    """What n images have in some windows: `vectors` (windows, n, any) float32 whose products are
    correlations or more; `left` and `right` (windows, n, 2), whose products the correlation of
    what is the same reaches."""

    vectors: NDArray[np.float32]
    left: NDArray[np.float32]
    right: NDArray[np.float32]


class ShiftBounds:
    """The tiles of n images, which others may be the same as by these limits."""

    def __init__(self, tiles: Windows, limits: TileLimits) -> None:
        self._tiles, self._limits, self._all = tiles, limits, False
        count, room = tiles.values.shape[1:]
        self._inside = (np.arange(room) < tiles.pixels[:, None]).astype(np.float32)
        self._waves = np.stack([_waves(*shape, room) for shape in tiles.shapes.tolist()])
        self._here = self._projected(tiles)
        images = max((part.stop - part.start for part in image_blocks(count)), default=0)
        self._bits = np.empty((len(tiles.places), images, count), np.bool_)
        self._step = min(len(tiles.places), max(1, _TOGETHER // max(1, images * count)))
        self._products = np.empty((2, self._step, images, count), np.float32)

    def pairs(
        self, others: Windows, more_than: NDArray[np.integer]
    ) -> Iterator[tuple[Places, Places, NDArray[np.bool_]]]:
        """Some at a time, pairs of images (m,) and (m,), the first ascending, of which the second
        may be the same in others' windows as the first in more than so many (n, n) tiles, and which
        of these (windows, m) bool may be. No pair is left out."""
        there = self._projected(others)
        for images in image_blocks(len(more_than)):
            asked = self._counts(there, others.places, images) > more_than[images]
            if not self._all and np.count_nonzero(asked) > _MANY * asked.size:
                self._all = True
                self._here, there = self._projected(self._tiles), self._projected(others)
                asked = self._counts(there, others.places, images) > more_than[images]
            first, second = np.nonzero(asked)
            if len(first):
                yield first + images.start, second, self._bits[: len(others.places), first, second]

    def _counts(self, there: _Projected, places: Places, images: slice) -> NDArray[np.integer]:
        """In how many tiles each of some images may be the same as each, (m, n)."""
        rows, count = images.stop - images.start, there.vectors.shape[1]
        counts = np.zeros((rows, count), np.uint8 if len(places) < 1 << 8 else np.uint16)
        for at in range(0, len(places), self._step):
            some = slice(at, at + self._step)
            own = places[some]
            bits = self._bits[some, :rows][: len(own)]
            product, least = (each[: len(own), :rows] for each in self._products)
            vectors, left = (each[own][:, images] for each in (self._here.vectors, self._here.left))
            np.matmul(vectors, there.vectors[some].swapaxes(1, 2), out=product)
            np.matmul(left, there.right[some].swapaxes(1, 2), out=least)
            np.maximum(least, np.float32(self._limits.correlation), out=least)
            np.greater_equal(product, least, out=bits)
            counts += np.add.reduce(bits.view(np.uint8), axis=0, dtype=counts.dtype)
        return counts

    def _projected(self, windows: Windows) -> _Projected:
        places = windows.places
        texture = self._limits.texture[places][:, None]
        textured = windows.variances >= texture
        pixels = windows.pixels[:, None]
        lengths = np.where(textured, np.sqrt(windows.variances / pixels), 1.0)
        if self._all:
            means = (windows.sums / pixels).astype(np.float32)
            vectors = np.zeros((*means.shape, windows.values.shape[2] + 1), np.float32)
            inside = self._inside[places][:, None]
            np.subtract(windows.values, means[..., None] * inside, out=vectors[..., :-1])
        else:
            vectors = np.matmul(windows.values, self._waves[places])
        vectors *= (textured / lengths).astype(np.float32)[..., None]
        left_over = np.maximum(1.0 - np.einsum("ijk,ijk->ij", vectors, vectors), 0.0)
        vectors[..., -1] = np.where(textured, np.sqrt(left_over + _SLACK), 0.0)
        distance = self._limits.distance[places][:, None] / pixels
        terms = (1.0 - _ROUNDED) * lengths - (1.0 + _ROUNDED) * distance / lengths
        left = np.stack([(0.5 - 0.5 * _ROUNDED) / lengths, 0.5 * terms], axis=2)
        right = np.stack([lengths, 1.0 / lengths], axis=2)
        return _Projected(vectors, left.astype(np.float32), right.astype(np.float32))


@lru_cache(16)
def _waves(height: int, width: int, room: int) -> NDArray[np.float32]:
    """Orthonormal waves (room, any) in the pixels of a region, row by row, and a column of zeros
    last: cosines, all but the mean of these frequencies."""
    down, across = (
        [
            np.cos(np.pi * (np.arange(length) + 0.5) * number / length)
            * np.sqrt((2 if number else 1) / length)
            for number in range(_FREQUENCIES)
        ]
        for length in (height, width)
    )
    # Of fewer pixels than frequencies there are fewer waves, and zeros in their place.
    waves = np.zeros((room, _FREQUENCIES**2))
    for i, one in enumerate(down[:height]):
        for j, other in enumerate(across[:width]):
            if i or j:
                waves[: height * width, _FREQUENCIES * i + j - 1] = np.outer(one, other).ravel()
    return waves.astype(np.float32)
