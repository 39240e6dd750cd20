"""The small exact summary of an image that bounds distances.

It holds sums of brightness over fine blocks, and sums of colour and of squares over coarse ones:
what an orthogonal projection on block means keeps, and how much it leaves. All are integers, so
nothing is rounded, and equal pixels have equal descriptors on every machine.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seedsweep.storage.settings.sampling import Blocks


@dataclass(frozen=True, slots=True, eq=False)
class Summaries:
    """The descriptors of n images of one size as arrays; the i-th row is the i-th image.

    `brightness` (n, height // fine, width // fine) uint16: R + G + B summed over each fine block.
    `coarse_brightness` (n, height // coarse, width // coarse) int32: the same over coarse blocks.
    `red`, `blue` (n, height // coarse, width // coarse) uint16: their sums over each coarse block.
    `energy`, of that shape, uint32: the sum of the squares of all values in a coarse block.
    Blocks are counted from the top left corner, and only whole ones exist: there may be none.
    """

    blocks: Blocks
    brightness: NDArray[np.uint16]
    coarse_brightness: NDArray[np.int32]
    red: NDArray[np.uint16]
    blue: NDArray[np.uint16]
    energy: NDArray[np.uint32]

    def __len__(self) -> int:
        return len(self.brightness)

    def take(self, images: NDArray[np.intp]) -> Summaries:
        """The summaries of these images alone, in that order."""
        return Summaries(
            self.blocks,
            self.brightness[images],
            self.coarse_brightness[images],
            self.red[images],
            self.blue[images],
            self.energy[images],
        )


def describe(pixels: NDArray[np.uint8], blocks: Blocks) -> bytes:
    """The descriptor of an image (height, width, 3) uint8: its brightness, red, blue and energy as
    of `Summaries`, one after the other, row by row, little-endian; `descriptor_size` bytes."""
    brightness = pixels[..., 0].astype(np.uint16)
    brightness += pixels[..., 1]
    brightness += pixels[..., 2]
    squares = np.square(pixels.astype(np.uint16)).reshape(len(pixels), -1)
    parts = (
        _block_sums(brightness, blocks.fine, blocks.fine, "<u2"),
        _block_sums(pixels[..., 0], blocks.coarse, blocks.coarse, "<u2"),
        _block_sums(pixels[..., 2], blocks.coarse, blocks.coarse, "<u2"),
        _block_sums(squares, blocks.coarse, 3 * blocks.coarse, "<u4"),
    )
    return b"".join(part.tobytes() for part in parts)


def descriptor_size(height: int, width: int, blocks: Blocks) -> int:
    """How many bytes a descriptor of an image of this size has: at most 0.157 a pixel by default,
    40 KB at 512 x 512."""
    return sum(_part_sizes(height, width, blocks))


def summarise(descriptors: Sequence[bytes], height: int, width: int, blocks: Blocks) -> Summaries:
    """The descriptors of images of height x width, all made with these blocks, as arrays.
    ValueError for one whose length is not `descriptor_size`."""
    size = descriptor_size(height, width, blocks)
    if any(len(descriptor) != size for descriptor in descriptors):
        raise ValueError(f"a descriptor of {width} x {height} pixels has {size} bytes")
    table = np.frombuffer(b"".join(descriptors), np.uint8).reshape(len(descriptors), size)
    fine = height // blocks.fine, width // blocks.fine
    coarse = height // blocks.coarse, width // blocks.coarse
    ends = np.cumsum(_part_sizes(height, width, blocks))[:-1]
    brightness, red, blue, energy = np.split(table, ends, axis=1)
    sums = _view(brightness, "<u2", fine)
    return Summaries(
        blocks,
        sums,
        _coarser(sums, *coarse, blocks.coarse // blocks.fine),
        _view(red, "<u2", coarse),
        _view(blue, "<u2", coarse),
        _view(energy, "<u4", coarse),
    )


def _part_sizes(height: int, width: int, blocks: Blocks) -> tuple[int, int, int, int]:
    fine = (height // blocks.fine) * (width // blocks.fine)
    coarse = (height // blocks.coarse) * (width // blocks.coarse)
    return 2 * fine, 2 * coarse, 2 * coarse, 4 * coarse


def _view(part: NDArray[np.uint8], kind: str, shape: tuple[int, int]) -> NDArray[Any]:
    return np.ascontiguousarray(part).view(kind).reshape(len(part), *shape)


def _coarser(sums: NDArray[np.uint16], rows: int, columns: int, ratio: int) -> NDArray[np.int32]:
    whole = sums[:, : rows * ratio, : columns * ratio]
    strips = whole.reshape(len(sums), rows, ratio, columns * ratio).sum(axis=2, dtype=np.int32)
    return np.asarray(strips.reshape(len(sums), rows, columns, ratio).sum(axis=3, dtype=np.int32))


def _block_sums(
    values: NDArray[np.unsignedinteger[Any]], height: int, width: int, kind: str
) -> NDArray[Any]:
    rows, columns = values.shape[0] // height, values.shape[1] // width
    whole = values[: rows * height, : columns * width]
    # Down the rows first: that is where numpy adds long runs at once.
    strips = whole.reshape(rows, height, columns * width).sum(axis=1, dtype=kind)
    return np.asarray(strips.reshape(rows, columns, width).sum(axis=2, dtype=kind))
