"""One slice of a training set compared with many pictures at once, and pictures fetched from it."""

import re
import resource
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seedsweep.storage.prompt_results import Transform
from seedsweep.storage.records import Verification
from seedsweep.storage.verification_results import Coverage, Unreadable
from seedsweep.workers.analysis.near_copies import Frames, Reference, centres, frame_of, frames_of
from seedsweep.workers.analysis.running_nearest import Ranked, Ranking
from seedsweep.workers.training.pictures import prepare
from seedsweep.workers.training.slices import UNREADABLE, Slice, read_captions, read_slice

EXAMPLES = 5
"""Of what cannot be read, so many are named."""

PLACES = 1 << 32
"""The position of a picture in its training set is the number of its slice times this, and its
place in the slice."""

_ADDRESS = re.compile(r" at 0x[0-9a-f]+")
_BLOCK_BYTES = 1 << 23
_BLOCK_PICTURES = 4096


@dataclass(frozen=True, slots=True, eq=False)
class Query:
    """What to look for: the `count` training pictures nearest to each of `pictures`, (Q, height,
    width, 3) uint8. `settings` say how training pictures are brought to that size, and whether each
    counts mirrored as well. `known` are training pictures whose near-copies are counted, and left
    out of what is near: those of the `around[q]`-th for the q-th of `pictures`."""

    pictures: NDArray[np.uint8]
    settings: Verification
    count: int
    known: Frames = field(default_factory=lambda: frames_of(np.empty((0, 1, 1, 3), np.uint8)))
    around: tuple[int, ...] = ()

    @property
    def size(self) -> tuple[int, int]:
        """Width and height."""
        return int(self.pictures.shape[2]), int(self.pictures.shape[1])


@dataclass(slots=True)
class Reading:
    """How many pictures were met so far, how many of them could not be read, and which first;
    `broken` says which files end early."""

    pictures: int = 0
    unreadable: int = 0
    examples: list[Unreadable] = field(default_factory=list)
    broken: list[Unreadable] = field(default_factory=list)

    def add(self, other: "Reading") -> None:
        """Count what was met elsewhere as well."""
        self.pictures += other.pictures
        self.unreadable += other.unreadable
        self.examples = (self.examples + other.examples)[:EXAMPLES]
        self.broken += other.broken

    def coverage(self, path: str, listing: str) -> Coverage:
        """What of the set at `path` this reading comes to."""
        examples, broken = tuple(self.examples), tuple(self.broken)
        return Coverage(
            path=path,
            listing=listing,
            pictures=self.pictures,
            unreadable=self.unreadable,
            examples=examples,
            broken=broken,
        )


@dataclass(frozen=True, slots=True, eq=False)
class SliceMatches:
    """What the slice with this number holds. `copies` (known,) int64: how many near-copies of each
    known picture. `peak_bytes`: the most memory that the process which looked ever held."""

    number: int
    ranked: Ranked
    copies: NDArray[np.int64]
    reading: Reading
    peak_bytes: int


@dataclass(frozen=True, slots=True, eq=False)
class Fetched:
    """A training picture, at the size of the generations, and what is known of it."""

    position: int
    name: str
    pixels: NDArray[np.uint8]
    transform: Transform
    caption: str | None


class Searcher:
    """One actor: it holds nothing but the slice in hand."""

    def search(self, number: int, part: Slice, query: Query) -> SliceMatches:
        """As `search_slice`."""
        return search_slice(number, part, query)

    def fetch(self, number: int, part: Slice, places: Sequence[int], query: Query) -> list[Fetched]:
        """As `fetch_pictures`."""
        return fetch_pictures(number, part, places, query)

    def frames(
        self, number: int, part: Slice, places: Sequence[int], query: Query
    ) -> list[tuple[int, NDArray[np.uint8]]]:
        """As `fetch_frames`."""
        return fetch_frames(number, part, places, query)


def search_slice(number: int, part: Slice, query: Query) -> SliceMatches:
    """Compare every picture of the slice, the set's `number`-th, with all that is looked for.

    What cannot be read is counted. Memory is bounded by a few MB, whatever the slice holds, beside
    the query, 0.4 MB for each known picture, and a page of a Parquet file or one stored picture.
    """
    width, height = query.size
    flat = query.pictures.reshape(len(query.pictures), 3 * width * height)
    mirrored = query.pictures[:, :, ::-1].reshape(flat.shape) if query.settings.flip else None
    ranking, reading = Ranking(flat, query.count, mirrored), Reading()
    rule, flip = query.settings.near_copies, query.settings.flip
    known = [Reference(frame, rule, flip) for frame in query.known]
    copies = np.zeros(len(known), np.int64)
    pictures = readable_pictures(part, query.settings, query.size, reading)
    block = max(1, min(_BLOCK_PICTURES, _BLOCK_BYTES // flat.shape[1]))
    while some := list(islice(pictures, block)):
        stacked = np.stack([pixels for _, _, pixels, _ in some])
        positions = np.array([place for place, _, _, _ in some]) + number * PLACES
        without = None
        if known:
            met = centres(frames_of(stacked))
            near = np.stack([reference.copies(met) for reference in known])
            copies += near.sum(axis=1)
            without = near[list(query.around)]
        ranking.add(stacked.reshape(len(some), flat.shape[1]), positions, without)
    return SliceMatches(number, ranking.ranked, copies, reading, _peak_bytes())


def fetch_pictures(number: int, part: Slice, places: Sequence[int], query: Query) -> list[Fetched]:
    """The pictures at these places of the slice, without those that cannot be read any more."""
    wanted = set(places)
    pictures = list(
        readable_pictures(part, query.settings, query.size, Reading(), wanted.__contains__)
    )
    captions = read_captions(part, [name for _, name, _, _ in pictures])
    return [
        Fetched(number * PLACES + place, name, pixels, transform, captions.get(name))
        for place, name, pixels, transform in pictures
    ]


def fetch_frames(
    number: int, part: Slice, places: Sequence[int], query: Query
) -> list[tuple[int, NDArray[np.uint8]]]:
    """As `fetch_pictures`, of each only its position and its frame."""
    read = readable_pictures(part, query.settings, query.size, Reading(), set(places).__contains__)
    return [(number * PLACES + place, frame_of(pixels)) for place, _, pixels, _ in read]


def readable_pictures(
    part: Slice,
    settings: Verification,
    size: tuple[int, int],
    reading: Reading,
    wanted: Callable[[int], bool] = lambda place: True,
) -> Iterator[tuple[int, str, NDArray[np.uint8], Transform]]:
    """The pictures at the places of the slice that are `wanted`, as (place, name, pixels, what was
    done to them); `reading` counts all that are met."""
    first = reading.pictures
    try:
        for name, read in read_slice(part):
            place = reading.pictures - first
            reading.pictures += 1
            if wanted(place) and (made := _prepared(name, read, settings, size, reading)):
                yield place, name, *made
    except UNREADABLE as error:
        lost = max(0, (part.count or 0) - (reading.pictures - first))
        reading.pictures += lost
        reading.unreadable += lost
        reading.broken.append(Unreadable(name=part.name, reason=in_short(error)))


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


def _peak_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
