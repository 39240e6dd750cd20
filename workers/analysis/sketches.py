"""A few bytes of a picture that tell which others may be near-copies of it.

A sketch holds the picture's forms, its colours and its contrast. Forms are the low frequencies of
the frame, by the cosine transform of each channel once its plane is taken off, each weighed by its
frequency: so weighed, strangers have next to nothing in common, and what a shift of a few pixels
turns counts for little. What may be near-copies is then judged by pixels (`near_copies`).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from seedsweep.storage.settings.analysis import NearCopies
from seedsweep.workers.analysis.cuts import Centres
from seedsweep.workers.analysis.frames import FRAME, Frames

FREQUENCIES = 6
"""From 0 to so many half waves, without it, both ways."""

FORMS = 3 * (FREQUENCIES**2 - 1)

ALIKE = 0.9
"""The cosine of the forms of what may be near-copies. Of 3,000 edited copies by the rule (JPEG of
quality 40, half the size, 2 % cut off all around, 5 % at one side) 99 % had more, of two strangers
less than one pair in a million (`benchmarks/selection.py`)."""

ALIKE_A_LITTLE = 0.65
"""The cosine that is enough if an embedding proposes them too. Of 200 pictures moved as far as the
rule allows, 3 pixels both ways, all had 0.68 or more; of two strangers 0.3 % of pairs had 0.6."""

# The rule is one of cuts, each shifted or scaled; a sketch is that of the centre alone.
_COLOUR_SLACK = 0.02
_CONTRAST_SLACK = 1.1
_PLAIN_SLACK = 0.005

_PEAK = 3.0  # the frequency that counts most
_UNIT = 127


@dataclass(frozen=True, slots=True, eq=False)
class Sketches:
    """The sketches of n pictures: `forms` (n, FORMS) int8, a vector of length 127; `means` (n, 3)
    and `deviations` (n,) float32 as of `near_copies.Summary`."""

    forms: NDArray[np.int8]
    means: NDArray[np.float32]
    deviations: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.forms)

    def of(self, places: NDArray[np.intp]) -> Sketches:
        """Those at these places."""
        return Sketches(self.forms[places], self.means[places], self.deviations[places])

    def tones(self, places: NDArray[np.intp]) -> Sketches:
        """Those at these places without their forms, which take most of the memory."""
        none = np.empty((len(places), 0), np.int8)
        return Sketches(none, self.means[places], self.deviations[places])


def sketch(frames: Frames, known: Centres) -> Sketches:
    """The sketches of frames (n, 64, 64, 3) with these centres; n may be 0."""
    channels = np.moveaxis(frames, 3, 1).reshape(3 * len(frames), FRAME**2).astype(np.float32)
    forms = (channels @ _waves().T).reshape(len(frames), FORMS)
    lengths = np.sqrt(np.square(forms).sum(axis=1, keepdims=True))
    units = np.divide(forms, lengths, out=np.zeros_like(forms), where=lengths > 0)
    return Sketches(
        np.rint(_UNIT * units).astype(np.int8),
        known.summary.means.astype(np.float32),
        known.summary.deviations.astype(np.float32),
    )


def joined(sketches: list[Sketches]) -> Sketches:
    """All of them, in order."""
    return Sketches(
        np.concatenate([np.empty((0, FORMS), np.int8), *(each.forms for each in sketches)]),
        np.concatenate([np.empty((0, 3), np.float32), *(each.means for each in sketches)]),
        np.concatenate([np.empty(0, np.float32), *(each.deviations for each in sketches)]),
    )


def mirrored(forms: NDArray[np.int8]) -> NDArray[np.int8]:
    """The forms of the mirror images: odd waves across change their sign."""
    across = np.arange(FREQUENCIES**2)[1:] % FREQUENCIES
    return forms * np.tile(np.where(across % 2, -1, 1), 3).astype(np.int8)


def squared_reach() -> float:
    """The squared distance of two forms whose cosine is `ALIKE`."""
    return float(2 * _UNIT**2 * (1 - ALIKE))


def have_forms(sketches: Sketches, rule: NearCopies) -> NDArray[np.bool_]:
    """Which have so much contrast that the rule may compare their forms: (n,) bool."""
    return np.asarray(sketches.deviations >= rule.plain - _PLAIN_SLACK)


def may_be_plain(sketches: Sketches, rule: NearCopies) -> NDArray[np.bool_]:
    """Which have so little contrast that the rule may compare their pixels: (n,) bool."""
    most = rule.plain + rule.plain_l2 + 2 * _PLAIN_SLACK
    return np.asarray(sketches.deviations < most)


def match_by_forms(first: Sketches, second: Sketches, rule: NearCopies) -> NDArray[np.bool_]:
    """Whether the rule allows it by colours and contrast that two whose forms are alike are
    near-copies: of each with the one at its place, or of shapes that broadcast."""
    low = np.minimum(first.deviations, second.deviations)
    high = np.maximum(first.deviations, second.deviations)
    possible = (low >= rule.plain - _PLAIN_SLACK) & (high <= _CONTRAST_SLACK * rule.contrast * low)
    for channel in range(3):  # one by one, which takes a third of the memory
        apart = np.abs(first.means[..., channel] - second.means[..., channel])
        possible &= apart <= rule.colour + _COLOUR_SLACK
    return np.asarray(possible)


def match_loosely(
    first: Sketches, second: Sketches, rule: NearCopies, flip: bool
) -> NDArray[np.bool_]:
    """Whether each and the one at its place, with forms that are alike a little, may be
    near-copies: (n,) bool."""
    mine, theirs = first.forms.astype(np.float32), second.forms.astype(np.float32)
    cosines = np.einsum("ij,ij->i", mine, theirs)
    if flip:
        turned = np.einsum("ij,ij->i", mirrored(first.forms).astype(np.float32), theirs)
        np.maximum(cosines, turned, out=cosines)
    alike = cosines >= ALIKE_A_LITTLE * _UNIT**2
    return np.asarray(alike & match_by_forms(first, second, rule))


def match_plainly(first: Sketches, second: Sketches, rule: NearCopies) -> NDArray[np.bool_]:
    """For all pairs (m, n): true if two may be near-copies because one has next to no contrast."""
    low = np.minimum(first.deviations[:, None], second.deviations[None, :])
    apart = np.zeros_like(low)
    for channel in range(3):
        apart += np.square(first.means[:, channel, None] - second.means[None, :, channel])
    reach = rule.plain_l2 + _PLAIN_SLACK
    return np.asarray((apart <= 3 * reach**2) & (low < rule.plain + _PLAIN_SLACK))


def may_be_copies(
    first: Sketches, second: Sketches, rule: NearCopies, flip: bool
) -> NDArray[np.bool_]:
    """Whether two may be near-copies, for all pairs: (m, n) bool."""
    mine, theirs = first.forms.astype(np.float32), second.forms.astype(np.float32)
    cosines = mine @ theirs.T
    if flip:
        np.maximum(cosines, mirrored(first.forms).astype(np.float32) @ theirs.T, out=cosines)
    spread = Sketches(first.forms, first.means[:, None], first.deviations[:, None])
    across = Sketches(second.forms, second.means[None], second.deviations[None])
    alike = (cosines >= ALIKE * _UNIT**2) & match_by_forms(spread, across, rule)
    return np.asarray(alike | match_plainly(first, second, rule))


@cache
def _waves() -> NDArray[np.float32]:
    """(waves, pixels of the frame): cosines by rows and columns, without their plane, weighed."""
    axis = np.arange(FRAME)
    lines = np.cos(np.pi * (2 * axis + 1) * np.arange(FREQUENCIES)[:, None] / (2 * FRAME))
    lines /= np.sqrt(np.square(lines).sum(axis=1, keepdims=True))
    waves = np.einsum("ky,lx->klyx", lines, lines).reshape(FREQUENCIES**2, FRAME**2)[1:]
    down, across = np.mgrid[:FRAME, :FRAME].reshape(2, -1) - (FRAME - 1) / 2
    plane, _ = np.linalg.qr(np.stack([np.ones(FRAME**2), down, across], axis=1))
    waves -= (waves @ plane) @ plane.T
    by_rows, by_columns = np.mgrid[:FREQUENCIES, :FREQUENCIES].reshape(2, -1)[:, 1:]
    frequency = np.hypot(by_rows, by_columns)
    weights = frequency * np.exp(-np.square(frequency / _PEAK))
    return np.asarray(waves * weights[:, None], dtype=np.float32)
