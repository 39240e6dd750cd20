"""How pictures show most of each other if one is larger or smaller than the other.

A part that is scaled lies somewhere as it does in the other picture, and is the same there in a
few tiles: such pairs alone are laid at other scales. Each picture is tried with a few others, those
first that most others resemble. What is found is what the pictures are then laid by to the pixel.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from seedsweep.storage.prompt_results import Shift
from seedsweep.storage.settings.analysis import PartRule
from seedsweep.workers.analysis.distances import tile_grid
from seedsweep.workers.analysis.moved_pictures import (
    PARTS,
    WHOLE,
    read_all_at,
    whole_in,
)
from seedsweep.workers.analysis.part_shifts import Laid, lay, twice_as_wide
from seedsweep.workers.analysis.pixel_laying import TileSums, places_of, spans_of
from seedsweep.workers.analysis.scaled_laying import Lie, Lies, fitted, places_of_lies
from seedsweep.workers.analysis.windows import TileLimits

_CENTRES = 4
"""Each picture is tried with so many others."""

_PAIRS = 16
"""So many times as many pairs as pictures are tried at most, but for those of the last centre."""

_VALUES = 1 << 17
"""So many pixels are laid at other scales at once."""

Rounded = TypeVar("Rounded", int, NDArray[np.int64])

_STEPS = (-60, -20, 20, 60)
"""Thousandths of the size, tried first; then those next to the best of them."""
_NEXT = 20

_MORE, _AS_MANY = Fraction(9, 8), Fraction(2, 3)
"""Another scale is taken if that makes so many times the tiles the same; where the same tiles are
nearest, if that leaves so many of them."""


@dataclass(frozen=True, slots=True, eq=False)
class Scaled:
    """How a picture is laid on another, in pixels of reduced pictures, mirrored first if so, and in
    which tiles (tiles,) bool of that one it is the same then."""

    lie: Lie
    mirrored: bool
    same: NDArray[np.bool_]


class LaidPictures:
    """Reduced pictures (n, height, width, 1) laid on each other: `laid` as they are, as of `lay`,
    and pairs of them also scaled, if the rule asks for it. `whole`: no pairs that are tried were
    left out because they are too many."""

    def __init__(self, reduced: NDArray[np.uint8], rule: PartRule, side: int) -> None:
        self._search = _ScaleSearch(reduced, rule) if rule.scale else None
        self._pairs: dict[tuple[int, int], Scaled | None] = {}
        self.whole = True
        if not rule.scale:
            self.laid = self._near = lay(reduced, rule, side)
            return
        few = rule.model_copy(update={"least": max(1, _rounded_to(2 * rule.least, 5))})
        self._near = lay(reduced, few, max(2, side))
        self.laid = self._near.at_least(rule.least) if side > 1 else lay(reduced, rule, side)
        tried: list[tuple[int, int]] = []
        for centre, others in _centres(self._near.best >= 0):
            if len(tried) >= _PAIRS * len(reduced):
                self.whole = False
                break
            tried += [(centre, other) for other in others]
        self.scaled(tried)

    def pairs(self) -> dict[tuple[int, int], Scaled]:
        """By centre and other picture, what is known of those that are scaled."""
        return {pair: scaled for pair, scaled in self._pairs.items() if scaled}

    def scaled(self, pairs: Sequence[tuple[int, int]]) -> list[Scaled | None]:
        """How each second picture is the same as the first in no fewer tiles than as large as it
        is, and in `rule.least` at least, if it is nearer then; None if it is not."""
        asked = [pair for pair in pairs if pair not in self._pairs]
        self._pairs |= dict.fromkeys(asked)
        if self._search:
            laid = [pair for pair in asked if self._near.best[pair] >= 0]
            self._pairs |= zip(laid, self._search.scaled(laid, self._near), strict=True)
        return [self._pairs[pair] for pair in pairs]


def _centres(asked: NDArray[np.bool_]) -> Iterator[tuple[int, list[int]]]:
    """Pictures that others are tried with: always that with most others that were tried less than
    `_CENTRES` times; the first among equals."""
    asked, tried = asked.copy(), np.zeros(len(asked), np.intp)
    while True:
        counts = np.count_nonzero(asked & (tried < _CENTRES), axis=1)
        centre = int(counts.argmax())
        if not counts[centre]:
            return
        others = np.flatnonzero(asked[centre])
        tried[others] += 1
        asked[centre] = False
        yield centre, others.tolist()


class _ScaleSearch:
    """Reduced pictures (n, height, width, 1) that are tried at other scales, by this rule."""

    def __init__(self, reduced: NDArray[np.uint8], rule: PartRule) -> None:
        self._pictures, self._rule = reduced[..., 0].astype(np.float32), rule
        self._height, self._width = reduced.shape[1:3]
        self._most = int(Fraction(str(rule.scale)) * WHOLE)
        size = self._height, self._width, rule.grid
        self._spans, self._places = spans_of(*size, 1), places_of(*size, 1)
        self._sums = TileSums.of(*size)
        shape = self._sums.pixels.shape
        limits = TileLimits.of(tile_grid(*size), twice_as_wide(rule))
        self._correlation = limits.correlation
        self._texture = limits.texture.reshape(shape)
        self._distance = limits.distance.reshape(shape)
        # Of tiles twice how far their middles are from that of the picture, down and to the right.
        self._middles = np.array(
            [
                (ys.start + ys.stop - self._height, xs.start + xs.stop - self._width)
                for ys, xs in tile_grid(*size)
            ]
        )

    def scaled(self, pairs: Sequence[tuple[int, int]], near: Laid) -> list[Scaled | None]:
        """How each second picture is the same as the first in most tiles, and nearest, from the
        shift at which they lie near; None if that is as large as it is, or in too few."""
        step = max(1, _VALUES // (self._height * self._width))
        found: list[Scaled | None] = []
        for at in range(0, len(pairs), step):
            some = pairs[at : at + step]
            shifts = [near.shifts[near.best[pair]] for pair in some]
            first, second = np.array(some).T
            mine, theirs = self._pictures[first], self._pictures[second]
            for row, shift in enumerate(shifts):
                if shift.mirrored:
                    theirs[row] = theirs[row, :, ::-1].copy()
            tiles = np.ascontiguousarray(near.same[:, first, second].T)
            found += self._scaled(_Pairs(mine, theirs, self._sums_of(mine), tiles), shifts)
        return found

    def _scaled(self, pairs: _Pairs, shifts: Sequence[Shift]) -> list[Scaled | None]:
        steps = np.array([(how.down, how.right) for how in shifts], np.int64)
        best = np.insert(PARTS * steps, 0, WHOLE, axis=1)
        same = pairs.tiles.copy()
        every = np.arange(len(best))

        def tried(which: NDArray[np.intp], lies: Lies, share: Fraction) -> None:
            found = self._same(pairs, which, lies)
            counts, before = found.sum(axis=1), same[which].sum(axis=1)
            taken = share.denominator * counts >= share.numerator * before
            same[which[taken]], best[which[taken]] = found[taken], lies[taken]

        def moved_to_nearest(which: NDArray[np.intp]) -> None:
            tiles = np.pad(same[which], ((0, 0), (0, 1)))
            chosen = tiles[:, self._places].reshape(-1, self._height, self._width)
            mine, theirs = pairs.mine[which], pairs.theirs[which]
            tried(which, fitted(mine, theirs, chosen, best[which], self._most), _AS_MANY)

        def scaled_to(which: NDArray[np.intp], thousandths: NDArray[np.int64]) -> None:
            tried(which, self._about(pairs.tiles[which], steps[which], thousandths), _MORE)

        moved_to_nearest(every)
        nearest = best.copy()
        for away in _STEPS:
            if abs(away) <= self._most:
                scaled_to(every, np.full(len(every), WHOLE + away))
        if len(moved := np.flatnonzero((best != nearest).any(axis=1))):
            for away in (-_NEXT, _NEXT):
                scaled_to(moved, best[moved, 0] + away)
            moved_to_nearest(moved)
            moved_to_nearest(moved)
        enough = np.count_nonzero(same, axis=1) >= self._rule.least
        return [
            Scaled(Lie.of(best[at]), how.mirrored, same[at].copy())
            if enough[at] and best[at, 0] != WHOLE
            else None
            for at, how in enumerate(shifts)
        ]

    def _about(
        self, tiles: NDArray[np.bool_], steps: NDArray[np.int64], thousandths: NDArray[np.int64]
    ) -> Lies:
        """At the scales (n,) about the middles of the tiles (n, tiles), which stay at the shifts
        (n, 2)."""
        counts = np.count_nonzero(tiles, axis=1)
        moved = PARTS * (WHOLE - thousandths)[:, None] * (tiles @ self._middles)
        rounded = _rounded_to(moved, 2 * WHOLE * counts[:, None])
        return np.column_stack([thousandths, PARTS * steps + rounded])

    def _same(self, pairs: _Pairs, which: NDArray[np.intp], lies: Lies) -> NDArray[np.bool_]:
        """In which tiles (pairs, tiles) bool brightness is the same, by limits twice as wide."""
        rows, columns = places_of_lies(lies, self._height, self._width)
        other = read_all_at(pairs.theirs[which], rows, columns)
        other -= 128.0
        ours, variance = (each[which] for each in pairs.sums)
        others, further = self._sums_of(other, 0.0)
        other *= pairs.mine[which] - np.float32(128.0)
        covariance = self._sums.pixels * self._sums.over(other) - ours * others
        same = (variance >= self._texture) & (further >= self._texture)
        same &= variance + further - 2.0 * covariance <= self._distance
        same &= covariance >= self._correlation * (np.sqrt(variance) * np.sqrt(further))
        inside = whole_in(self._spans, rows, columns)
        return np.asarray(same.reshape(inside.shape) & inside)

    def _sums_of(
        self, pictures: NDArray[np.float32], level: float = 128.0
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """The sums (n, rows, columns) of the pictures' tiles less that level, and their variances,
        times the number of pixels."""
        values = pictures - np.float32(level)
        sums = self._sums.over(values)
        return sums, self._sums.pixels * self._sums.over(values * values) - sums * sums


@dataclass(frozen=True, slots=True, eq=False)
class _Pairs:
    """Pairs of pictures: `mine` and `theirs` (pairs, height, width), the latter mirrored if so;
    `sums`, those of the tiles of `mine` and their variances; the `tiles` (pairs, tiles) bool in
    which they are the same when shifted."""

    mine: NDArray[np.float32]
    theirs: NDArray[np.float32]
    sums: tuple[NDArray[np.float64], NDArray[np.float64]]
    tiles: NDArray[np.bool_]


def _rounded_to(value: Rounded, unit: Rounded) -> Rounded:
    return (2 * value + unit) // (2 * unit)
