"""Lower bounds on the distances of very many small pictures, from a few numbers of each.

Means over the cells of a grid are an orthogonal projection, and what they leave of a picture has a
length: the distance of both together is at most that of the pictures. All that is computed in
float32 gets a slack that its rounding cannot pass, so that no bound is too large.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

_CELLS, _MORE_CELLS = 8, 16
_LARGE = 128
"""Pictures with shorter sides get fewer cells."""

_SLACK = 2.0**-13
"""Of both squared lengths. A sum of n products in float32 is off by at most n · 2⁻²⁴ of the sum of
their sizes (Higham, 2002, section 3.1), which is at most twice that of the squared lengths; n is at
most 771. One more is taken off for the length of a rest that is next to nothing."""


@dataclass(frozen=True, slots=True, eq=False)
class Coarse:
    """Of n pictures: `values` (n, any) float32, the projection and the length of the rest, and
    `norms` (n,) float64, the squared lengths, which are exact, once 128 is subtracted from each of
    their values."""

    values: NDArray[np.float32]
    norms: NDArray[np.float64]

    @classmethod
    def of(cls, rows: NDArray[np.uint8], size: tuple[int, int]) -> Self:
        """Those of pictures as rows (n, height · width · 3) uint8 of this height and width."""
        height, width = size
        most = _CELLS if min(size) < _LARGE else _MORE_CELLS
        down, across = _edges(height, most), _edges(width, most)
        areas = np.outer(np.diff([*down, height]), np.diff([*across, width]))
        cells = 3 * len(down) * len(across)
        values, norms = np.empty((len(rows), cells + 1), np.float32), np.empty(len(rows))
        step = max(1, (1 << 22) // max(1, rows.shape[1]))
        for at in range(0, len(rows), step):
            some = slice(at, at + step)
            pictures = rows[some].reshape(-1, height, width, 3).astype(np.int32) - 128
            sums = np.add.reduceat(np.add.reduceat(pictures, down, axis=1), across, axis=2)
            means = sums / np.sqrt(areas)[None, :, :, None]
            values[some, :cells] = means.reshape(len(pictures), cells)
            flat = pictures.reshape(len(pictures), -1)
            norms[some] = np.einsum("ij,ij->i", flat, flat, dtype=np.float64)
            rest = norms[some] - np.square(means).sum(axis=(1, 2, 3))
            values[some, cells] = np.sqrt(np.maximum(rest, 0.0))
        return cls(values, norms)

    def of_rows(self, rows: slice) -> Coarse:
        """Those of these pictures."""
        return Coarse(self.values[rows], self.norms[rows])

    def lower_bounds(self, others: Coarse) -> NDArray[np.float32]:
        """(n, m) float32, none of them more than the squared distance of the two pictures."""
        # |a|² + |b|² - 2ab as one product of matrices: it costs a fifth of one after the other.
        first = np.empty((len(self.values), self.values.shape[1] + 2), np.float32)
        second = np.empty((len(others.values), first.shape[1]), np.float32)
        np.multiply(self.values, -2.0, out=first[:, :-2])
        second[:, :-2] = others.values
        first[:, -2], second[:, -2] = self.norms * (1 - _SLACK) - 0.5, 1.0
        first[:, -1], second[:, -1] = 1.0, others.norms * (1 - _SLACK) - 0.5
        return np.asarray(first @ second.T)


def _edges(length: int, most: int) -> NDArray[np.intp]:
    """Where the cells of a side begin."""
    count = min(most, length)
    return np.asarray(np.arange(count) * length // count, dtype=np.intp)
