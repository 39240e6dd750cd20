"""Which training pictures are one picture: copies of each other, stored, cut or scaled anew.

One rule at every size, since all pictures are averaged to a frame of 64 × 64 pixels first. The
centre of one is laid on the other at shifts of up to 3 pixels and scales of 0.95 to 1.05. They are
near-copies if it fits somewhere: the same forms (by correlation, once each channel's plane is taken
off, so that like backgrounds join nobody), about as much contrast, and the same colours. Where
there is next to no contrast forms say nothing, and plain l2 decides.

Nothing is ever joined by way of a third picture, and a pair is judged alike on every machine and
whatever is beside it: it follows from inner products of whole numbers, which are exact.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import lru_cache

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from seedsweep.storage.settings.analysis import NearCopies
from seedsweep.workers.analysis.inner_products import products
from seedsweep.workers.analysis.running_nearest import squared_norms

FRAME = 64
SHIFT = 3
SCALES = (0.95, 0.975, 1.0, 1.025, 1.05)
CANVAS = 60
"""What the smallest scale leaves of the frame on each side, in whole pixels."""

CENTRE = CANVAS - 2 * SHIFT
VALUES = 3 * CENTRE**2
_MARGIN = (FRAME - CENTRE) // 2
_BLOCK = 6
_BLOCKS = CENTRE // _BLOCK
_SHARES = 1024
_SUMMED = 1024
_SLACK = 1e-3  # bounds are computed in float32

# Coordinates are odd whole numbers about 0: on the centre a plane's three parts are orthogonal.
_AXIS = np.arange(CENTRE, dtype=np.float64) * 2 - (CENTRE - 1)
_FLAT_LENGTH = float(CENTRE)
_SLOPE_LENGTH = float(np.sqrt(CENTRE * np.square(_AXIS).sum()))

_SUM_ACROSS = np.kron(
    np.kron(np.eye(_BLOCKS, dtype=np.float32), np.ones((_BLOCK, 1), np.float32)),
    np.eye(3, dtype=np.float32),
)
"""(values of a row, 3 per block of it): a row's sums over blocks, by channel."""

Frames = NDArray[np.uint8]
"""Pictures averaged to the frame: (n, 64, 64, 3) uint8."""


