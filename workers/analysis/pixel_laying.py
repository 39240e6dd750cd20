"""One picture laid on another to the pixel, and compared with it there tile by tile.

What is compared again and again is kept: a picture's brightness, reduced step by step, and a
centre's variances. Sums of tiles are products with matrices of ones, in whole numbers that their
type holds exactly, so that order and blocks change nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seedsweep.storage.prompt_results import Shift
from seedsweep.storage.settings.analysis import PartRule
from seedsweep.workers.analysis.distances import tile_grid
from seedsweep.workers.analysis.moved_pictures import columns_of, moved, rows_of, whole_in
from seedsweep.workers.analysis.part_shifts import brightness_means, reduction
from seedsweep.workers.analysis.parts import limits_of
from seedsweep.workers.analysis.scaled_laying import Lie, fitted

_Values = NDArray[Any]
"""float32 or float64, as of `TileSums`."""

NOT_MOVED = Shift()

_NARROW = 1 << 8
"""255² times so many is below 2²⁴: float32 holds the sum of the squares of so many differences, and
that of three times as many products of values less 128."""

_STEPS = (0, -1, 1)
MOVES = sorted(
    ((y, x) for y in _STEPS for x in _STEPS), key=lambda move: move[0] ** 2 + move[1] ** 2
)


class Laying:
    """A picture (height, width, 3) uint8 that is laid on others: its `pixels`, and by their side
    its brightness in reduced pixels, uint8, each made when it is first asked for."""

    def __init__(self, pixels: NDArray[np.uint8]) -> None:
        self.pixels = pixels
        self._reduced: dict[tuple[int, bool], NDArray[np.uint8]] = {}

    def turned(self, mirrored: bool) -> NDArray[np.uint8]:
        """Its pixels, mirrored if so."""
        return self.pixels[:, ::-1] if mirrored else self.pixels

    def reduced(self, side: int, mirrored: bool = False) -> NDArray[np.uint8]:
        """The mean brightness (height // side, width // side) of squares of so many pixels."""
        if (side, mirrored) not in self._reduced:
            means = brightness_means(self.turned(mirrored))
            self._reduced |= {(side, mirrored): mean for side, mean in means.items()}
        return self._reduced[side, mirrored]


class Centre:
    """A picture that others are laid on, by this rule."""

    def __init__(self, picture: Laying, rule: PartRule) -> None:
        self._picture, self._rule = picture, rule
        self._height, self._width = picture.pixels.shape[:2]
        self._sums = TileSums.of(self._height, self._width, rule.grid)
        self._values = self._sums.typed(picture.pixels)
        self._channels = self._sums.of_channels(self._values)
        self._variance = self._sums.without_means(
            self._values, self._values, self._channels, self._channels
        )
        limits = [limits_of(rule, pixels) for pixels in self._sums.pixels.ravel().tolist()]
        shape = self._sums.pixels.shape
        self._texture = np.array([limit.texture for limit in limits], np.float64).reshape(shape)
        self._distance = np.array([limit.distance for limit in limits], np.float64).reshape(shape)

    def lay(self, other: Laying, how: Shift, tiles: NDArray[np.bool_]) -> Shift:
        """The shift of a picture, from that of reduced ones: at the side of their pixels, and
        whenever that is halved, it moves by one of these at most, to where these tiles of the
        centre are nearest in brightness once its mean over all of them is taken off, and of equals
        the least."""
        side = reduction(self._height, self._width)
        down, right = side * how.down, side * how.right
        while side:
            moved = self._nearest(other.reduced(side, how.mirrored), tiles, side, down, right)
            down, right = down + side * moved[0], right + side * moved[1]
            side //= 2
        return Shift(down=down, right=right, mirrored=how.mirrored)

    def lay_scaled(
        self, other: Laying, lie: Lie, mirrored: bool, tiles: NDArray[np.bool_], most: int
    ) -> Shift:
        """The shift of a picture that is scaled, from how its reduced one lies: at the side of
        these pixels and at its halves, down to a quarter, it is moved and scaled, by `most`
        thousandths at most, to where these tiles are nearest, as of `fitted`."""
        first = side = reduction(self._height, self._width)
        size = self._height, self._width
        lie = lie.enlarged(side, *size)
        while 4 * side >= first and side:
            places = places_of(*size, self._rule.grid, side)
            mine, theirs = self._picture.reduced(side), other.reduced(side, mirrored)
            chosen = np.append(tiles, False)[places].reshape(1, *mine.shape)
            start = lie.reduced(side, *size)
            one, two = (each[None].astype(np.float32) for each in (mine, theirs))
            found = Lie.of(fitted(one, two, chosen, start.row()[None], most)[0])
            lie = lie if found == start else found.enlarged(side, *size)
            side //= 2
        return lie.shift(mirrored)

    def same_tiles(self, other: Laying, shift: Shift, more_than: int) -> NDArray[np.bool_] | None:
        """In which tiles (tiles,) bool of the centre the picture is the same at the shift, by all
        pixels, as of `parts.same_tiles`; None if they are no more than so many."""
        inside = self._inside(shift)
        if np.count_nonzero(inside) <= more_than:
            return None
        # What is scaled is read between pixels, whose brightness is not kept.
        if not shift.scaling:
            near = inside & self._may_be_near(other, shift)
            if np.count_nonzero(near) <= more_than:
                return None
        sums = self._sums
        values = sums.typed(other.turned(shift.mirrored), shift)
        channels = sums.of_channels(values)
        variance = sums.without_means(values, values, channels, channels)
        covariance = sums.without_means(self._values, values, self._channels, channels)
        textured = (self._variance >= self._texture) & (variance >= self._texture)
        near = self._variance + variance - 2.0 * covariance <= self._distance
        deviations = np.sqrt(self._variance) * np.sqrt(variance)
        same = inside & textured & near & (covariance >= self._rule.correlation * deviations)
        return same.ravel() if np.count_nonzero(same) > more_than else None

    def _nearest(
        self, other: NDArray[np.uint8], tiles: NDArray[np.bool_], side: int, down: int, right: int
    ) -> tuple[int, int]:
        """The move from a shift, in pixels of that side, at which the tiles are nearest."""
        spans = spans_of(self._height, self._width, self._rule.grid, side)
        (top, left), (bottom, end) = spans[0][tiles].min(axis=0), spans[1][tiles].max(axis=0)
        y, x = down // side, right // side
        height, width = other.shape
        moves = [
            move
            for move in MOVES
            if top + y + move[0] >= 0 <= left + x + move[1]
            and bottom + y + move[0] <= height
            and end + x + move[1] <= width
        ]
        if len(moves) < 2:
            return moves[0] if moves else MOVES[0]
        places = places_of(self._height, self._width, self._rule.grid, side)
        chosen = np.append(tiles, False)[places]
        at = np.flatnonzero(chosen)
        mine = self._picture.reduced(side).ravel()[at].astype(np.float64)

        def apart(move: tuple[int, int]) -> int:
            there = other.ravel()[at + ((y + move[0]) * width + x + move[1])]
            values = mine - there
            return len(values) * int(values @ values) - int(values.sum()) ** 2

        return min(moves, key=apart)

    def _inside(self, shift: Shift) -> NDArray[np.bool_]:
        """Which tiles the picture has whole at the shift."""
        spans = spans_of(self._height, self._width, self._rule.grid, 1)
        rows, columns = rows_of(shift, self._height), columns_of(shift, self._width)
        return whole_in(spans, rows, columns).reshape(self._sums.pixels.shape)

    def _may_be_near(self, other: Laying, shift: Shift) -> NDArray[np.bool_]:
        """False for tiles that are too far apart in brightness alone.

        Three times the square of what the brightness differs by, without its mean, is at most the
        squared distance. It is rounded down to whole levels, so that each difference is off by less
        than one, and the root of the sum of squares by less than that of the number of pixels.
        """
        sums = self._sums
        mine = self._picture.reduced(1).astype(np.float32)
        apart = mine - _moved(other.reduced(1, shift.mirrored), shift).astype(np.float32)
        total = sums.over(apart)
        squared = sums.pixels * sums.over(apart * apart) - total * total
        least = np.maximum(np.sqrt(np.maximum(squared, 0.0)) - sums.pixels, 0.0)
        return np.asarray(3.0 * least * least <= self._distance)


@dataclass(frozen=True, slots=True, eq=False)
class TileSums:
    """What sums values over the tiles of pictures of one size: `pixels` (rows, columns) how many
    each tile has, `dtype` what holds the sums of a tile's rows exactly, `down` (rows, height),
    `across` (width, columns), `values` (3 width, columns) and `channels` (3 width, 3 columns) ones
    where pixels are in a tile."""

    pixels: NDArray[np.float64]
    dtype: type[np.floating[Any]]
    down: NDArray[np.float64]
    across: _Values
    values: _Values
    channels: _Values

    @classmethod
    @lru_cache(4)
    def of(cls, height: int, width: int, grid: int) -> TileSums:
        tiles = tile_grid(height, width, grid)
        rows = sorted({(tile[0].start, tile[0].stop) for tile in tiles})
        columns = sorted({(tile[1].start, tile[1].stop) for tile in tiles})
        widest = max(stop - start for start, stop in columns)
        dtype: type[np.floating[Any]] = np.float32 if widest <= _NARROW else np.float64
        down, across = _ones(rows, height), _ones(columns, width).T.astype(dtype)
        pixels = np.outer(down.sum(axis=1), across.sum(axis=0, dtype=np.float64))
        channels = np.kron(across, np.eye(3, dtype=dtype))
        across = np.ascontiguousarray(across)
        return cls(pixels, dtype, down, across, across.repeat(3, axis=0), channels)

    def typed(self, pixels: NDArray[np.uint8], shift: Shift = NOT_MOVED) -> _Values:
        """The values (height, 3 width) less 128 at the shift, some numbers where there are none."""
        moved = _moved(pixels, shift)
        values = moved.reshape(len(moved), -1).astype(self.dtype)
        values -= 128.0
        return values

    def over(self, values: _Values) -> NDArray[np.float64]:
        """The sums (…, rows, columns) of values (…, height, width)."""
        return np.asarray(self.down @ (values.astype(self.dtype, copy=False) @ self.across))

    def of_channels(self, values: _Values) -> NDArray[np.float64]:
        """The sums (rows, columns, 3) of values (height, 3 width)."""
        sums = self.down @ (values @ self.channels)
        return np.asarray(sums.reshape(*self.pixels.shape, 3))

    def without_means(
        self,
        one: _Values,
        other: _Values,
        sums: NDArray[np.float64],
        others: NDArray[np.float64],
    ) -> NDArray[np.float64]:
        """Inner products (rows, columns) of values (height, 3 width) once each channel's mean is
        taken off, times the number of pixels; their sums are (rows, columns, 3)."""
        products = self.down @ ((one * other) @ self.values)
        return np.asarray(self.pixels * products - (sums * others).sum(axis=2))


def _ones(spans: Sequence[tuple[int, int]], length: int) -> NDArray[np.float64]:
    """(spans, length): one where a place is in the span."""
    at = np.arange(length)
    return np.array([(start <= at) & (at < stop) for start, stop in spans]).astype(np.float64)


@lru_cache(32)
def spans_of(
    height: int, width: int, grid: int, side: int
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """The first and the last end (tiles, 2), down and across, of what lies in each tile of whole
    squares of that side."""
    tiles = tile_grid(height, width, grid)
    starts = [[-(-span.start // side) for span in tile] for tile in tiles]
    stops = [[span.stop // side for span in tile] for tile in tiles]
    return np.array(starts), np.array(stops)


@lru_cache(32)
def places_of(height: int, width: int, grid: int, side: int) -> NDArray[np.int16]:
    """In which tile each square (height // side * width // side,) of that side lies whole; -1 if in
    none."""
    places = np.full((height // side, width // side), -1, np.int16)
    starts, stops = spans_of(height, width, grid, side)
    for place, ((top, left), (bottom, right)) in enumerate(
        zip(starts.tolist(), stops.tolist(), strict=True)
    ):
        places[top:bottom, left:right] = place
    return places.ravel()


def _moved(picture: NDArray[np.uint8], shift: Shift) -> NDArray[np.uint8]:
    """What `moved` makes of a picture that is mirrored already, if it has to be."""
    plain = shift.model_copy(update={"mirrored": False})
    return picture if plain == NOT_MOVED else moved(picture, plain)
