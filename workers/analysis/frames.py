"""Pictures of any size averaged to one of 64 × 64 pixels, in which copies are compared.

All sums are of whole numbers and exact: a frame is the same on every machine, whatever is beside
it.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

FRAME = 64

_TOGETHER = 1 << 19
"""Of so many values frames are made at once, in 20 MB."""

Frames = NDArray[np.uint8]
"""Pictures averaged to the frame: (n, 64, 64, 3) uint8."""


def frame_of(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The picture (height, width, 3) uint8 averaged over areas to (64, 64, 3) uint8, and smoothed
    by (1, 2, 1) / 4 both ways, which takes off what storing a small picture alters most."""
    return np.asarray(frames_of(picture[None])[0])


def frames_of(pictures: NDArray[np.uint8]) -> Frames:
    """Pictures (n, height, width, 3) uint8 as frames; n may be 0."""
    frames = np.empty((len(pictures), FRAME, FRAME, 3), np.uint8)
    step = max(1, _TOGETHER // max(1, pictures[:1].size, frames[:1].size))
    for at in range(0, len(pictures), step):
        frames[at : at + step] = _smoothed(_averaged(pictures[at : at + step]))
    return frames


def _averaged(pictures: NDArray[np.uint8]) -> NDArray[np.uint8]:
    count, height, width, _ = pictures.shape
    if (height, width) == (FRAME, FRAME):
        return pictures
    # By rows first, of all channels at once: (n, 64, 3, width).
    across = np.ascontiguousarray(np.moveaxis(pictures, 3, 2)).reshape(count, height, 3 * width)
    sums = (_areas(height) @ across.astype(np.float64)).reshape(3 * FRAME * count, width)
    sums = sums @ _areas(width).T
    averaged = rounded(sums, height * width).reshape(count, FRAME, 3, FRAME)
    return np.moveaxis(averaged, 2, 3)


def _smoothed(pictures: NDArray[np.uint8]) -> NDArray[np.uint8]:
    # By hand: of one picture `np.pad` takes longer than all the rest.
    padded = np.empty((len(pictures), FRAME + 2, FRAME + 2, 3), np.uint16)
    padded[:, 1:-1, 1:-1] = pictures
    padded[:, 0, 1:-1], padded[:, -1, 1:-1] = pictures[:, 0], pictures[:, -1]
    padded[:, :, 0], padded[:, :, -1] = padded[:, :, 1], padded[:, :, -2]
    across = padded[:, :, 1:-1] * np.uint16(2)
    across += padded[:, :, :-2]
    across += padded[:, :, 2:]
    both = across[:, 1:-1] * np.uint16(2)
    both += across[:, :-2]
    both += across[:, 2:]
    both += np.uint16(8)
    both >>= np.uint16(4)
    return both.astype(np.uint8)


@lru_cache(maxsize=8)
def _areas(length: int) -> NDArray[np.float64]:
    """(64, length): how much of each pixel lies in each of the frame's, in 64ths of a pixel."""
    ends, pixels = np.arange(FRAME + 1) * length, np.arange(length + 1) * FRAME
    low = np.maximum(ends[:-1, None], pixels[None, :-1])
    high = np.minimum(ends[1:, None], pixels[None, 1:])
    return np.asarray(np.maximum(high - low, 0), dtype=np.float64)


def rounded(sums: NDArray[np.float64], total: int) -> NDArray[np.uint8]:
    """Whole `sums` divided by `total`, a half rounded up.

    A quotient that is no whole number is at least 1 / total below the next one: far more than
    float64 rounds off of numbers up to 255.
    """
    return np.asarray((sums + total // 2) / total).astype(np.uint8)
