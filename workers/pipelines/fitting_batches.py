"""Batches of seeds that fit in a device's memory, each padded to one shape."""

from collections.abc import Callable, Sequence
from typing import TypeVar

import torch

Made = TypeVar("Made")


class FittingBatches:
    """Halves a batch until it fits.

    The largest batch that fitted is remembered for each width, height and most wanted size: the
    next call starts with it. Another width, height or most wanted size starts at its own.
    """

    def __init__(self) -> None:
        self._fitting: dict[tuple[int, int, int], int] = {}

    def make(
        self,
        seeds: Sequence[int],
        size: tuple[int, int],
        most: int,
        make: Callable[[Sequence[int], int], list[Made]],
        free: Callable[[], None],
    ) -> list[Made]:
        """What `make` makes of batches of the seeds, each of the size that it is told.

        `size`: width and height of the pictures; `most` make one batch at first. `free` frees what
        a batch that did not fit left on the device. Raises `torch.OutOfMemoryError` if a batch of
        one does not fit.
        """
        made: list[Made] = []
        shape = (*size, most)
        batch_size = self._fitting.get(shape, most)
        while len(made) < len(seeds):
            batch = seeds[len(made) : len(made) + batch_size]
            try:
                made += make(batch, batch_size)
                self._fitting[shape] = batch_size
                continue
            except torch.OutOfMemoryError:
                if batch_size == 1:
                    raise
            # Only now is the exception gone, and with it the tensors that its frames held.
            batch_size //= 2
            free()
            torch.cuda.empty_cache()
        return made


def padded_seeds(seeds: Sequence[int], batch_size: int) -> list[int]:
    """So many seeds: these, and the last one again and again."""
    return [*seeds, *[seeds[-1]] * (batch_size - len(seeds))]
