"""A part of a picture looked for in other pictures: pixels of its mask alone, without their mean.

Two pictures show the same part if both have texture there, and what is left of them once each
channel's mean over the mask is taken off is near and correlates: the rule of `parts.same_tiles`,
with the mask for a tile. Sums are whole numbers, as exact as those.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from seedsweep.storage.prompt_results import Shift
from seedsweep.storage.settings.analysis import PartRule
from seedsweep.workers.analysis.inner_products import MaskedSums, masked_sums
from seedsweep.workers.analysis.moved_pictures import moved_back
from seedsweep.workers.analysis.parts import Limits, limits_of
from seedsweep.workers.analysis.ranked import NOWHERE


@dataclass(frozen=True, slots=True, eq=False)
class MaskedPicture:
    """A part: `pixels` (height, width, 3) uint8, of which those of `mask` (height, width) bool
    count, one at least. `shifts`: where else in a picture it is looked for. `area`: how many pixels
    the mask has where it is laid as it was made; 0 if it is so."""

    pixels: NDArray[np.uint8]
    mask: NDArray[np.bool_]
    shifts: tuple[Shift, ...] = ()
    area: int = 0

    def ways(self, flip: bool) -> tuple[Shift, ...]:
        """All places where it is looked for, its own first; with `flip` also mirrored."""
        plain = (Shift(), *self.shifts)
        turned = [s.model_copy(update={"mirrored": not s.mirrored}) for s in plain if flip]
        return tuple(dict.fromkeys((*plain, *turned)))

    def at(self, shift: Shift) -> MaskedPicture:
        """The part where a picture shows it at that shift."""
        area = self.area or int(np.count_nonzero(self.mask))
        pixels, mask = moved_back(self.pixels, shift), moved_back(self.mask, shift)
        return MaskedPicture(pixels, mask, area=area)


@dataclass(frozen=True, slots=True, eq=False)
class PartDistances:
    """How pictures (n,) compare with a part: `squared` float64, the squared distances without means
    times the number of the mask's pixels, whole numbers, or as if that had as many pixels as where
    it was made; `correlation` float64, 0 without any
    texture; `same` bool, whether they show the part; `way` intp, in which of several ways."""

    squared: NDArray[np.float64]
    correlation: NDArray[np.float64]
    same: NDArray[np.bool_]
    way: NDArray[np.intp]


class PartReference:
    """A part that many pictures are compared with."""

    def __init__(self, part: MaskedPicture, rule: PartRule, sums: MaskedSums = masked_sums) -> None:
        self._mask, self._rule, self._of_pictures = part.mask, rule, sums
        self._count = int(np.count_nonzero(part.mask))
        self._share = ((part.area or self._count) / self._count) ** 2
        self._limits: Limits = limits_of(rule, self._count)
        self._values = _centred(part.pixels[part.mask])
        self._sums = self._values.sum(axis=0)
        self._variance = float(
            self._count * np.square(self._values).sum() - self._sums @ self._sums
        )

    def shown_by(self, pictures: NDArray[np.uint8]) -> PartDistances:
        """Compare pictures (n, height, width, 3) uint8 with the part."""
        sums, squares, products = self._of_pictures(pictures, self._mask, self._values)
        variance = self._count * squares - np.einsum("ij,ij->i", sums, sums)
        covariance = self._count * products - sums @ self._sums
        squared = variance + self._variance - 2.0 * covariance
        deviations = np.sqrt(variance) * np.sqrt(self._variance)
        textured = (variance >= self._limits.texture) & (self._variance >= self._limits.texture)
        alike = covariance >= self._rule.correlation * deviations
        correlation = np.divide(
            covariance, deviations, out=np.zeros_like(covariance), where=deviations > 0
        )
        same = textured & alike & (squared <= self._limits.distance)
        return PartDistances(
            self._share * squared, correlation, same, np.zeros(len(pictures), np.intp)
        )

    def l2_of(self, squared: float) -> float:
        """The l2 of a squared distance of `PartDistances`, of pixels in [0, 1]."""
        return float(np.sqrt(squared / (3.0 * self._share * self._count * self._count)) / 255.0)


@dataclass(slots=True, eq=False)
class PartRanking:
    """What was met so far of one part: the picture nearest to it, by its position, the `way` in
    which it is, and the positions of the pictures that show it, `count` in all, of which the first
    `most` are kept."""

    most: int
    squared: float = np.inf
    correlation: float = 0.0
    position: int = int(NOWHERE)
    way: int = 0
    count: int = 0
    positions: tuple[int, ...] = ()

    def add(self, shown: PartDistances, positions: NDArray[np.int64]) -> None:
        """Take in pictures at these positions, each only once."""
        if not len(positions):
            return
        best = int(np.lexsort((positions, shown.squared))[0])
        there = positions[shown.same].tolist()
        self.join(
            PartRanking(
                self.most,
                float(shown.squared[best]),
                float(shown.correlation[best]),
                int(positions[best]),
                int(shown.way[best]),
                len(there),
                tuple(there),
            )
        )

    def join(self, other: PartRanking) -> None:
        """Take in what was met elsewhere; the order of what is joined changes nothing."""
        if (other.squared, other.position) < (self.squared, self.position):
            self.squared, self.position = other.squared, other.position
            self.correlation, self.way = other.correlation, other.way
        self.count += other.count
        self.positions = tuple(sorted({*self.positions, *other.positions})[: self.most])


def shown_either_way(ways: Sequence[PartReference], pictures: NDArray[np.uint8]) -> PartDistances:
    """How pictures (n, height, width, 3) uint8 compare with a part in any of these ways, one at
    least: each as it is nearest, of equals as of the first."""
    first, *others = (reference.shown_by(pictures) for reference in ways)
    for number, other in enumerate(others, start=1):
        nearer = other.squared < first.squared
        first = PartDistances(
            np.where(nearer, other.squared, first.squared),
            np.where(nearer, other.correlation, first.correlation),
            first.same | other.same,
            np.where(nearer, number, first.way),
        )
    return first


def _centred(values: NDArray[np.uint8]) -> NDArray[np.float64]:
    return values.astype(np.float64) - 128.0
