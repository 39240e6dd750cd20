"""What pictures have in windows, and exactly if that is the same as what others have in theirs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from seedsweep.storage.settings.analysis import PartRule
from seedsweep.workers.analysis.distances import Tile, tile_values
from seedsweep.workers.analysis.inner_products import PRODUCTS_PER_SUM
from seedsweep.workers.analysis.parts import limits_of

_VALUES = 1 << 20
"""So many are compared at once."""

Places = NDArray[np.intp]


@dataclass(frozen=True, slots=True, eq=False)
class TileLimits:
    """By tile of a grid the least variance (tiles,) and the largest squared distance (tiles,) of
    brightness that is the same, as of `limits_of`, and the least correlation."""

    texture: NDArray[np.float64]
    distance: NDArray[np.float64]
    correlation: float

    @classmethod
    def of(cls, grid: Sequence[Tile], rule: PartRule) -> TileLimits:
        """Of the grid's tiles, by this rule."""
        limits = [limits_of(rule, tile_values(tile) // 3, 1) for tile in grid]
        return cls(
            np.array([limit.texture for limit in limits], np.float64),
            np.array([limit.distance for limit in limits], np.float64),
            rule.correlation,
        )


@dataclass(frozen=True, slots=True, eq=False)
class Windows:
    """What n pictures have in windows, each as large as the tile of its place in `places`
    (windows,), by its height and width in `shapes` (windows, 2).

    `values` (windows, n, room) float32 are less 128, and zero beyond the `pixels` (windows,) of a
    window; `sums` are theirs, and `variances` those of `parts.same_by`, of one channel: (windows,
    n) float64, whole numbers.
    """

    shapes: NDArray[np.intp]
    places: Places
    values: NDArray[np.float32]
    pixels: NDArray[np.float64]
    sums: NDArray[np.float64]
    variances: NDArray[np.float64]

    def same(
        self,
        others: Windows,
        windows: Places,
        images: tuple[Places, Places],
        limits: TileLimits,
    ) -> NDArray[np.bool_]:
        """Whether in such windows of others (m,) the second images (m,) are the same as the first
        in the tiles of their places: (m,) bool, by `parts.same_tiles` and as exactly. These are all
        tiles."""
        found = np.empty(len(windows), np.bool_)
        step = max(1, _VALUES // self.values.shape[2])
        for at in range(0, len(windows), step):
            some = slice(at, at + step)
            tiles = others.places[windows[some]]
            one, other = (tiles, images[0][some]), (windows[some], images[1][some])
            products = np.zeros(len(tiles))
            for start in range(0, self.values.shape[2], PRODUCTS_PER_SUM):
                part = slice(start, start + PRODUCTS_PER_SUM)
                mine, theirs = self.values[*one, part], others.values[*other, part]
                products += np.einsum("ij,ij->i", mine, theirs)
            covariance = self.pixels[tiles] * products - self.sums[one] * others.sums[other]
            variance, further = self.variances[one], others.variances[other]
            roots = np.sqrt(variance) * np.sqrt(further)
            same = variance + further - 2.0 * covariance <= limits.distance[tiles]
            same &= covariance >= limits.correlation * roots
            same &= (variance >= limits.texture[tiles]) & (further >= limits.texture[tiles])
            found[some] = same
        return found

    def all_same(
        self, others: Windows, window: int, images: slice, limits: TileLimits
    ) -> NDArray[np.bool_]:
        """The same of a window of others and all images, as some of them are: (some, n) bool."""
        tile = others.places[window]
        products = np.zeros((images.stop - images.start, others.values.shape[1]))
        for start in range(0, self.values.shape[2], PRODUCTS_PER_SUM):
            part = slice(start, start + PRODUCTS_PER_SUM)
            products += self.values[tile, images, part] @ others.values[window, :, part].T
        sums, further = self.sums[tile, images], others.sums[window]
        variance, variances = self.variances[tile, images], others.variances[window]
        covariance = self.pixels[tile] * products - np.outer(sums, further)
        roots = np.outer(np.sqrt(variance), np.sqrt(variances))
        same = variance[:, None] + variances - 2.0 * covariance <= limits.distance[tile]
        same &= covariance >= limits.correlation * roots
        texture = limits.texture[tile]
        same &= (variance >= texture)[:, None] & (variances >= texture)
        return np.asarray(same)


class WindowedPictures:
    """Pictures (n, height, width) uint8, of which windows are asked for: what they show at a shift
    in the tiles of a grid."""

    def __init__(self, pictures: NDArray[np.uint8], grid: Sequence[Tile]) -> None:
        count, height, width = pictures.shape
        self._values = pictures.astype(np.float32) - 128.0
        self._size = height, width
        self._starts = np.array([(rows.start, columns.start) for rows, columns in grid])
        stops = np.array([(rows.stop, columns.stop) for rows, columns in grid])
        self._shapes = stops - self._starts
        self._space = np.empty((len(grid), count, max(map(tile_values, grid)) // 3), np.float32)
        self._totals = np.zeros((2, count, height + 1, width + 1))
        values = self._values.astype(np.float64)
        for total, each in zip(self._totals, (values, np.square(values)), strict=True):
            total[:, 1:, 1:] = each.cumsum(axis=1).cumsum(axis=2)

    def windows(self, down: int, right: int) -> Windows:
        """What they have so much further down and to the right than each tile, of those tiles for
        which they have all of it. Its values are those of the next windows once these are asked
        for."""
        starts = self._starts + np.array([down, right])
        stops = starts + self._shapes
        places = np.flatnonzero(((starts >= 0) & (stops <= self._size)).all(axis=1))
        (top, left), (bottom, end) = starts[places].T, stops[places].T
        shapes, values = self._shapes[places], self._space[: len(places)]
        pixels = shapes.prod(axis=1)
        for height, width in {*map(tuple, shapes.tolist())}:
            rows = np.flatnonzero((shapes == (height, width)).all(axis=1))
            every = sliding_window_view(self._values, (height, width), axis=(1, 2))
            shown = np.moveaxis(every, 0, 2)[top[rows], left[rows]]
            values[rows, :, : height * width] = shown.reshape(len(rows), -1, height * width)
            values[rows, :, height * width :] = 0.0
        totals = self._totals
        inside = totals[:, :, bottom, end] - totals[:, :, top, end]
        inside -= totals[:, :, bottom, left] - totals[:, :, top, left]
        sums, squares = inside.swapaxes(1, 2)
        sizes = pixels.astype(np.float64)
        variances = sizes[:, None] * squares - sums * sums
        return Windows(shapes, places, values, sizes, sums, variances)
