"""Exact inner products of images, all that distances are made of: on the CPU or on a device."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seedsweep.storage.errors import ConfigError

Products = Callable[[NDArray[np.uint8], NDArray[np.uint8]], NDArray[np.float64]]
"""Rows (m, values) and rows (n, values) uint8 -> (m, n) float64, the inner products of all pairs of
rows once 128 is subtracted from each value: integers, and exact."""

# 128² · 1024 = 2²⁴: float32 holds every partial sum of that many products, in any order.
PRODUCTS_PER_SUM = 1024


def products(first: NDArray[np.uint8], second: NDArray[np.uint8]) -> NDArray[np.float64]:
    """`Products` by NumPy; rows with themselves (the same object twice) cost half."""
    total = np.zeros((len(first), len(second)), dtype=np.float64)
    for start in range(0, first.shape[1], PRODUCTS_PER_SUM):
        part = slice(start, start + PRODUCTS_PER_SUM)
        left = _centred(first[:, part])
        total += left @ (left if second is first else _centred(second[:, part])).T
    return total


def paired_products(first: NDArray[np.uint8], second: NDArray[np.uint8]) -> NDArray[np.float64]:
    """As `Products`, of each row of the first (n, values) with that of the second at its place:
    (n,)."""
    total = np.zeros(len(first), dtype=np.float64)
    for start in range(0, first.shape[1], PRODUCTS_PER_SUM):
        part = slice(start, start + PRODUCTS_PER_SUM)
        total += np.einsum("ij,ij->i", _centred(first[:, part]), _centred(second[:, part]))
    return total


def _centred(values: NDArray[np.uint8]) -> NDArray[np.float32]:
    centred = values.astype(np.float32)
    centred -= 128.0
    return centred


MaskedSums = Callable[
    [NDArray[np.uint8], NDArray[np.bool_], NDArray[np.float64]],
    tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]],
]
"""Pictures (n, height, width, 3) uint8, a mask (height, width) of k pixels and values (k, 3) of
these, less 128 -> of each picture's values there, less 128: their sums (n, 3) by channel, the sum
of their squares (n,), and that of their products with the values (n,): integers, and exact."""


def masked_sums(
    pictures: NDArray[np.uint8], mask: NDArray[np.bool_], values: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """`MaskedSums` by NumPy."""
    inside = pictures[:, mask].astype(np.float64) - 128.0
    flat = inside.reshape(len(inside), values.size)
    return inside.sum(axis=1), np.einsum("ij,ij->i", flat, flat), flat @ values.ravel()


class TorchMaskedSums:
    """`MaskedSums` by torch on a device such as `cuda:0`, equal to those of `masked_sums`.

    All is in float64, which such sums of whole numbers cannot leave, whatever their order. Pictures
    stay on the device until others come: many parts are looked for in each block. A device that is
    not there is refused: ConfigError.
    """

    def __init__(self, device: str) -> None:
        import torch

        self._torch = torch
        self._pictures: NDArray[np.uint8] | None = None
        try:
            self._device = torch.device(device)
            self._there = torch.zeros(1, device=self._device)
        except (RuntimeError, AssertionError) as error:
            raise ConfigError(
                f"Torch cannot compute on {device} ({error}); verify with --device cpu."
            ) from error

    def __call__(
        self, pictures: NDArray[np.uint8], mask: NDArray[np.bool_], values: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        if self._pictures is not pictures:
            self._there = self._on_device(pictures.reshape(len(pictures), mask.size, 3))
            self._pictures = pictures
        places = self._on_device(np.flatnonzero(mask))
        inside = self._there.index_select(1, places).double().sub_(128)
        flat = inside.reshape(len(inside), values.size)
        products = flat @ self._on_device(values.ravel())
        sums = inside.sum(dim=1), flat.square().sum(dim=1), products
        one, two, three = (np.asarray(each.cpu().numpy()) for each in sums)
        return one, two, three

    def _on_device(self, values: NDArray[Any]) -> Any:
        # A copy: torch warns of arrays that it may not write to.
        return self._torch.from_numpy(values.copy()).to(self._device)


class TorchProducts:
    """`Products` by torch on a device such as `cuda:0`, equal to those of `products`.

    All is in IEEE float32, which a sum of `PRODUCTS_PER_SUM` products cannot leave. TF32 and
    bfloat16 hold -128 to 127 exactly as well, but would be exact only where products are added
    in accumulators of 24 bits or more and the sums come out as float32: neither is relied on. A
    device that is not there, or computes something else all the same, is refused: ConfigError.
    """

    def __init__(self, device: str) -> None:
        import torch

        torch.set_float32_matmul_precision("highest")
        self._torch = torch
        self._device = torch.device(device)
        try:
            self._refuse_inexact()
        except (RuntimeError, AssertionError) as error:
            raise ConfigError(
                f"Torch cannot compute on {device} ({error}); analyse with --device cpu."
            ) from error

    def __call__(self, first: NDArray[np.uint8], second: NDArray[np.uint8]) -> NDArray[np.float64]:
        left = self._centred(first)
        right = left if second is first else self._centred(second)
        total = self._torch.zeros(
            (len(first), len(second)), dtype=self._torch.float64, device=self._device
        )
        for start in range(0, first.shape[1], PRODUCTS_PER_SUM):
            part = slice(start, start + PRODUCTS_PER_SUM)
            total += left[:, part] @ right[:, part].T
        return np.asarray(total.cpu().numpy())

    def _centred(self, values: NDArray[np.uint8]) -> Any:
        # A copy: torch warns of arrays that it may not write to.
        return self._torch.from_numpy(values.copy()).to(self._device).float().sub_(128)

    def _refuse_inexact(self) -> None:
        """Try the largest sums that can be, and odd ones, in which a lost bit would show."""
        rows = np.zeros((4, 2 * PRODUCTS_PER_SUM), np.uint8)
        rows[1] = 255
        rows[2] = 127
        rows[3] = np.arange(rows.shape[1]) * 37 % 251
        if not np.array_equal(self(rows, rows), products(rows, rows)):
            raise ConfigError(
                f"The device {self._device} does not multiply float32 matrices exactly; "
                "analyse with --device cpu."
            )
