"""The small exact summary of an image that bounds distances: brightness sums of 4 x 4 blocks.

For two images and any set of pixels made of whole blocks, the squared difference of the blocks'
sums, divided by the number of values in a block, never exceeds the true squared distance
(Cauchy-Schwarz). All numbers are integers, so a pair that the bound rejects is certainly no edge.
"""

import numpy as np
from numpy.typing import NDArray

from workers.analysis.distances import edge_limit, tile_grid

BLOCK = 4


def describe(pixels: NDArray[np.uint8]) -> bytes:
    """Sum R + G + B over each whole 4 x 4 block, row by row: int16, little-endian.

    `pixels` is (height, width, 3) uint8. Pixels beyond the last whole block are left out, so a
    side under 4 gives an empty descriptor.
    """
    return block_sums(pixels).astype("<i2").tobytes()


def block_sums(pixels: NDArray[np.uint8]) -> NDArray[np.int64]:
    """The sums that `describe` stores: (height // 4, width // 4) int64, each at most 12,240."""
    rows, columns = pixels.shape[0] // BLOCK, pixels.shape[1] // BLOCK
    whole = pixels[: rows * BLOCK, : columns * BLOCK].sum(axis=2, dtype=np.int64)
    return np.asarray(whole.reshape(rows, BLOCK, columns, BLOCK).sum(axis=(1, 3)))


def candidates(
    descriptors: list[bytes], height: int, width: int, tiles: int, threshold: float
) -> NDArray[np.bool_]:
    """Which pairs may be edges: True for every true edge, and for whatever the bound cannot reject.

    `descriptors` are of images of height x width; the result is (n, n) bool, symmetric, False on
    the diagonal. The tiles and the threshold are those of `workers.analysis.distances`.
    """
    count, rows, columns = len(descriptors), height // BLOCK, width // BLOCK
    sums = np.frombuffer(b"".join(descriptors), "<i2").reshape(count, rows, columns)
    possible = np.ones((count, count), dtype=np.bool_)
    for tile_rows, tile_columns in tile_grid(height, width, tiles):
        inside = sums[:, _whole_blocks(tile_rows), _whole_blocks(tile_columns)]
        values = (tile_rows.stop - tile_rows.start) * (tile_columns.stop - tile_columns.start) * 3
        limit = edge_limit(threshold, values) * BLOCK * BLOCK * 3
        possible &= _squared(inside.reshape(count, inside[0].size if count else 0)) <= limit
    np.fill_diagonal(possible, False)
    return possible


def _whole_blocks(side: slice) -> slice:
    first, last = -(-side.start // BLOCK), side.stop // BLOCK
    return slice(first, max(first, last))


def _squared(flat: NDArray[np.int16]) -> NDArray[np.float64]:
    """Squared distances of all rows; sums stay below 2 ** 53, so float64 holds them exactly."""
    exact = flat.astype(np.float64)
    gram = exact @ exact.T
    norms = gram.diagonal()
    return np.asarray(norms[:, None] + norms[None, :] - 2.0 * gram)