def frame_of(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The picture (height, width, 3) uint8 averaged over areas to (64, 64, 3) uint8, and smoothed
    by (1, 2, 1) / 4 both ways, which takes off what storing a small picture alters most."""
    height, width, _ = picture.shape
    if (height, width) != (FRAME, FRAME):
        sums = _both_ways(_areas(height), picture, _areas(width))
        picture = _rounded(sums, height * width)
    padded = np.pad(picture.astype(np.uint16), ((1, 1), (1, 1), (0, 0)), mode="edge")
    across = padded[:, :-2] + 2 * padded[:, 1:-1] + padded[:, 2:]
    both = across[:-2] + 2 * across[1:-1] + across[2:]
    return np.asarray((both + 8) >> 4, dtype=np.uint8)


@lru_cache(maxsize=8)
def _areas(length: int) -> NDArray[np.float64]:
    """(64, length): how much of each pixel lies in each of the frame's, in 64ths of a pixel."""
    ends, pixels = np.arange(FRAME + 1) * length, np.arange(length + 1) * FRAME
    low = np.maximum(ends[:-1, None], pixels[None, :-1])
    high = np.minimum(ends[1:, None], pixels[None, 1:])
    return np.asarray(np.maximum(high - low, 0), dtype=np.float64)


@lru_cache(maxsize=len(SCALES))
def _samples(scale: float) -> NDArray[np.float64]:
    """(60, 64): the weights, in 1024ths, of the frame's pixels in the canvas's at this scale, by
    linear interpolation about the middle."""
    places = (np.arange(CANVAS) - (CANVAS - 1) / 2) / scale + (FRAME - 1) / 2
    first = np.minimum(np.floor(places).astype(np.intp), FRAME - 2)
    second = np.rint((places - first) * _SHARES)
    weights, rows = np.zeros((CANVAS, FRAME)), np.arange(CANVAS)
    weights[rows, first], weights[rows, first + 1] = _SHARES - second, second
    return weights


def _both_ways(
    rows: NDArray[np.float64], picture: NDArray[np.uint8], columns: NDArray[np.float64]
) -> NDArray[np.float64]:
    """The picture weighed by rows and columns: whole numbers, and exact."""
    return np.asarray(np.moveaxis(rows @ np.moveaxis(picture, 2, 0) @ columns.T, 0, 2))


def _rounded(sums: NDArray[np.float64], total: int) -> NDArray[np.uint8]:
    return np.asarray((sums + total // 2) // total, dtype=np.uint8)


def frames_of(pictures: NDArray[np.uint8]) -> Frames:
    """Pictures (n, height, width, 3) uint8 as frames; n may be 0."""
    frames = [frame_of(picture) for picture in pictures]
    return np.stack(frames) if frames else np.empty((0, FRAME, FRAME, 3), np.uint8)


@dataclass(frozen=True, slots=True, eq=False)
class Summary:
    """What is known of each of n cuts of the centre's size out of frames, by itself.

    `norms` (n,) and `planes` (n, 9) turn inner products into covariances. `means` (n, 3): of each
    channel, in [0, 1]. `deviations` (n,): the standard deviation of all values, in [0, 1], once
    each channel's plane is taken off. `blocks` (n, any) float32: what is left then, averaged over
    blocks, as a share of its length, and `rests` (n,) float32 the share that these leave out; they
    bound correlations.
    """

    norms: NDArray[np.float64]
    planes: NDArray[np.float64]
    means: NDArray[np.float64]
    deviations: NDArray[np.float64]
    blocks: NDArray[np.float32]
    rests: NDArray[np.float32]

    def of(self, places: NDArray[np.intp]) -> Summary:
        """That of the cuts at these places."""
        return Summary(
            self.norms[places],
            self.planes[places],
            self.means[places],
            self.deviations[places],
            self.blocks[places],
            self.rests[places],
        )


def summaries_of(frames: Frames) -> Summary:
    """The summaries of the centres of very many frames; their pixels are not held."""
    parts = [
        centres(frames[at : at + _SUMMED]).summary for at in range(0, max(1, len(frames)), _SUMMED)
    ]
    return Summary(
        *(np.concatenate([getattr(part, each.name) for part in parts]) for each in fields(Summary))
    )


@dataclass(frozen=True, slots=True, eq=False)
class Centres:
    """The centres of n frames: `rows` (n, values) uint8, and their summary."""

    rows: NDArray[np.uint8]
    summary: Summary

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
    across = rows.reshape(-1, 3 * CENTRE).astype(np.float32) @ _SUM_ACROSS
    across = across.reshape(len(cuts), CENTRE, _BLOCKS, 3)
    shape = (len(cuts), _BLOCKS, _BLOCK, _BLOCKS, 3)
    summary = _summary(
        squared_norms(rows),
        across.sum(axis=2, dtype=np.float64),
        cuts.sum(axis=1, dtype=np.float64),
        across.reshape(shape).sum(axis=2, dtype=np.float64),
    )
    return Centres(rows, summary)


def distinct(frames: Frames, settings: NearCopies, flip: bool, most: int) -> list[int]:
    """Of pictures in order the places of those that show something new, `most` of them at most: a
    picture that is a near-copy of one taken before is skipped."""
    others = centres(frames)
    left = np.ones(len(frames), np.bool_)
    taken: list[int] = []
    while len(taken) < most and left.any():
        place = int(np.argmax(left))
        taken.append(place)
        left[place] = False
        ahead = np.flatnonzero(left)
        reference = _reference(frames[place].tobytes(), settings, flip)
        left[ahead[reference.copies(others, ahead)]] = False
    return taken


@lru_cache(maxsize=128)
def _reference(frame: bytes, settings: NearCopies, flip: bool) -> Reference:
    # The neighbours of a generation and those of its match are much the same pictures.
    pixels = np.frombuffer(frame, np.uint8).reshape(FRAME, FRAME, 3)
    return Reference(pixels, settings, flip)


def grouped(frames: Frames, settings: NearCopies, flip: bool) -> list[list[int]]:
    """Pictures in order as groups, by the places of their first: each is in the first group whose
    first picture it is a near-copy of, or the other way round; nothing joins by way of another."""
    others = centres(frames)
    own = [Reference(frame, settings, flip).copies(others) for frame in frames]
    groups: list[list[int]] = []
    for place in range(len(frames)):
        same = (group for group in groups if own[group[0]][place] or own[place][group[0]])
        group = next(same, None)
        if group is None:
            groups.append([place])
        else:
            group.append(place)
    return groups


class Reference:
    """A picture that others may be near-copies of: with `flip`, of its mirror image as well."""

    def __init__(self, frame: NDArray[np.uint8], settings: NearCopies, flip: bool) -> None:
        self._settings = settings
        frames = [frame, np.ascontiguousarray(frame[:, ::-1])] if flip else [frame]
        self._canvases = [canvas for frame in frames for canvas in _canvases(frame)]
        parts = [_tables(canvas) for canvas in self._canvases]
        self._views = _summary(*(np.concatenate(part) for part in zip(*parts, strict=True)))

    def copies(self, others: Centres, among: NDArray[np.intp] | None = None) -> NDArray[np.bool_]:
        """Which of the centres, or of those at the places `among`, are near-copies: (n,) bool."""
        among = np.arange(len(others)) if among is None else among
        found = np.zeros(len(among), np.bool_)
        possible = self._possible(others.summary.of(among))
        if len(possible):
            places = among[possible]
            fits = self._fits(others.rows[places], others.summary.of(places))
            found[possible] = fits.any(axis=0)
        return found

    def possible(self, others: Summary, among: NDArray[np.intp]) -> NDArray[np.intp]:
        """Those of the cuts at the places `among` that can be near-copies, and few others."""
        return among[self._possible(others.of(among))]

    def _possible(self, others: Summary) -> NDArray[np.intp]:
        """All that can be near-copies and few others, without a look at their pixels."""
        settings, mine = self._settings, self._views
        colour = settings.colour + _SLACK
        near = (others.means >= mine.means.min(axis=0) - colour).all(axis=1)
        near &= (others.means <= mine.means.max(axis=0) + colour).all(axis=1)
        places = np.flatnonzero(near)
        some = others.of(places)
        bounds = mine.blocks @ some.blocks.T + np.outer(mine.rests, some.rests)
        alike = bounds.max(axis=0, initial=-1.0) >= settings.correlation - _SLACK
        alike |= some.deviations < settings.plain
        alike |= bool((mine.deviations < settings.plain).any())
        return np.asarray(places[alike])

    def _fits(self, rows: NDArray[np.uint8], others: Summary) -> NDArray[np.bool_]:
        """By view and centre, whether they fit: (views, n) bool."""
        inner = products(np.concatenate([_cuts(canvas) for canvas in self._canvases]), rows)
        return _fit(self._views, others, inner, self._settings)


def fit_unmoved(first: Centres, others: Centres, settings: NearCopies) -> NDArray[np.bool_]:
    """Which of `others` fit on the centres as they are, and so are near-copies of their frames:
    (first, others) bool. It costs a thousandth of `Reference`, which finds more."""
    inner = products(first.rows, others.rows)
    return _fit(first.summary, others.summary, inner, settings)


def _fit(
    mine: Summary, others: Summary, inner: NDArray[np.float64], settings: NearCopies
) -> NDArray[np.bool_]:
    """By cut and centre, from their inner products, whether they fit: (cuts, n) bool."""
    covariance = inner.copy()
    for plane in range(mine.planes.shape[1]):  # one by one: always the same order
        covariance -= mine.planes[:, plane, None] * others.planes[None, :, plane]
    first, second = mine.deviations[:, None], others.deviations[None, :]
    scale = VALUES * 255.0**2
    alike = covariance >= settings.correlation * scale * first * second
    alike &= np.maximum(first, second) <= settings.contrast * np.minimum(first, second)
    for channel in range(3):
        apart = mine.means[:, channel, None] - others.means[None, :, channel]
        alike &= np.abs(apart) <= settings.colour
    squared = mine.norms[:, None] + others.norms[None, :] - 2.0 * inner
    plain = np.minimum(first, second) < settings.plain
    return np.where(plain, squared <= settings.plain_l2**2 * scale, alike)


def _canvases(frame: NDArray[np.uint8]) -> list[NDArray[np.uint8]]:
    """The middle of the frame at every scale, with room for every shift: (60, 60, 3) uint8."""
    sampled = (_both_ways(_samples(s), frame, _samples(s)) for s in SCALES)
    return [_rounded(sums, _SHARES**2) for sums in sampled]


def _cuts(canvas: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The canvas at every shift: (shifts, values) uint8."""
    return np.asarray(sliding_window_view(canvas, (CENTRE, CENTRE, 3)).reshape(-1, VALUES))


Sums = NDArray[np.float64]


def _tables(canvas: NDArray[np.uint8]) -> tuple[Sums, Sums, Sums, Sums]:
    """What `_summary` takes of each of `_cuts`, told from sums over the canvas."""
    whole = canvas.astype(np.float64)
    squares = _window_sums(np.square(whole - 128.0).sum(axis=2), CENTRE, CENTRE)
    down = _window_sums(whole, 1, CENTRE)  # (60, shifts, 3)
    across = _window_sums(whole, CENTRE, 1)  # (shifts, 60, 3)
    blocks = _window_sums(whole, _BLOCK, _BLOCK)
    shifts = range(2 * SHIFT + 1)
    return (
        squares.reshape(-1),
        np.stack([down[y : y + CENTRE, x] for y in shifts for x in shifts]),
        np.stack([across[y, x : x + CENTRE] for y in shifts for x in shifts]),
        np.stack(
            [
                blocks[y : y + CENTRE : _BLOCK, x : x + CENTRE : _BLOCK]
                for y in shifts
                for x in shifts
            ]
        ),
    )


def _window_sums(values: Sums, height: int, width: int) -> Sums:
    """The sums over all windows of that size, exact for whole numbers."""
    for size in (height, width):
        if size > 1:
            running = np.cumsum(values, axis=0)
            values = running[size - 1 :].copy()
            values[1:] -= running[:-size]
        values = values.swapaxes(0, 1)
    return values


def _summary(norms: Sums, down: Sums, across: Sums, blocks: Sums) -> Summary:
    """Of cuts whose `norms` (n,) are those of `squared_norms`, from sums of their values: over each
    row `down` (n, 54, 3), over each column `across` (n, 54, 3), over `blocks` (n, 9, 9, 3)."""
    sums = down.sum(axis=1)
    flat = (sums - 128.0 * CENTRE**2) / _FLAT_LENGTH
    slopes = [np.einsum("nic,i->nc", each, _AXIS) / _SLOPE_LENGTH for each in (down, across)]
    planes, energies = np.concatenate([flat, *slopes], axis=1), norms.copy()
    for plane in range(planes.shape[1]):  # one by one: always the same order
        energies -= np.square(planes[:, plane])
    energies = np.maximum(energies, 0.0)
    axis = _AXIS.reshape(_BLOCKS, _BLOCK).mean(axis=1) / _SLOPE_LENGTH
    left = blocks / _BLOCK**2 - 128.0
    left -= flat[:, None, None] / _FLAT_LENGTH
    left -= slopes[0][:, None, None] * axis[None, :, None, None]
    left -= slopes[1][:, None, None] * axis[None, None, :, None]
    left = left.reshape(len(norms), 3 * _BLOCKS**2) * _BLOCK
    lengths = np.sqrt(energies)[:, None]
    shares = np.divide(left, lengths, out=np.zeros_like(left), where=lengths > 0)
    return Summary(
        norms=norms,
        planes=planes,
        means=sums / (CENTRE**2 * 255.0),
        deviations=np.sqrt(energies / VALUES) / 255.0,
        blocks=shares.astype(np.float32),
        rests=np.sqrt(np.maximum(0.0, 1.0 - np.square(shares).sum(axis=1))).astype(np.float32),
    )
