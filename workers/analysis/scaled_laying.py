"""One picture laid on another larger or smaller, to a sixteenth of a pixel and a thousandth.

What both differ by in brightness is made least step by step, as Lucas and Kanade (1981) do: each
step solves for the shift and the scale at once, by what brightness rises by in both pictures. Sums
are whole numbers and the steps are rounded to the grid, so that all machines take the same ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from seedsweep.storage.prompt_results import Shift
from seedsweep.workers.analysis.moved_pictures import (
    PARTS,
    WHOLE,
    Places,
    places,
    read_all_at,
    scaled_by,
)

_EXACT = 53
"""Bits of whole numbers that float64 holds: sums are taken of no more pixels than that at once."""

ROUNDS = 8
"""So many steps are taken at most in pictures of one size."""


@dataclass(frozen=True, slots=True)
class Lie:
    """How a picture is laid: `thousandths` of the size, and so many sixteenths of its pixels
    further `down` and to the `right`."""

    thousandths: int
    down: int
    right: int

    @classmethod
    def of(cls, row: NDArray[np.int64]) -> Lie:
        """That row of `Lies`."""
        thousandths, down, right = row.tolist()
        return cls(thousandths, down, right)

    def row(self) -> NDArray[np.int64]:
        """What undoes that."""
        return np.array([self.thousandths, self.down, self.right], np.int64)

    def shift(self, mirrored: bool) -> Shift:
        """As it is stored."""
        return scaled_by(self.thousandths, self.down, self.right, mirrored)

    def reduced(self, side: int, height: int, width: int) -> Lie:
        """The same of pictures whose pixels are squares of that side; what no whole square covers
        is left out, which moves the middle."""
        down, right = (
            self._moved(step, -1, side, length)
            for step, length in ((self.down, height), (self.right, width))
        )
        return Lie(self.thousandths, _rounded(down / side), _rounded(right / side))

    def enlarged(self, side: int, height: int, width: int) -> Lie:
        """What undoes that."""
        down, right = (
            self._moved(side * step, 1, side, length)
            for step, length in ((self.down, height), (self.right, width))
        )
        return Lie(self.thousandths, _rounded(down), _rounded(right))

    def _moved(self, step: int, sign: int, side: int, length: int) -> Fraction:
        left_out = Fraction(PARTS * (length % side), 2)
        return step + sign * left_out * Fraction(self.thousandths - WHOLE, WHOLE)


Lies = NDArray[np.int64]
"""Of several pictures what `Lie` says of one: (n, 3)."""


def fitted(
    mine: NDArray[np.float32],
    others: NDArray[np.float32],
    chosen: NDArray[np.bool_],
    lies: Lies,
    most: int,
) -> Lies:
    """How the brightness of pictures (n, height, width), whole numbers from 0 to 255, is nearest to
    `mine` of that shape in the chosen pixels, of which some are, once the mean of the difference is
    taken off. From `lies` on each step must make a picture nearer; none goes further than `most`
    thousandths from the same size. Each is laid as it is alone."""
    best, trial, size = lies.copy(), lies.copy(), mine.shape[1:]
    nearest: dict[int, tuple[int, int]] = {}
    within, box = _within_own(chosen)
    usable = within[:, *box][:, 1:-1, 1:-1].astype(np.float32)
    ours = mine[:, *box]
    away = [
        (2.0 * np.arange(span.start, span.stop) - (length - 1))[1:-1].astype(np.float32)
        for span, length in zip(box, size, strict=True)
    ]
    active = np.flatnonzero(usable.any(axis=(1, 2)))
    for _ in range(ROUNDS):
        if not len(active):
            break
        rows, columns = places_of_lies(trial[active], *size)
        rows, columns = rows[:, box[0]], columns[:, box[1]]
        theirs = read_all_at(others[active], rows, columns)
        inside = usable[active]
        inside *= _inside(rows, size[0])[:, :, None]
        inside *= _inside(columns, size[1])[:, None]
        grams = _grams(ours[active], theirs, inside, away)
        further = []
        for at, gram in zip(active.tolist(), grams, strict=True):
            sums = gram[4]
            count = sums[4]
            if not count:
                continue
            centred = [[count * gram[i][j] - sums[i] * sums[j] for j in range(4)] for i in range(3)]
            apart, scale = count * gram[3][3] - sums[3] * sums[3], count * count
            if at in nearest and apart * nearest[at][1] >= nearest[at][0] * scale:
                continue
            best[at], nearest[at] = trial[at], (apart, scale)
            steps = _steps(centred)
            if steps is not None:
                trial[at] += steps
                trial[at, 0] = max(WHOLE - most, min(WHOLE + most, int(trial[at, 0])))
                if (trial[at] != best[at]).any():
                    further.append(at)
        active = np.array(further, np.intp)
    return best


def places_of_lies(lies: Lies, height: int, width: int) -> tuple[Places, Places]:
    """Where the rows (n, height) and columns (n, width) of pictures are read that lie so."""
    thousandths, down, right = lies.T
    return places(down, thousandths, height), places(right, thousandths, width)


def _steps(centred: list[list[int]]) -> tuple[int, int, int] | None:
    """How much further, in thousandths and sixteenths, brightness is nearest as far as its slopes
    tell: the solution of three equations, each row three products and what they make, by Cramer's
    rule; None if there are several."""
    whole = _determinant([row[:3] for row in centred])
    if not whole:
        return None
    down, right, out = (
        _determinant([[*row[:place], row[3], *row[place + 1 : 3]] for row in centred])
        for place in range(3)
    )
    # The slopes are four times what brightness rises by in a pixel, `out` eight times.
    scales = (8 * WHOLE, out), (4 * PARTS, down), (4 * PARTS, right)
    thousandths, down, right = (_rounded_ratio(scale * step, whole) for scale, step in scales)
    return thousandths, down, right


def _grams(
    ours: NDArray[np.float32],
    theirs: NDArray[np.float32],
    inside: NDArray[np.float32],
    away: Sequence[NDArray[np.float32]],
) -> list[list[list[int]]]:
    """By picture the inner products of five terms over the pixels that are inside: four times what
    the brightness of both rises by down and to the right, twice outwards, what it differs by, and
    one."""
    count, height, width = inside.shape
    terms = np.empty((count, 5, height, width))
    both = ours + theirs
    down, right = both[:, 2:, 1:-1] - both[:, :-2, 1:-1], both[:, 1:-1, 2:] - both[:, 1:-1, :-2]
    down *= inside
    right *= inside
    terms[:, 0], terms[:, 1], terms[:, 4] = down, right, inside
    down *= away[0][:, None]
    right *= away[1]
    np.add(down, right, out=terms[:, 2])
    np.multiply((ours - theirs)[:, 1:-1, 1:-1], inside, out=terms[:, 3])
    flat = terms.reshape(count, 5, height * width)
    largest = 2 * 255 * int(abs(away[0]).max() + abs(away[1]).max())
    step = max(1, (1 << _EXACT) // (largest * largest))
    total = np.zeros((count, 5, 5), np.int64)
    for at in range(0, height * width, step):
        some = flat[:, :, at : at + step]
        total += (some @ some.swapaxes(1, 2)).astype(np.int64)
    grams: list[list[list[int]]] = total.tolist()
    return grams


def _inside(at: Places, length: int) -> NDArray[np.bool_]:
    """Which places (n, any), the first and the last left out, are inside with those next to
    them."""
    inside = (at >= 0) & (at <= PARTS * (length - 1))
    return np.asarray(inside[:, :-2] & inside[:, 1:-1] & inside[:, 2:])


def _within_own(chosen: NDArray[np.bool_]) -> tuple[NDArray[np.bool_], tuple[slice, slice]]:
    """The chosen pixels that lie within the first and the last rows and columns of each picture's,
    and the rows and columns of all that are chosen."""
    within, spans = chosen.copy(), []
    for axis in (1, 2):
        some = np.asarray(chosen.any(axis=3 - axis))
        first, last = some.argmax(axis=1), some.shape[1] - 1 - some[:, ::-1].argmax(axis=1)
        at = np.arange(some.shape[1])
        between = (at > first[:, None]) & (at < last[:, None])
        shape = (len(chosen), -1, 1) if axis == 1 else (len(chosen), 1, -1)
        within &= between.reshape(shape)
        spans.append(slice(int(first.min()), int(last.max()) + 1))
    return within, (spans[0], spans[1])


def _determinant(m: list[list[int]]) -> int:
    return (
        m[0][0] * (m[1][1] * m[2][2] - m[1][2] * m[2][1])
        - m[0][1] * (m[1][0] * m[2][2] - m[1][2] * m[2][0])
        + m[0][2] * (m[1][0] * m[2][1] - m[1][1] * m[2][0])
    )


def _rounded_ratio(over: int, under: int) -> int:
    """To the next whole number, of two the larger."""
    return (2 * over + under) // (2 * under)


def _rounded(value: Fraction) -> int:
    """To the next whole number, of two the larger."""
    return (2 * value.numerator + value.denominator) // (2 * value.denominator)
