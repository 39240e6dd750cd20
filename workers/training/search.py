"""A training set of any size searched for pictures, exactly.

It is read slice by slice and never held: once for the training picture nearest to each one, once
for what lies around the pictures that were matched, and where a picture near those was repeated
often, once more for what lies beyond its copies.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from seedsweep.storage.errors import TrainingSetError
from seedsweep.storage.prompt_results import Shift
from seedsweep.storage.settings.analysis import PartRule, Verification
from seedsweep.storage.verification_results import Coverage
from seedsweep.workers.analysis.matching import (
    GROWTH,
    SMALL_IMAGE_SIDE,
    SPARE,
    TrainingMatch,
    distinct_l2,
    is_nearer_mirrored,
    match_of,
)
from seedsweep.workers.analysis.near_copies import frame_of
from seedsweep.workers.analysis.part_matching import MaskedPicture, PartRanking, PartReference
from seedsweep.workers.analysis.running_nearest import NOWHERE, Ranked, join, l2_of, nothing
from seedsweep.workers.training.picture_set import PictureSet
from seedsweep.workers.training.pictures import Reading, none_readable
from seedsweep.workers.training.search_actors import Searchers
from seedsweep.workers.training.slice_search import Fetched, PartQuery, Query, by_slice
from seedsweep.workers.training.slices import (
    PictureColumn,
)

Progress = Callable[[int, int], None]

SHOWING = 100
"""Of so many training pictures that show a part the captions are looked at."""

_FRAMES = 20_000
"""So many are held at once, in 250 MB."""


@dataclass(frozen=True, slots=True, eq=False)
class Matched:
    """What was found of each query, in their order: the training picture nearest to it, as it is
    nearer where mirrored ones count, and the match. `copies`, by the training picture's position:
    how many near-copies of it there are, itself among them. By the place of a query: `around`, the
    l2 to its distinct neighbours, without its near-copies, where that was asked for, and `own`,
    those beside its match."""

    fetched: list[Fetched]
    matches: list[TrainingMatch]
    copies: dict[int, int]
    around: dict[int, list[float]]
    own: dict[int, list[float]]
    coverage: Coverage


@dataclass(frozen=True, slots=True, eq=False)
class MatchedPart:
    """What was found of one part: the training picture `nearest` to it, where that shows it, the l2
    and the correlation of their pixels in the mask, once means are taken off, `copies`, how many
    training pictures show the part, and the captions of the first of these, by position."""

    nearest: Fetched
    shift: Shift
    l2: float
    correlation: float
    copies: int
    captions: tuple[str | None, ...]


class TrainingSearch:
    """Matches pictures with a training set of any size, on Ray actors; `tiles` are those of the
    tiled l2."""

    def __init__(
        self,
        crew: Searchers,
        training: PictureSet,
        settings: Verification,
        tiles: int,
        progress: Progress,
    ) -> None:
        self._crew, self._settings, self._tiles = crew, settings, tiles
        self._training = replace(training, column=PictureColumn.of(settings))
        self._progress, self._done, self._expected = progress, 0, 2 * len(self._training.slices)
        self.peak_bytes = 0

    def match(
        self, queries: NDArray[np.uint8], whole: int, surrounded: Sequence[int] = ()
    ) -> Matched:
        """Match all queries (Q, height, width, 3) uint8, of those beyond the first `whole` ones no
        more than has to be known to judge them: they may have no adaptive scores. What lies around
        the queries at the places `surrounded` is told as if they were training pictures.

        The result is that of comparing all pixels, as of `nearest_training`. Raises
        `TrainingSetError` where no picture can be read, or the set changes meanwhile.
        """
        settings = self._settings
        query = Query(queries, settings, 1)
        ranked, _, coverage = self._pass(query)
        if not coverage.read:
            raise none_readable(coverage)
        l2 = l2_of(ranked.squared[:, 0], math.prod(queries.shape[1:])).tolist()
        by_position = self._fetch(ranked.positions[:, 0], query)
        found = [by_position[int(position)] for position in ranked.positions[:, 0]]
        small = min(query.size) < SMALL_IMAGE_SIDE
        scored = [
            place
            for place in range(len(queries))
            if place < whole or (small and l2[place] <= settings.threshold)
        ]
        known = list({found[place].position: found[place] for place in scored}.values())
        order = {picture.position: place for place, picture in enumerate(known)}
        around, counts = self._look_around(
            [*(one.pixels for one in known), *(queries[place] for place in surrounded)],
            [(queries[place], order[found[place].position]) for place in scored],
            coverage,
        )
        of_training = dict(zip(order, around, strict=False))
        apart = dict(zip(surrounded, around[len(known) :], strict=False))
        own = dict(zip(scored, around[len(known) + len(surrounded) :], strict=True))
        copies = dict(zip(order, counts, strict=False))
        fetched = [
            self._as_it_is_nearer(one, picture) for one, picture in zip(found, queries, strict=True)
        ]
        matches = [
            match_of(
                index=one.position,
                l2=l2[place],
                image=queries[place],
                picture=one.pixels,
                tiles=self._tiles,
                flip=one.transform.flip,
                of_training=of_training[one.position] if place in own else (),
                of_generation=(l2[place], *own[place]) if place in own else (),
                settings=settings,
            )
            for place, one in enumerate(fetched)
        ]
        return Matched(fetched, matches, copies, apart, own, coverage)

    def match_parts(
        self, parts: Sequence[MaskedPicture], rule: PartRule, before: Coverage
    ) -> list[MatchedPart]:
        """Look for the parts in all training pictures; what is found of each, in their order, is
        that of comparing all pixels of the masks.

        Raises `TrainingSetError` where the set is no longer what was read `before`.
        """
        if not parts:
            return []
        query = PartQuery(tuple(parts), rule, self._settings, SHOWING)
        slices = self._training.slices
        self._expected += len(slices)
        met = [PartRanking(SHOWING) for _ in parts]
        readings: dict[int, Reading] = {}
        for found in self._crew.search_parts(slices, query):
            readings[found.number] = found.reading
            for mine, other in zip(met, found.rankings, strict=True):
                mine.join(other)
            self._step()
        if self._coverage(readings) != before:
            raise TrainingSetError(self._changed())
        one = Query(np.stack([parts[0].pixels]), self._settings, 1)
        nearest = self._fetch(np.array([seen.position for seen in met]), one)
        showing = np.array([position for seen in met for position in seen.positions], np.int64)
        captions = dict(self._crew.captions(slices, _places(showing), query))
        if captions.keys() != set(showing.tolist()):
            raise TrainingSetError(self._changed())
        return [
            MatchedPart(
                nearest=nearest[seen.position],
                shift=part.ways(self._settings.flip)[seen.way],
                l2=PartReference(part, rule).l2_of(seen.squared),
                correlation=seen.correlation,
                copies=seen.count,
                captions=tuple(captions[position] for position in seen.positions),
            )
            for part, seen in zip(parts, met, strict=True)
        ]

    def _as_it_is_nearer(self, fetched: Fetched, picture: NDArray[np.uint8]) -> Fetched:
        if not self._settings.flip or not is_nearer_mirrored(picture, fetched.pixels):
            return fetched
        transform = fetched.transform.model_copy(update={"flip": True})
        return replace(fetched, pixels=fetched.pixels[:, ::-1], transform=transform)

    def _look_around(
        self,
        known: Sequence[NDArray[np.uint8]],
        generations: Sequence[tuple[NDArray[np.uint8], int]],
        before: Coverage,
    ) -> tuple[list[list[float]], list[int]]:
        """The l2 to the distinct neighbours of `known` pictures, and then of generations without
        the known one, by its place, that they match; and how many near-copies of each known one
        there are."""
        if not known:
            return [], []
        frames = np.stack([frame_of(pixels) for pixels in known])
        pictures = np.stack([*known, *(pixels for pixels, _ in generations)])
        around = [*range(len(known)), *(place for _, place in generations)]
        neighbours = self._settings.neighbours
        most = [neighbours] * len(known) + [neighbours - 1] * len(generations)
        found: list[list[float]] = [[] for _ in pictures]
        left, count = list(range(len(pictures))), neighbours + SPARE
        copies = np.zeros(len(known), np.int64)
        while left:
            query = Query(
                pictures[left], self._settings, count, frames, tuple(around[i] for i in left)
            )
            ranked, counted, coverage = self._pass(query)
            if coverage != before:
                raise TrainingSetError(self._changed())
            copies, further = counted, []
            size = max(1, _FRAMES // count)
            for rows in (range(at, min(at + size, len(left))) for at in range(0, len(left), size)):
                met = self._frames(ranked.positions[rows.start : rows.stop], query)
                for row, place in ((row, left[row]) for row in rows):
                    there = [int(p) for p in ranked.positions[row] if p != NOWHERE]
                    near = l2_of(ranked.squared[row, : len(there)], pictures[place].size)
                    found[place] = distinct_l2(
                        frames[around[place]],
                        np.stack([frames[around[place]], *(met[p] for p in there)])[1:],
                        near.tolist(),
                        most[place],
                        self._settings,
                    )
                    if len(found[place]) < most[place] and len(there) == count:
                        further.append(place)
            left, count = further, GROWTH * count
            self._expected += len(self._training.slices) if left else 0
        return found, copies.tolist()

    def _pass(self, query: Query) -> tuple[Ranked, NDArray[np.int64], Coverage]:
        ranked = nothing(len(query.pictures), query.count)
        copies = np.zeros(len(query.known), np.int64)
        readings: dict[int, Reading] = {}
        for matches in self._crew.search(self._training.slices, query):
            ranked = join(ranked, matches.ranked)
            copies += matches.copies
            readings[matches.number] = matches.reading
            self.peak_bytes = max(self.peak_bytes, matches.peak_bytes)
            self._step()
        return ranked, copies, self._coverage(readings)

    def _step(self) -> None:
        self._done += 1
        self._progress(self._done, self._expected)

    def _coverage(self, readings: Mapping[int, Reading]) -> Coverage:
        """What of the set was read, from what each slice says."""
        reading, training = Reading(), self._training
        for number in sorted(readings):
            reading.add(readings[number])
        left_out = training.contents.left_out
        return reading.coverage(str(training.path), training.listing, left_out)

    def _fetch(self, positions: NDArray[np.int64], query: Query) -> dict[int, Fetched]:
        places = _places(positions)
        fetched = self._crew.fetch(self._training.slices, places, query)
        by_position = {item.position: item for item in fetched}
        if len(by_position) != sum(map(len, places.values())):
            raise TrainingSetError(self._changed())
        return by_position

    def _frames(self, positions: NDArray[np.int64], query: Query) -> dict[int, NDArray[np.uint8]]:
        places = _places(positions)
        only = Query(query.pictures[:1], query.settings, 1)
        frames = dict(self._crew.frames(self._training.slices, places, only))
        if len(frames) != sum(map(len, places.values())):
            raise TrainingSetError(self._changed())
        return frames

    def _changed(self) -> str:
        return f"The training set {self._training.path} changed while it was read; run this again."


def _places(positions: NDArray[np.int64]) -> dict[int, list[int]]:
    """By the number of their slice the places of these positions."""
    return by_slice(int(position) for position in positions.flat if position != NOWHERE)
