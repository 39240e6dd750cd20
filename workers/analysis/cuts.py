"""Cuts out of frames, and what is known of each by itself: the centre of a frame, and the views of
another one that are laid on it, at shifts of up to 3 pixels and scales of 0.95 to 1.05.

What judges is told from sums of whole numbers, which are exact, in an order that is always the
same: a cut's summary does not depend on what is beside it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import cache
from itertools import product

import numpy as np
from numpy.lib.stride_tricks import as_strided, sliding_window_view
from numpy.typing import NDArray

from seedsweep.workers.analysis.frames import FRAME, Frames, rounded
from seedsweep.workers.analysis.running_nearest import squared_norms

SHIFT = 3
SCALES = (0.95, 0.975, 1.0, 1.025, 1.05)
CANVAS = 60
"""What the smallest scale leaves of the frame on each side, in whole pixels."""

CENTRE = CANVAS - 2 * SHIFT
VALUES = 3 * CENTRE**2
_SHIFTS = 2 * SHIFT + 1
_MARGIN = (FRAME - CENTRE) // 2
_BLOCK = 6
_BLOCKS = CENTRE // _BLOCK
_SHARES = 1024
_SUMMED = 1024

# Coordinates are odd whole numbers about 0: on the centre a plane's three parts are orthogonal.
_AXIS = np.arange(CENTRE, dtype=np.float64) * 2 - (CENTRE - 1)
_FLAT_LENGTH = float(CENTRE)
_SLOPE_LENGTH = float(np.sqrt(CENTRE * np.square(_AXIS).sum()))

_UNSURE = 1e-5
"""The share of a cut's energy that float32 may hide: so much more is said to be left out."""

_ANGLE = 0.01
"""So much may rounding alter an angle of two directions."""

_GROUPS = (slice(0, 2), 1), (slice(2, 5), 3), (slice(5, 7), 5)
"""Shifts that are much alike, and the one that stands for them."""

_SUM_ACROSS = np.kron(np.eye(_BLOCKS, dtype=np.float32), np.ones((1, _BLOCK), np.float32))
"""(blocks of a row, its values): the sums over blocks."""

_MOMENTS = np.stack([np.ones(CENTRE), _AXIS])
"""(2, 54): what a row's values are weighed with to give their sum and their slope."""


@dataclass(frozen=True, slots=True, eq=False)
class CutSummary:
    """What is known of each of n cuts of the centre's size out of frames, by itself.

    `norms` (n,) and `planes` (n, 9) turn inner products into covariances. `means` (n, 3): of each
    channel, in [0, 1]. `deviations` (n,): the standard deviation of all values, in [0, 1], once
    each channel's plane is taken off. `directions` (n, any) float32, of length 1 or next to
    nothing more: what is left then, averaged over blocks, as a share of its length, and the share
    that these leave out. No two cuts correlate more than their directions do, rounding aside.
    """

    norms: NDArray[np.float64]
    planes: NDArray[np.float64]
    means: NDArray[np.float64]
    deviations: NDArray[np.float64]
    directions: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.norms)

    def of(self, places: NDArray[np.intp]) -> CutSummary:
        """That of the cuts at these places."""
        return CutSummary(
            self.norms[places],
            self.planes[places],
            self.means[places],
            self.deviations[places],
            self.directions[places],
        )


def summaries_of(frames: Frames) -> CutSummary:
    """The summaries of the centres of very many frames; their pixels are not held."""
    parts = [
        centres(frames[at : at + _SUMMED]).summary for at in range(0, max(1, len(frames)), _SUMMED)
    ]
    return joined_summaries(parts)


def joined_summaries(parts: Sequence[CutSummary]) -> CutSummary:
    """One summary of the cuts of all of them."""
    return CutSummary(
        *(
            np.concatenate([getattr(part, each.name) for part in parts])
            for each in fields(CutSummary)
        )
    )


@dataclass(frozen=True, slots=True, eq=False)
class Centres:
    """The centres of n frames: `rows` (n, values) uint8, and their summary."""

    rows: NDArray[np.uint8]
    summary: CutSummary

    def __len__(self) -> int:
        return len(self.rows)

    def of(self, places: NDArray[np.intp]) -> Centres:
        """Those at these places."""
        return Centres(self.rows[places], self.summary.of(places))


