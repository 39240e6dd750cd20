"""All captions of a training set, without reading a picture."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from seedsweep.storage.settings.analysis import Verification
from seedsweep.workers.training.picture_set import open_set
from seedsweep.workers.training.slices import (
    UNREADABLE,
    PictureColumn,
    Slice,
    read_captions,
    read_slice,
)


def training_captions(settings: Verification) -> Iterator[str]:
    """Yield the caption of each picture that has one, in the set's order; what of a file cannot be
    read is passed over. Raises `ConfigError` if there is no training set."""
    training = open_set(Path(settings.training_set), column=PictureColumn.of(settings))
    for part in training.slices:
        yield from read_captions(part, _names(part)).values()


def _names(part: Slice) -> list[str]:
    """What the slice's pictures are called. A row of a Parquet file without a picture counts."""
    if part.groups:
        return [f"{part.name}#{part.first_row + row}" for row in range(part.count or 0)]
    names = []
    with contextlib.suppress(*UNREADABLE):
        names += [name for name, _ in read_slice(part)]
    return names
