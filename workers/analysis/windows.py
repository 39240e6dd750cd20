"""What pictures have in windows, and exactly if that is the same as what others have in theirs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
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
    (windows,).

    `values` (windows, n, room) float32 are less 128, and zero beyond the `pixels` (windows,) of a
    window; `sums` are theirs, and `variances` those of `parts.same_by`, of one channel: (windows,
    n) float64, whole numbers.
    """

    tiles: tuple[Tile, ...]
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
    """Pictures (n, height, width) uint8, of which windows are asked for that have the sizes of some
    tiles."""

    def __init__(self, pictures: NDArray[np.uint8], grid: Sequence[Tile]) -> None:
        count, height, width = pictures.shape
        self._values = pictures.astype(np.float32) - 128.0
        self._room = max(map(tile_values, grid)) // 3
        self._space = np.empty((0, count, self._room), np.float32)
        self._totals = np.zeros((2, count, height + 1, width + 1))
        values = self._values.astype(np.float64)
        for total, each in zip(self._totals, (values, np.square(values)), strict=True):
            total[:, 1:, 1:] = each.cumsum(axis=1).cumsum(axis=2)

    def windows(self, windows: Mapping[int, Tile]) -> Windows:
        """What they have in these windows, by the place of each one's tile. Its values are those of
        the next windows once these are asked for."""
        if len(self._space) < len(windows):
            self._space = np.empty((len(windows), *self._space.shape[1:]), np.float32)
        values, tiles = self._space[: len(windows)], tuple(windows.values())
        pixels = np.array([tile_values(tile) // 3 for tile in tiles], np.intp)
        for row, size, (rows, columns) in zip(values, pixels.tolist(), tiles, strict=True):
            row[:, :size] = self._values[:, rows, columns].reshape(len(row), size)
            if size < self._room:
                row[:, size:] = 0.0
        top, bottom, left, right = np.array(
            [(rows.start, rows.stop, columns.start, columns.stop) for rows, columns in tiles]
        ).T
        totals = self._totals
        inside = totals[:, :, bottom, right] - totals[:, :, top, right]
        inside -= totals[:, :, bottom, left] - totals[:, :, top, left]
        sums, squares = inside.swapaxes(1, 2)
        sizes = pixels.astype(np.float64)
        variances = sizes[:, None] * squares - sums * sums
        return Windows(tiles, np.array([*windows], np.intp), values, sizes, sums, variances)
