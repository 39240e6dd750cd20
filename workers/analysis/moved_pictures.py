"""Pictures and masks laid where another picture shows the same: shifted, mirrored, or scaled.

What is scaled is read between pixels, by Catmull and Rom's cubic (1974) at sixteenths of a pixel,
down first and then across: in whole numbers, so that the same picture comes out on every machine.
"""

from __future__ import annotations

from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from seedsweep.storage.prompt_results import Scaling, Shift

T = TypeVar("T", bound=np.generic)

PARTS = 16
"""A place is told in so many parts of a pixel."""

WHOLE = 1000
"""So many thousandths are the same size."""

_PART = np.arange(PARTS, dtype=np.int32)
_SHARES = np.array(
    [
        -_PART * (PARTS - _PART) ** 2,
        3 * _PART**3 - 5 * _PART**2 * PARTS + 2 * PARTS**3,
        -3 * _PART**3 + 4 * _PART**2 * PARTS + _PART * PARTS**2,
        -(_PART**2) * (PARTS - _PART),
    ]
)
"""What counts, in 8,192ths, of the pixel before a place, the next three, by its part of a pixel."""

Places = NDArray[np.int64]
"""Of each row or column where it is read, in sixteenths of a pixel from the first one's middle."""

Numbers = int | NDArray[np.int64]


def moved(picture: NDArray[T], shift: Shift) -> NDArray[T]:
    """A picture or mask (height, width, …) as it is laid on another: what it shows at the shift
    comes to where the other has it. Black where it shows nothing."""
    turned = picture[:, ::-1] if shift.mirrored else picture
    if shift.scaling:
        height, width = picture.shape[:2]
        return read_at(turned, rows_of(shift, height), columns_of(shift, width))
    to_rows, rows = _overlap(shift.down, picture.shape[0])
    to_columns, columns = _overlap(shift.right, picture.shape[1])
    laid = np.zeros_like(picture)
    laid[to_rows, to_columns] = turned[rows, columns]
    return laid


def moved_back(picture: NDArray[T], shift: Shift) -> NDArray[T]:
    """What undoes `moved`, but for what then left the picture, and for what reading between pixels
    smooths."""
    if shift.scaling:
        height, width = picture.shape[:2]
        rows = _back(PARTS * shift.down + shift.scaling.down, shift.scaling, height)
        columns = _back(PARTS * shift.right + shift.scaling.right, shift.scaling, width)
        back = read_at(picture, rows, columns)
    else:
        back = moved(picture, Shift(down=-shift.down, right=-shift.right))
    return back[:, ::-1] if shift.mirrored else back


def scaled_by(thousandths: int, down: int, right: int, mirrored: bool) -> Shift:
    """The shift of so many thousandths of the size, and of sixteenths of a pixel."""
    (whole_down, down), (whole_right, right) = divmod(down, PARTS), divmod(right, PARTS)
    scaling = Scaling(thousandths=thousandths, down=down, right=right)
    return Shift(down=whole_down, right=whole_right, mirrored=mirrored, scaling=scaling)


def rows_of(shift: Shift, height: int) -> Places:
    """Where the rows of a picture as it is laid are read in it."""
    scaling = shift.scaling
    return places(
        PARTS * shift.down + (scaling.down if scaling else 0),
        scaling.thousandths if scaling else WHOLE,
        height,
    )


def columns_of(shift: Shift, width: int) -> Places:
    """Where its columns are read."""
    scaling = shift.scaling
    return places(
        PARTS * shift.right + (scaling.right if scaling else 0),
        scaling.thousandths if scaling else WHOLE,
        width,
    )


