"""One picture laid on another larger or smaller, to a sixteenth of a pixel and a thousandth.

What both differ by in brightness is made least step by step, as Lucas and Kanade (1981) do: each
step solves for the shift and the scale at once, by what brightness rises by in both pictures. Sums
are whole numbers and the steps are rounded to the grid, so that all machines take the same ones.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from seedsweep.storage.prompt_results import Shift
from seedsweep.workers.analysis.moved_pictures import PARTS, WHOLE, places, read_at, scaled_by

ROUNDS = 8
"""So many steps are taken at most in pictures of one size."""


@dataclass(frozen=True, slots=True)
class Lie:
    """How a picture is laid: `thousandths` of the size, and so many sixteenths of its pixels
    further `down` and to the `right`."""

    thousandths: int
    down: int
    right: int

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


def fitted(
    mine: NDArray[np.uint8],
    other: NDArray[np.uint8],
    chosen: NDArray[np.bool_],
    lie: Lie,
    most: int,
    rounds: int = ROUNDS,
) -> Lie:
    """How a picture's brightness (height, width) is nearest to `mine` in the chosen pixels, of
    which some are, once the mean of the difference is taken off. From `lie` on each step must make
    it nearer; none goes further than `most` thousandths from the same size."""
    box = _box(chosen)
    inner = box[0].stop - box[0].start > 2 and box[1].stop - box[1].start > 2
    if not inner:
        return lie
    ours, chosen = mine[box].astype(np.int64), chosen[box][1:-1, 1:-1]
    away = tuple(
        (2 * np.arange(span.start, span.stop) - (length - 1))[1:-1]
        for span, length in zip(box, mine.shape, strict=True)
    )
    best, nearest = lie, None
    for _ in range(rounds):
        rows = places(lie.down, lie.thousandths, mine.shape[0])[box[0]]
        columns = places(lie.right, lie.thousandths, mine.shape[1])[box[1]]
        theirs = read_at(other, rows, columns).astype(np.int64)
        inside = chosen & _within(rows, other.shape[0])[:, None] & _within(columns, other.shape[1])
        count = int(np.count_nonzero(inside))
        if not count:
            break
        both = ours + theirs
        down = (both[2:, 1:-1] - both[:-2, 1:-1])[inside]
        right = (both[1:-1, 2:] - both[1:-1, :-2])[inside]
        out = (away[0][:, None] + np.zeros_like(inside))[inside] * down
        out += (away[1] + np.zeros_like(inside, dtype=np.int64))[inside] * right
        apart = (ours - theirs)[1:-1, 1:-1][inside]
        terms = np.stack([down, right, out, apart])
        sums = [int(value) for value in terms.sum(axis=1)]
        products = (terms @ terms.T).tolist()
        centred = [[count * products[i][j] - sums[i] * sums[j] for j in range(4)] for i in range(4)]
        distance = Fraction(centred[3][3], count * count)
        if nearest is not None and distance >= nearest:
            break
        best, nearest = lie, distance
        solved = _solved([row[:3] for row in centred[:3]], [row[3] for row in centred[:3]])
        if solved is None:
            break
        # The slopes are four times what brightness rises by in a pixel, `out` eight times.
        thousandths = lie.thousandths + _rounded(8 * WHOLE * solved[2])
        lie = Lie(
            max(WHOLE - most, min(WHOLE + most, thousandths)),
            lie.down + _rounded(4 * PARTS * solved[0]),
            lie.right + _rounded(4 * PARTS * solved[1]),
        )
        if lie == best:
            break
    return best


def _within(at: NDArray[np.int64], length: int) -> NDArray[np.bool_]:
    """Which places, the first and the last left out, are inside with those next to them."""
    inside = (at >= 0) & (at <= PARTS * (length - 1))
    return np.asarray(inside[:-2] & inside[1:-1] & inside[2:])


def _box(chosen: NDArray[np.bool_]) -> tuple[slice, slice]:
    rows, columns = np.flatnonzero(chosen.any(axis=1)), np.flatnonzero(chosen.any(axis=0))
    return slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)


def _solved(matrix: list[list[int]], wanted: list[int]) -> list[Fraction] | None:
    """The solution of three equations, by Cramer's rule; None if there are several."""
    whole = _determinant(matrix)
    if not whole:
        return None
    solution = []
    for column in range(3):
        other = [
            [*row[:column], value, *row[column + 1 :]]
            for row, value in zip(matrix, wanted, strict=True)
        ]
        solution.append(Fraction(_determinant(other), whole))
    return solution


def _determinant(m: list[list[int]]) -> int:
    return (
        m[0][0] * (m[1][1] * m[2][2] - m[1][2] * m[2][1])
        - m[0][1] * (m[1][0] * m[2][2] - m[1][2] * m[2][0])
        + m[0][2] * (m[1][0] * m[2][1] - m[1][1] * m[2][0])
    )


def _rounded(value: Fraction) -> int:
    """To the next whole number, of two the larger."""
    return (2 * value.numerator + value.denominator) // (2 * value.denominator)
