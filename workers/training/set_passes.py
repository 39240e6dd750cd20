"""A training set read slice by slice, once for each thing that is asked of all of it, and never
held."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from seedsweep.storage.errors import TrainingSetError
from seedsweep.storage.settings.analysis import Verification
from seedsweep.storage.verification_results import Coverage
from seedsweep.workers.analysis.frames import frames_of
from seedsweep.workers.analysis.part_matching import PartRanking
from seedsweep.workers.analysis.ranked import NOWHERE, Ranked, nothing, take_in
from seedsweep.workers.training.copy_counts import CopyCounts
from seedsweep.workers.training.distinct_neighbours import KnownPicture
from seedsweep.workers.training.picture_set import PictureSet
from seedsweep.workers.training.pictures import Reading
from seedsweep.workers.training.search_actors import Searchers
from seedsweep.workers.training.slice_queries import (
    Fetched,
    PartQuery,
    PictureName,
    Query,
    by_slice,
)

Progress = Callable[[int, int], None]
T = TypeVar("T", Fetched, PictureName)

_QUERY_BYTES = 1 << 28
_RANKED_BYTES = 1 << 26
"""So many bytes have the pictures that are looked for at once, and what is known of them."""

_COUNTED = 256
"""Of so many pictures the copies are counted as the set is read, in 100 MB; of more, from a summary
of every picture."""


class SetPasses:
    """Passes through a training set, on Ray actors. `progress` is told how many slices were read,
    and of how many; `expected` is how many passes come for certain.

    What is asked again raises `TrainingSetError` if the set changed meanwhile.
    """

    def __init__(
        self,
        crew: Searchers,
        training: PictureSet,
        settings: Verification,
        progress: Progress,
        expected: int,
    ) -> None:
        self._crew, self._training, self._settings = crew, training, settings
        self._slices = training.slices
        self._progress, self._done, self._expected = progress, 0, expected * len(self._slices)
        self._sizes: dict[int, int] = {}
        self.peak_bytes = 0

    def expect_another(self) -> None:
        """Count one pass more."""
        self._expected += len(self._slices)

    def nearest(
        self,
        pictures: NDArray[np.uint8],
        count: int,
        known: Sequence[KnownPicture] = (),
    ) -> tuple[Ranked, list[int], Coverage]:
        """Read the set once for each block of pictures: of each the `count` nearest, and how many
        near-copies of each known picture there are, for many of which it is read once more."""
        ranked = nothing(len(pictures), count)
        at_once = known[:_COUNTED]
        copies = np.zeros(len(at_once), np.int64)
        coverages: list[Coverage] = []
        a_picture = math.prod(pictures.shape[1:])
        size = max(1, min(_QUERY_BYTES // a_picture, _RANKED_BYTES // (24 * count)))
        blocks = [slice(at, at + size) for at in range(0, max(1, len(pictures)), size)]
        self._expected += (len(blocks) - 1) * len(self._slices)
        for block in blocks:
            query = Query(pictures[block], self._settings, count).bounded()
            if at_once and not coverages:
                query = replace(query, known=frames_of(np.stack([one.pixels for one in at_once])))
            mine = Ranked(ranked.squared[block], ranked.positions[block], ranked.digests[block])
            readings: dict[int, Reading] = {}
            for matches in self._crew.search(self._slices, query, mine.reach):
                take_in(mine, matches.found)
                if len(query.known):
                    copies += matches.copies
                readings[matches.number] = matches.reading
                self._sizes[matches.number] = matches.reading.pictures
                self.peak_bytes = max(self.peak_bytes, matches.peak_bytes)
                self._step()
            coverages.append(self._coverage(readings))
        for coverage in coverages[1:]:
            self.require_same(coverage, coverages[0])
        others = self.count_copies(known[_COUNTED:], pictures.shape[1:], coverages[0])
        return ranked, [*copies.tolist(), *others], coverages[0]

    def parts(self, query: PartQuery, before: Coverage) -> list[PartRanking]:
        """Read the set once more: which pictures show each part."""
        self.expect_another()
        met = [PartRanking(query.most) for _ in query.parts]
        readings: dict[int, Reading] = {}
        for found in self._crew.search_parts(self._slices, query):
            readings[found.number] = found.reading
            for mine, other in zip(met, found.rankings, strict=True):
                mine.join(other)
            self._step()
        self.require_same(self._coverage(readings), before)
        return met

    def count_copies(
        self, known: Sequence[KnownPicture], shape: tuple[int, ...], before: Coverage
    ) -> list[int]:
        """Read the set once more: how many near-copies of each of these pictures there are."""
        if not known:
            return []
        self.expect_another()
        if len(known) <= _COUNTED:
            nobody = np.empty((0, *shape), np.uint8)
            _, copies, coverage = self.nearest(nobody, 1, known)
            self.require_same(coverage, before)
            return copies
        size = (shape[1], shape[0])
        counting = CopyCounts(self._crew, self._training, self._settings, size)
        counts, read = counting.count(known, self._sizes, self._step)
        if read != before.read:
            raise self._changed()
        return [int(count) for count in counts]

    def fetch(self, positions: NDArray[np.int64], query: Query) -> dict[int, Fetched]:
        """The pictures at these positions."""
        fetched = self._crew.fetch(self._slices, _places(positions), query)
        return self._all_of(positions, fetched)

    def named(self, positions: NDArray[np.int64], query: PartQuery) -> dict[int, PictureName]:
        """The names and captions of the pictures at these positions."""
        named = self._crew.named(self._slices, _places(positions), query)
        return self._all_of(positions, named)

    def require_same(self, coverage: Coverage, before: Coverage) -> None:
        """Raise `TrainingSetError` unless the same was read as before."""
        if coverage != before:
            raise self._changed()

    def _step(self, slices: int = 1) -> None:
        self._done += slices
        self._progress(self._done, self._expected)

    def _coverage(self, readings: Mapping[int, Reading]) -> Coverage:
        """What of the set was read, from what each slice says."""
        reading, training = Reading(), self._training
        for number in sorted(readings):
            reading.add(readings[number])
        left_out = training.contents.left_out
        return reading.coverage(str(training.path), training.listing, left_out)

    def _all_of(self, positions: NDArray[np.int64], found: Iterable[T]) -> dict[int, T]:
        """What was found by its position; raises if it is not all of these positions."""
        by_position = {one.position: one for one in found}
        if by_position.keys() != {*positions.ravel().tolist()} - {NOWHERE}:
            raise self._changed()
        return by_position

    def _changed(self) -> TrainingSetError:
        return TrainingSetError(
            f"The training set {self._training.path} changed while it was read; run this again."
        )


def _places(positions: NDArray[np.int64]) -> dict[int, list[int]]:
    """By the number of their slice the places of these positions."""
    return by_slice(int(position) for position in positions.flat if position != NOWHERE)