def places(step: Numbers, thousandths: Numbers, length: int) -> Places:
    """Where `length` rows or columns are read: each as far from the middle as the scale says, to
    the next sixteenth, and so many sixteenths further. Of several (n,) at once: (n, length)."""
    steps, scales = (np.asarray(each, np.int64)[..., None] for each in (step, thousandths))
    away = PARTS // 2 * (2 * np.arange(length) - (length - 1))
    scaled = (2 * away * scales + WHOLE) // (2 * WHOLE)
    return np.asarray(scaled + (PARTS // 2 * (length - 1) + steps), np.int64)


def _back(step: int, scaling: Scaling, length: int) -> Places:
    """Where they are read to undo that."""
    away = PARTS // 2 * (2 * np.arange(length) - (length - 1)) - step
    whole = (2 * away * WHOLE + scaling.thousandths) // (2 * scaling.thousandths)
    return np.asarray(whole + PARTS // 2 * (length - 1), np.int64)


def read_at(picture: NDArray[T], rows: Places, columns: Places) -> NDArray[T]:
    """What a picture (height, width, …) of uint8 has at these places, or a mask of bool at the
    nearest pixel; black at places outside."""
    read: NDArray[Any]
    if picture.dtype == np.bool_:
        nearest = [
            np.clip((at + PARTS // 2) // PARTS, 0, length - 1)
            for at, length in zip((rows, columns), picture.shape[:2], strict=True)
        ]
        read = picture[np.ix_(*nearest)]
    else:
        # 128 to a level after the rows, which 8,192 to a pixel's weights make 2²⁰.
        down = (_between(picture, rows, 0) + 32) >> 6
        read = np.clip((_between(down, columns, 1) + (1 << 19)) >> 20, 0, 255)
    read[~_inside(rows, picture.shape[0])] = 0
    read[:, ~_inside(columns, picture.shape[1])] = 0
    return read.astype(picture.dtype)


def read_all_at(
    pictures: NDArray[np.float32], rows: Places, columns: Places
) -> NDArray[np.float32]:
    """As `read_at`, of pictures (n, height, width) of whole numbers from 0 to 255, each at rows
    (n, any) and columns (n, any) of its own."""
    # Weights of 8,192 in all, no more than 5/4 of that without signs: sums are below 2²⁴ first,
    # which float32 holds, and below 2³⁰ then.
    down = _weights(rows, pictures.shape[1]) @ pictures
    down += 32.0
    down *= 2.0**-6
    np.floor(down, out=down)
    across = _weights(columns, pictures.shape[2]).astype(np.float64)
    read = down.astype(np.float64) @ across.swapaxes(1, 2)
    read += 2.0**19
    read *= 2.0**-20
    np.floor(read, out=read)
    return np.clip(read, 0.0, 255.0, out=read).astype(np.float32)


def _weights(at: Places, length: int) -> NDArray[np.float32]:
    """The weights (n, any, length) of an axis' pixels at places (n, any), none for one outside."""
    first, part = np.divmod(at, PARTS)
    weights = np.zeros((*at.shape, length), np.float32)
    flat, begin = weights.reshape(-1), length * np.arange(at.size)
    shares = _SHARES[:, part.ravel()] * _inside(at, length).ravel()
    for step, share in enumerate(shares, start=-1):
        flat[begin + np.clip(first.ravel() + step, 0, length - 1)] += share
    return weights


def whole_in(
    spans: tuple[NDArray[np.intp], NDArray[np.intp]], rows: Places, columns: Places
) -> NDArray[np.bool_]:
    """Which of some regions (n,) a picture has whole where its rows and columns are read so, by
    their first and last ends (n, 2), down and across; of several pictures' rows and columns, by
    picture (…, n)."""
    starts, stops = spans
    whole = np.ones((*rows.shape[:-1], len(starts)), np.bool_)
    for axis, at in enumerate((rows, columns)):
        inside = _inside(at, at.shape[-1])
        # Places ascend, so that what lies between two that are inside is inside.
        whole &= inside[..., starts[:, axis]] & inside[..., stops[:, axis] - 1]
    return whole


def _inside(at: Places, length: int) -> NDArray[np.bool_]:
    return (at >= 0) & (at <= PARTS * (length - 1))


def _between(values: NDArray[Any], at: Places, axis: int) -> NDArray[np.int32]:
    """8,192 times what the values are at these places of an axis."""
    first, part = np.divmod(at, PARTS)
    length = values.shape[axis]
    shape = [1] * values.ndim
    shape[axis] = -1
    weights = _SHARES[:, part]
    size = (*values.shape[:axis], len(at), *values.shape[axis + 1 :])
    total = np.zeros(size, np.int32)
    for step, weight in enumerate(weights, start=-1):
        near = values.take(np.clip(first + step, 0, length - 1), axis=axis).astype(np.int32)
        near *= weight.reshape(shape)
        total += near
    return total


def _overlap(step: int, length: int) -> tuple[slice, slice]:
    """Which places of a row are filled by a shift of so many, and with which."""
    return (
        slice(max(0, -step), max(0, min(length, length - step))),
        slice(max(0, step), max(0, min(length, length + step))),
    )
