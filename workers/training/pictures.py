"""The one reader of training pictures: what can be read, and a count of all that cannot."""

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seedsweep.storage.errors import TrainingSetError
from seedsweep.storage.prompt_results import Transform
from seedsweep.storage.settings.analysis import Verification
from seedsweep.storage.verification_results import Coverage, Omitted, Unreadable
from seedsweep.workers.training.file_kinds import left_out_words, not_readable
from seedsweep.workers.training.preparation import prepare
from seedsweep.workers.training.slices import (
    UNREADABLE,
    PictureColumn,
    Slice,
    cut_training_set,
    read_slice,
)

EXAMPLES = 5
"""Of what cannot be read, so many are named."""

_ADDRESS = re.compile(r" at 0x[0-9a-f]+")


@dataclass(slots=True)
class Reading:
    """How many pictures were met so far, how many of them could not be read, and which first;
    `broken` says which files end early, `left_out` counts what is no picture."""

    pictures: int = 0
    unreadable: int = 0
    examples: list[Unreadable] = field(default_factory=list)
    broken: list[Unreadable] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)

    def add(self, other: "Reading") -> None:
        """Count what was met elsewhere as well."""
        self.pictures += other.pictures
        self.unreadable += other.unreadable
        self.examples = (self.examples + other.examples)[:EXAMPLES]
        self.broken += other.broken
        self.left_out += other.left_out

    def coverage(self, path: str, listing: str, left_out: Mapping[str, int]) -> Coverage:
        """What of the set at `path` this reading comes to; `left_out` are its folder's files that
        are not read."""
        counts = self.left_out + Counter(left_out)
        return Coverage(
            path=path,
            listing=listing,
            pictures=self.pictures,
            unreadable=self.unreadable,
            examples=tuple(self.examples),
            broken=tuple(self.broken),
            left_out=tuple(Omitted(kind=kind, count=counts[kind]) for kind in sorted(counts)),
        )


def read_pictures(
    settings: Verification,
    width: int,
    height: int,
    reading: Reading | None = None,
    wanted: Callable[[str], bool] = lambda name: True,
) -> Iterator[tuple[str, NDArray[np.uint8], Transform]]:
    """The training pictures that are `wanted` by name, in order, one at a time: (name, pixels
    (height, width, 3) uint8, what was done to it); the others are not decoded.

    They are prepared as `prepare` says. What cannot be read is counted in `reading`, and the others
    come all the same. Raises `TrainingSetError` where there is no training set.
    """
    met = reading or Reading()
    for part in _slices(settings):
        read = readable_pictures(part, settings, (width, height), met, named=wanted)
        yield from ((name, pixels, transform) for _, name, pixels, transform in read)


def readable_pictures(
    part: Slice,
    settings: Verification,
    size: tuple[int, int],
    reading: Reading,
    wanted: Callable[[int], bool] = lambda place: True,
    named: Callable[[str], bool] = lambda name: True,
) -> Iterator[tuple[int, str, NDArray[np.uint8], Transform]]:
    """The pictures at the places of the slice that are `wanted`, and `named` so, as (place, name,
    pixels, what was done to them); `reading` counts all that are met."""
    first, left_out = reading.pictures, Counter[str]()
    try:
        for name, read in read_slice(part, left_out):
            place = reading.pictures - first
            reading.pictures += 1
            is_wanted = wanted(place) and named(name)
            if is_wanted and (made := _prepared(name, read, settings, size, reading)):
                yield place, name, *made
    except UNREADABLE as error:
        rows = reading.pictures - first + left_out.total()
        lost = max(0, (part.count or 0) - rows)
        reading.pictures += lost
        reading.unreadable += lost
        reading.broken.append(Unreadable(name=part.name, reason=in_short(error)))
    reading.left_out += left_out


def refuse_unreadable(settings: Verification, width: int, height: int) -> None:
    """Raise `TrainingSetError` unless a picture can be read; the first that can is the last that is
    looked at."""
    _refuse_unused(settings)
    reading = Reading()
    if next(read_pictures(settings, width, height, reading), None) is None:
        raise none_readable(reading.coverage(settings.training_set, "", {}))


def _slices(settings: Verification) -> list[Slice]:
    path = Path(settings.training_set)
    try:
        return cut_training_set(path, PictureColumn.of(settings))
    except (TrainingSetError, *UNREADABLE) as error:
        raise TrainingSetError(str(not_readable("training set", path, error))) from error


def _refuse_unused(settings: Verification) -> None:
    """Raise where the settings name a column or a folder that is of no use."""
    slices = _slices(settings)
    if settings.column and not any(part.column for part in slices):
        raise TrainingSetError(
            f"column = {settings.column!r} is set, but {settings.training_set} has no columns; "
            "remove it from [verification]."
        )
    if settings.folder and not any(part.names_files() for part in slices):
        raise TrainingSetError(
            f"folder = {settings.folder!r} is set, but {settings.training_set} has no column of "
            "paths; remove it from [verification], or set `column`."
        )


def none_readable(coverage: Coverage) -> TrainingSetError:
    """What to raise where no picture can be read."""
    said = [first_reason(coverage), *(sentences_on(coverage)[-1:] if coverage.left_out else [])]
    return TrainingSetError(
        f"None of {coverage.pictures:,} pictures of the training set {coverage.path} could be "
        f"read; name another one. {' '.join(filter(None, said))}".strip()
    )


def first_reason(coverage: Coverage) -> str:
    """A sentence on the first picture that could not be read, empty where all could."""
    for one in (*coverage.examples, *coverage.broken):
        return f"The first: {one.name} ({one.reason})."
    return ""


def sentences_on(coverage: Coverage) -> list[str]:
    """What could not be read, broke off and was left out: a sentence on each that there is."""
    sentences = []
    if coverage.examples:
        named = "; ".join(f"{one.name} ({one.reason})" for one in coverage.examples)
        which = "" if coverage.unreadable == len(coverage.examples) else ", the first"
        sentences.append(f"{coverage.unreadable:,} could not be read{which}: {named}.")
    if coverage.broken:
        first = coverage.broken[0]
        sentences.append(
            f"Files that could not be read to their end, and may hold more: {len(coverage.broken)}."
            f" The first: {first.name} ({first.reason})."
        )
    if coverage.left_out:
        counts = {each.kind: each.count for each in coverage.left_out}
        sentences.append(f"Left out: {left_out_words(counts)}.")
    return sentences


def in_words(coverage: Coverage) -> str:
    """What of the training set could be read, and what not, in a few sentences."""
    read = f"{coverage.read:,} of {coverage.pictures:,} pictures of the training set"
    return " ".join([f"{read} {coverage.path} could be read.", *sentences_on(coverage)])


def in_short(error: BaseException) -> str:
    """What was wrong, on one line, and the same when it happens again."""
    text = _ADDRESS.sub("", f"{type(error).__name__}: {error}")
    return " ".join(text.split())[:200]


def _prepared(
    name: str,
    read: Callable[[], Any],
    settings: Verification,
    size: tuple[int, int],
    reading: Reading,
) -> tuple[NDArray[np.uint8], Transform] | None:
    try:
        return prepare(read(), settings, *size)
    except UNREADABLE as error:
        reading.unreadable += 1
        if len(reading.examples) < EXAMPLES:
            reading.examples.append(Unreadable(name=name, reason=in_short(error)))
        return None
