"""What a slice of a training set is asked, and what it answers."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from seedsweep.storage.prompt_results import Transform
from seedsweep.storage.settings.analysis import PartRule, Verification
from seedsweep.workers.analysis.coarse_bounds import Coarse
from seedsweep.workers.analysis.frames import Frames, frames_of
from seedsweep.workers.analysis.part_matching import MaskedPicture, PartRanking
from seedsweep.workers.analysis.ranked import NearPairs
from seedsweep.workers.training.pictures import Reading

PLACES = 1 << 32
"""The position of a picture in its training set is the number of its slice times this, and its
place in the slice."""


@dataclass(frozen=True, slots=True, eq=False)
class Query:
    """What to look for: the `count` training pictures nearest to each of `pictures`, (Q, height,
    width, 3) uint8. `settings` say how training pictures are brought to that size, and whether each
    counts mirrored as well. `known` are training pictures whose near-copies are counted. `coarse`:
    what bounds the distances of `pictures`, and of their mirror images if these count, or nothing
    where that is not worth telling every slice."""

    pictures: NDArray[np.uint8]
    settings: Verification
    count: int
    known: Frames = field(default_factory=lambda: frames_of(np.empty((0, 1, 1, 3), np.uint8)))

    coarse: tuple[Coarse, ...] = ()

    @property
    def size(self) -> tuple[int, int]:
        """Width and height."""
        return int(self.pictures.shape[2]), int(self.pictures.shape[1])

    def sides(self) -> list[NDArray[np.uint8]]:
        """The pictures as rows (Q, values), and their mirror images if these count."""
        width, height = self.size
        sides = [self.pictures.reshape(len(self.pictures), 3 * width * height)]
        if self.settings.flip:
            sides.append(self.pictures[:, :, ::-1].reshape(sides[0].shape))
        return sides

    def bounded(self) -> Query:
        """The same, with what bounds distances: a quarter more memory, for a block's every slice
        to share."""
        width, height = self.size
        return replace(
            self, coarse=tuple(Coarse.of(rows, (height, width)) for rows in self.sides())
        )


@dataclass(frozen=True, slots=True, eq=False)
class SliceMatches:
    """What the slice with this number holds: what was `found` near which picture. `copies` (known,)
    int64: how many near-copies of each known picture. `peak_bytes`: the most memory that the
    process which looked ever held."""

    number: int
    found: NearPairs
    copies: NDArray[np.int64]
    reading: Reading
    peak_bytes: int


@dataclass(frozen=True, slots=True, eq=False)
class PartQuery:
    """What to look for: pictures that show the `parts`, by the rule, of which `most` positions are
    told. `settings` as of `Query`."""

    parts: tuple[MaskedPicture, ...]
    rule: PartRule
    settings: Verification
    most: int

    @property
    def size(self) -> tuple[int, int]:
        """Width and height."""
        height, width = self.parts[0].mask.shape
        return int(width), int(height)


@dataclass(frozen=True, slots=True, eq=False)
class SliceParts:
    """What the slice with this number shows of each part."""

    number: int
    rankings: tuple[PartRanking, ...]
    reading: Reading


@dataclass(frozen=True, slots=True, eq=False)
class Fetched:
    """A training picture, at the size of the generations, and what is known of it."""

    position: int
    name: str
    pixels: NDArray[np.uint8]
    transform: Transform
    caption: str | None


@dataclass(frozen=True, slots=True)
class PictureName:
    """The name and the caption of a training picture."""

    position: int
    name: str
    caption: str | None


def by_slice(positions: Iterable[int]) -> dict[int, list[int]]:
    """By the number of their slice the places of these positions, in order and each once."""
    places: dict[int, list[int]] = defaultdict(list)
    for position in sorted(set(positions)):
        number, place = divmod(position, PLACES)
        places[number].append(place)
    return dict(places)
