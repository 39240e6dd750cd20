"""How pictures show most of each other if one is larger or smaller than the other.

A part that is scaled lies somewhere as it does in the other picture, and is the same there in a
few tiles: such pairs alone are laid at other scales. Each picture is tried with a few others, those
first that most others resemble. What is found is what the pictures are then laid by to the pixel.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from seedsweep.storage.prompt_results import Shift
from seedsweep.storage.settings.analysis import PartRule
from seedsweep.workers.analysis.distances import tile_grid
from seedsweep.workers.analysis.moved_pictures import PARTS, WHOLE, places, read_at, whole_in
from seedsweep.workers.analysis.part_shifts import lay, twice_as_wide
from seedsweep.workers.analysis.parts import limits_of
from seedsweep.workers.analysis.pixel_laying import TileSums, places_of, spans_of
from seedsweep.workers.analysis.scaled_laying import Lie, fitted

_CENTRES = 4
"""Each picture is tried with so many others."""

_PAIRS = 16
"""So many times as many pairs as pictures are tried at most, but for those of the last centre."""

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
        for centre, others in _centres(self._near.best >= 0):
            if len(self._pairs) >= _PAIRS * len(reduced):
                self.whole = False
                break
            for other in others:
                self.scaled(centre, other)

    def pairs(self) -> dict[tuple[int, int], Scaled]:
        """By centre and other picture, what is known of those that are scaled."""
        return {pair: scaled for pair, scaled in self._pairs.items() if scaled}

    def scaled(self, centre: int, other: int) -> Scaled | None:
        """How a picture is the same as another in no fewer tiles than as large as it is, and in
        `rule.least` at least, if it is nearer then; None if it is not."""
        pair = centre, other
        if pair not in self._pairs:
            best = self._near.best[pair]
            known = None
            if self._search and best >= 0:
                how, tiles = self._near.shifts[best], self._near.same[:, centre, other]
                known = self._search.scaled(pair, how, tiles)
            self._pairs[pair] = known
        return self._pairs[pair]


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
        self._pictures, self._rule = reduced[..., 0], rule
        self._height, self._width = reduced.shape[1:3]
        self._most = int(Fraction(str(rule.scale)) * WHOLE)
        size = self._height, self._width, rule.grid
        self._spans, self._places = spans_of(*size, 1), places_of(*size, 1)
        self._sums = TileSums.of(*size)
        self._wide = twice_as_wide(rule)
        limits = [limits_of(self._wide, int(pixels), 1) for pixels in self._sums.pixels.ravel()]
        shape = self._sums.pixels.shape
        self._texture = np.array([each.texture for each in limits], np.float64).reshape(shape)
        self._distance = np.array([each.distance for each in limits], np.float64).reshape(shape)
        rows, columns = (
            np.array([span.start + span.stop - length for span in spans])
            for spans, length in zip(
                zip(*tile_grid(*size), strict=True), (self._height, self._width), strict=True
            )
        )
        self._middles = rows, columns

    def scaled(self, pair: tuple[int, int], how: Shift, tiles: NDArray[np.bool_]) -> Scaled | None:
        """How a picture is the same as the centre in most tiles, and nearest, from the shift at
        which it is the same in these; None if that is as large as it is, or in too few."""
        mine, theirs = (self._pictures[each] for each in pair)
        theirs = theirs[:, ::-1] if how.mirrored else theirs
        best, same = Lie(WHOLE, PARTS * how.down, PARTS * how.right), tiles

        def tried(lie: Lie, share: Fraction) -> None:
            nonlocal best, same
            found = self._same(mine, theirs, lie)
            if int(found.sum()) >= share * int(same.sum()):
                best, same = lie, found

        def moved_to_nearest() -> None:
            chosen = np.append(same, False)[self._places].reshape(mine.shape)
            tried(fitted(mine, theirs, chosen, best, self._most), _AS_MANY)

        moved_to_nearest()
        nearest = best
        for away in _STEPS:
            if abs(away) <= self._most:
                tried(self._about(tiles, how, WHOLE + away), _MORE)
        if best != nearest:
            for away in (-_NEXT, _NEXT):
                tried(self._about(tiles, how, best.thousandths + away), _MORE)
            moved_to_nearest()
            moved_to_nearest()
        enough = np.count_nonzero(same) >= self._rule.least
        is_scaled = best.thousandths != WHOLE
        return Scaled(best, how.mirrored, same) if enough and is_scaled else None

    def _about(self, tiles: NDArray[np.bool_], how: Shift, thousandths: int) -> Lie:
        """At the scale about the middle of the tiles, which stays at the shift."""
        down, right = (
            PARTS * step + _rounded_to(PARTS * (WHOLE - thousandths) * int(middles[tiles].sum()),
                                       2 * WHOLE * int(np.count_nonzero(tiles)))
            for step, middles in zip((how.down, how.right), self._middles, strict=True)
        )  # fmt: skip
        return Lie(thousandths, down, right)

    def _same(
        self, mine: NDArray[np.uint8], theirs: NDArray[np.uint8], lie: Lie
    ) -> NDArray[np.bool_]:
        """In which tiles (tiles,) bool brightness is the same, by limits twice as wide."""
        sums = self._sums
        rows = places(lie.down, lie.thousandths, self._height)
        columns = places(lie.right, lie.thousandths, self._width)
        inside = whole_in(self._spans, rows, columns)
        one = mine.astype(np.float32) - 128
        other = read_at(theirs, rows, columns).astype(np.float32) - 128
        ours, others = sums.over(one), sums.over(other)
        variance = sums.pixels * sums.over(one * one) - ours * ours
        further = sums.pixels * sums.over(other * other) - others * others
        covariance = sums.pixels * sums.over(one * other) - ours * others
        same = (variance >= self._texture) & (further >= self._texture)
        same &= variance + further - 2.0 * covariance <= self._distance
        same &= covariance >= self._wide.correlation * (np.sqrt(variance) * np.sqrt(further))
        return np.asarray(same.ravel() & inside)


def _rounded_to(value: int, unit: int) -> int:
    return (2 * value + unit) // (2 * unit)