def centres(frames: Frames) -> Centres:
    """The centres of the frames; n may be 0."""
    inner = slice(_MARGIN, FRAME - _MARGIN)
    cuts = frames[:, inner, inner]
    rows = np.ascontiguousarray(cuts).reshape(len(cuts), VALUES)
    # Whole numbers below 2²⁴: such sums are exact in float32.
    lines = rows.reshape(len(cuts), CENTRE, 3 * CENTRE).astype(np.float32)
    bands = (_SUM_ACROSS @ lines).reshape(len(cuts) * _BLOCKS, CENTRE, 3)
    blocks = np.moveaxis(_SUM_ACROSS @ bands, 2, 1).reshape(len(cuts), 3 * _BLOCKS**2)
    # (n, moment down, moment across, channel)
    down = (_MOMENTS @ lines).reshape(2 * len(cuts), CENTRE, 3)
    moments = (_MOMENTS @ down).reshape(len(cuts), 2, 2, 3)
    summary = _summary(
        squared_norms(rows), moments[:, 0, 0], moments[:, 1, 0], moments[:, 0, 1], blocks
    )
    return Centres(rows, summary)


@dataclass(frozen=True, slots=True, eq=False)
class Views:
    """What may lie on the centre of another frame: `canvases` (any, 60, 3, 60) uint8, by rows,
    channels and columns, whose cuts are all views, and the summary of these."""

    canvases: NDArray[np.uint8]
    summary: CutSummary

    def nearby(self, others: NDArray[np.float32], correlation: float) -> NDArray[np.bool_]:
        """Which directions (n, any) may correlate so much with a view's: all that do, and few
        others, told by nine views of a frame, and how far the others are from these as angles."""
        views = self.summary.directions.reshape(
            -1, len(SCALES), _SHIFTS, _SHIFTS, self.summary.directions.shape[1]
        )
        most = np.arccos(min(correlation, 1.0)) + _ANGLE
        middles, limits = [], []
        for of_frame in views:
            for (down, middle_down), (across, middle_across) in product(_GROUPS, repeat=2):
                middle = of_frame[len(SCALES) // 2, middle_down, middle_across]
                least = float((of_frame[:, down, across] @ middle).min())
                apart = np.arccos(np.clip(least, -1.0, 1.0))
                middles.append(middle)
                limits.append(np.cos(min(np.pi, most + apart)))
        return np.asarray((others @ np.stack(middles).T >= np.array(limits)).any(axis=1))

    def rows(self) -> NDArray[np.uint8]:
        """The pixels of all views: (n, values) uint8."""
        # Contiguous: a view's row is then copied at once, and not value by value.
        canvases = np.ascontiguousarray(np.moveaxis(self.canvases, 2, 3))
        windows = sliding_window_view(canvases, (CENTRE, CENTRE, 3), axis=(1, 2, 3))
        return np.asarray(windows.reshape(-1, VALUES))


def views_of(frames: Frames) -> Views:
    """The views of all these frames, of a picture and perhaps of its mirror image."""
    canvases = _canvases(frames)
    count = len(canvases)
    lines = canvases.reshape(count, CANVAS, 3 * CANVAS).astype(np.float64)
    down = (_weights() @ lines).reshape(-1, CANVAS)
    moments = (down @ _weights().T).reshape(count, 2, _SHIFTS, 3, 2, _SHIFTS)
    # By moment down and across: (c, shift down, shift across, channel).
    moments = np.moveaxis(moments, (1, 4), (0, 1)).transpose(0, 1, 2, 3, 5, 4)
    moments = moments.reshape(2, 2, count * _SHIFTS**2, 3)
    squares = np.square(lines - 128.0).reshape(count, CANVAS, 3, CANVAS).sum(axis=2)
    ones = _weights()[:_SHIFTS]
    norms = (ones @ squares @ ones.T).reshape(-1)
    blocks = _block_sums(canvases)
    summary = _summary(norms, moments[0, 0], moments[1, 0], moments[0, 1], blocks)
    return Views(canvases, summary)


def _canvases(frames: Frames) -> NDArray[np.uint8]:
    """The middle of each frame at every scale, with room for every shift: (frames · scales, 60, 3,
    60) uint8."""
    lines = np.ascontiguousarray(np.moveaxis(frames, 3, 2)).reshape(len(frames), FRAME, 3 * FRAME)
    # Up to 255 · 1024: exact in float32; the second time it is not.
    down = _samples().reshape(-1, FRAME).astype(np.float32) @ lines.astype(np.float32)
    down = down.reshape(len(frames), len(SCALES), 3 * CANVAS, FRAME).astype(np.float64)
    sums = down @ _samples().transpose(0, 2, 1)
    return rounded(sums, _SHARES**2).reshape(-1, CANVAS, 3, CANVAS)


@cache
def _samples() -> NDArray[np.float64]:
    """(scales, 60, 64): the weights, in 1024ths, of the frame's pixels in the canvas's at each
    scale, by linear interpolation about the middle."""
    weights, rows = np.zeros((len(SCALES), CANVAS, FRAME)), np.arange(CANVAS)
    for scale, each in zip(SCALES, weights, strict=True):
        places = (np.arange(CANVAS) - (CANVAS - 1) / 2) / scale + (FRAME - 1) / 2
        first = np.minimum(np.floor(places).astype(np.intp), FRAME - 2)
        second = np.rint((places - first) * _SHARES)
        each[rows, first], each[rows, first + 1] = _SHARES - second, second
    return weights


@cache
def _weights() -> NDArray[np.float64]:
    """(moments · shifts, 60): those of `_MOMENTS` for each window of a canvas."""
    weights = np.zeros((2, _SHIFTS, CANVAS))
    for shift in range(_SHIFTS):
        weights[:, shift, shift : shift + CENTRE] = _MOMENTS
    return weights.reshape(2 * _SHIFTS, CANVAS)


def _block_sums(canvases: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Of each view the sums over its blocks: (views, 243), in the order of `centres`."""
    # Up to 36 · 255: exact.
    sums = _windows(_windows(canvases.astype(np.float32), 1), 3)
    canvas, down, channel, across = sums.strides
    views = as_strided(
        sums,
        (len(sums), _SHIFTS, _SHIFTS, _BLOCKS, 3, _BLOCKS),
        (canvas, down, across, _BLOCK * down, channel, _BLOCK * across),
        writeable=False,
    )
    return np.ascontiguousarray(views).reshape(-1, 3 * _BLOCKS**2)


def _windows(values: NDArray[np.float32], axis: int) -> NDArray[np.float32]:
    """The sums over all windows of a block's side along an axis."""
    moved = np.moveaxis(values, axis, 0)
    twos = moved[:-1] + moved[1:]
    fours = twos[:-2] + twos[2:]
    return np.moveaxis(fours[:-2] + twos[4:], 0, axis)


@cache
def _planes() -> NDArray[np.float32]:
    """(10, 243): of each part of `CutSummary.planes`, and of a grey of 128, the means over blocks,
    each times a block's side."""
    axis = _AXIS.reshape(_BLOCKS, _BLOCK).mean(axis=1) / _SLOPE_LENGTH
    planes = np.zeros((10, _BLOCKS, 3, _BLOCKS))
    for channel in range(3):
        planes[channel, :, channel] = 1 / _FLAT_LENGTH
        planes[3 + channel, :, channel] = axis[:, None]
        planes[6 + channel, :, channel] = axis[None, :]
    planes[9] = 128.0
    return (planes * _BLOCK).reshape(10, -1).astype(np.float32)


def _summary(
    norms: NDArray[np.float64],
    sums: NDArray[np.float64],
    down: NDArray[np.float64],
    across: NDArray[np.float64],
    blocks: NDArray[np.float32],
) -> CutSummary:
    """Of cuts whose `norms` (n,) are those of `squared_norms`, from sums of their values, by
    channel: of all `sums` (n, 3), and weighed by the coordinate, `down` and `across` (n, 3); and
    from those over `blocks` (n, 243)."""
    flat = (sums - 128.0 * CENTRE**2) / _FLAT_LENGTH
    planes = np.concatenate([flat, down / _SLOPE_LENGTH, across / _SLOPE_LENGTH], axis=1)
    energies = norms.copy()
    for plane in range(planes.shape[1]):  # one by one: always the same order
        energies -= np.square(planes[:, plane])
    energies = np.maximum(energies, 0.0)
    every = np.concatenate([planes, np.ones((len(planes), 1))], axis=1, dtype=np.float32)
    left = blocks / np.float32(_BLOCK)
    left -= every @ _planes()
    lengths = np.sqrt(energies)
    inverse = np.divide(1.0, lengths, out=np.zeros_like(lengths), where=lengths > 0)
    directions = np.empty((len(norms), left.shape[1] + 1), np.float32)
    shares = directions[:, :-1]
    np.multiply(left, inverse[:, None], out=shares, casting="same_kind")
    rests = 1.0 - np.einsum("ij,ij->i", shares, shares)
    directions[:, -1] = np.sqrt(np.maximum(rests, 0.0) + _UNSURE)
    return CutSummary(
        norms=norms,
        planes=planes,
        means=sums / (CENTRE**2 * 255.0),
        deviations=np.sqrt(energies / VALUES) / 255.0,
        directions=directions,
    )
