"""A training set of any size searched for pictures, exactly.

It is read slice by slice and never held: once for the training picture nearest to each one, once
for what lies around the pictures that were matched, and where a picture near those was repeated
often, once more for what lies beyond its copies. Of very many pictures as many are looked for at
once as a bounded memory holds.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from seedsweep.storage.errors import TrainingSetError
from seedsweep.storage.settings.analysis import PartRule, Verification
from seedsweep.storage.verification_results import Coverage
from seedsweep.workers.analysis.frames import frames_of
from seedsweep.workers.analysis.matching import (
    GROWTH,
    SMALL_IMAGE_SIDE,
    SPARE,
    PossibleMatch,
    TrainingMatch,
    are_nearer_mirrored,
    is_extracted,
    matches_of,
)
from seedsweep.workers.analysis.part_matching import MaskedPicture, PartRanking, PartReference
from seedsweep.workers.analysis.ranked import NOWHERE, Ranked, nothing, take_in
from seedsweep.workers.analysis.running_nearest import l2_of
from seedsweep.workers.training.copy_counts import CopyCounts
from seedsweep.workers.training.distinct_neighbours import (
    DistinctNeighbours,
    KnownPicture,
    Neighbourhood,
)
from seedsweep.workers.training.matched import Matched, MatchedPart
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

_QUERY_BYTES = 1 << 28
_RANKED_BYTES = 1 << 26
"""So many bytes have the pictures that are looked for at once, and what is known of them."""

_MATCHED_BYTES = 1 << 23

FEW, SPARE_OF_MANY = 1024, 12
"""Of more than so many pictures fewer spare neighbours are compared at first: another look at the
set, for those that have many near-copies around them, costs less than what is spared."""

_COUNTED = 256
"""Of so many pictures the copies are counted as the set is read, in 100 MB; of more, from a summary
of every picture."""


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
        self._sizes: dict[int, int] = {}

    def match(
        self,
        queries: NDArray[np.uint8],
        whole: int,
        surrounded: Sequence[int] = (),
        counted: bool = True,
    ) -> Matched:
        """Match all queries (Q, height, width, 3) uint8. Those beyond the first `whole` ones are
        only judged: they have no adaptive scores unless, being small, they lie within the threshold
        of l2, as all that are extracted do. What lies around the queries at the places `surrounded`
        is told as if they were training pictures. Unless they are `counted`, near-copies are told
        only of training pictures that are extracted, and only the adaptive score that decides.

        The result is that of comparing all pixels, as of `nearest_training`. Raises
        `TrainingSetError` where no picture can be read, or the set changes meanwhile.
        """
        settings = self._settings
        ranked, _, coverage = self._pass(queries, 1)
        if not coverage.read:
            raise none_readable(coverage)
        l2 = l2_of(ranked.squared[:, 0], math.prod(queries.shape[1:])).tolist()
        by_position = self._fetch(ranked.positions[:, 0], Query(queries[:1], settings, 1))
        found = [by_position[position] for position in ranked.positions[:, 0].tolist()]
        small = min(queries.shape[1:3]) < SMALL_IMAGE_SIDE
        scored = [
            place
            for place in range(len(queries))
            if place < whole or (small and l2[place] <= settings.threshold)
        ]
        known = list({found[place].position: found[place] for place in scored}.values())
        order = {picture.position: place for place, picture in enumerate(known)}
        both = counted or settings.neighbours_of == "generation"
        of_own = scored if both else []
        around, counts = self._look_around(
            [
                *(KnownPicture(one.pixels, one.position) for one in known),
                *(KnownPicture(queries[place]) for place in surrounded),
            ],
            [(queries[place], order[found[place].position]) for place in of_own],
            coverage,
            counted,
        )
        of_training = dict(zip(order, around, strict=False))
        apart = dict(zip(surrounded, around[len(known) :], strict=False))
        own = dict(zip(of_own, around[len(known) + len(surrounded) :], strict=True))
        copies = dict(zip(order, counts, strict=False))
        told = set(scored)
        fetched: list[Fetched] = []
        matches: list[TrainingMatch] = []
        step = max(1, _MATCHED_BYTES // math.prod(queries.shape[1:]))
        for at in range(0, len(queries), step):
            images = queries[at : at + step]
            some = self._as_they_are_nearer(images, found[at : at + step])
            fetched += some
            pairs = [
                PossibleMatch(
                    index=one.position,
                    l2=l2[place],
                    flip=one.transform.flip,
                    of_training=of_training[one.position] if place in told else (),
                    of_generation=(l2[place], *own[place]) if place in own else (),
                )
                for place, one in enumerate(some, at)
            ]
            pictures = np.stack([one.pixels for one in some])
            matches += matches_of(pairs, images, pictures, self._tiles, settings)
        if not counted:
            side = min(queries.shape[1:3])
            extracted = {
                match.index: by_position[match.index]
                for match in matches
                if is_extracted(match, settings.threshold, side)
            }
            counting = [KnownPicture(one.pixels, one.position) for one in extracted.values()]
            counts = self._count_copies(counting, queries.shape[1:], coverage)
            copies = dict(zip(extracted, counts, strict=True))
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
        self._refuse_changed(self._coverage(readings), before)
        one = Query(np.stack([parts[0].pixels]), self._settings, 1)
        nearest = self._fetch(np.array([seen.position for seen in met]), one)
        showing = np.array([position for seen in met for position in seen.positions], np.int64)
        named = {one.position: one for one in self._crew.named(slices, _places(showing), query)}
        if named.keys() != set(showing.tolist()):
            raise TrainingSetError(self._changed())
        return [
            MatchedPart(
                nearest=nearest[seen.position],
                shift=part.ways(self._settings.flip)[seen.way],
                l2=PartReference(part, rule).l2_of(seen.squared),
                correlation=seen.correlation,
                copies=seen.count,
                showing=tuple(named[position] for position in seen.positions),
            )
            for part, seen in zip(parts, met, strict=True)
        ]

    def _as_they_are_nearer(
        self, images: NDArray[np.uint8], found: Sequence[Fetched]
    ) -> list[Fetched]:
        if not self._settings.flip:
            return list(found)
        flipped = are_nearer_mirrored(images, np.stack([one.pixels for one in found]))
        return [_mirrored(one) if flip else one for one, flip in zip(found, flipped, strict=True)]

    def _look_around(
        self,
        known: Sequence[KnownPicture],
        generations: Sequence[tuple[NDArray[np.uint8], int]],
        before: Coverage,
        counted: bool,
    ) -> tuple[list[list[float]], list[int]]:
        """The l2 to the distinct neighbours of `known` pictures, and then of generations without
        the known one, by its place, that they match; and, if they are to be counted, how many
        near-copies of each known one there are."""
        if not known:
            return [], []
        pixels = [*(each.pixels for each in known), *(generation for generation, _ in generations)]
        pictures = np.stack(pixels)
        around = [*range(len(known)), *(place for _, place in generations)]
        neighbours = self._settings.neighbours
        most = [neighbours] * len(known) + [neighbours - 1] * len(generations)
        found: list[list[float]] = [[] for _ in pictures]
        left = list(range(len(pictures)))
        count = neighbours + (SPARE if len(left) <= FEW else SPARE_OF_MANY)
        counting = list(known) if counted else []
        copies: list[int] = []
        height, width = pictures.shape[1:3]
        distinct = DistinctNeighbours(self._crew, self._training, self._settings, (width, height))
        while left:
            looked_at = pictures if len(left) == len(pictures) else pictures[left]
            ranked, counts, coverage = self._pass(looked_at, count, counting[:_COUNTED])
            self._refuse_changed(coverage, before)
            copies += counts
            copies += self._count_copies(counting[_COUNTED:], pictures.shape[1:], before)
            counting = []
            near = [
                Neighbourhood(around[place], ranked.positions[row], most[place])
                for row, place in enumerate(left)
            ]
            further = []
            l2 = l2_of(ranked.squared, math.prod(pictures.shape[1:]))
            for row, taken in enumerate(distinct.find(known, near)):
                place = left[row]
                found[place] = l2[row, taken].tolist()
                if len(taken) < most[place] and ranked.positions[row, -1] != NOWHERE:
                    further.append(place)
            left, count = further, GROWTH * count
            self._expected += len(self._training.slices) if left else 0
        return found, copies

    def _count_copies(
        self, known: Sequence[KnownPicture], shape: tuple[int, ...], before: Coverage
    ) -> list[int]:
        """How many near-copies of each of these pictures there are."""
        if not known:
            return []
        self._expected += len(self._training.slices)
        if len(known) <= _COUNTED:
            nobody = np.empty((0, *shape), np.uint8)
            _, copies, coverage = self._pass(nobody, 1, known)
            self._refuse_changed(coverage, before)
            return copies
        size = (shape[1], shape[0])
        counting = CopyCounts(self._crew, self._training, self._settings, size)
        counts, read = counting.count(known, self._sizes, self._step)
        if read != before.read:
            raise TrainingSetError(self._changed())
        return [int(count) for count in counts]

    def _pass(
        self,
        pictures: NDArray[np.uint8],
        count: int,
        known: Sequence[KnownPicture] = (),
    ) -> tuple[Ranked, list[int], Coverage]:
        """Read the set once for each block of pictures: of each the `count` nearest, and how many
        near-copies of each known picture there are."""
        ranked = nothing(len(pictures), count)
        copies = np.zeros(len(known), np.int64)
        slices = self._training.slices
        coverages: list[Coverage] = []
        a_picture = math.prod(pictures.shape[1:])
        size = max(1, min(_QUERY_BYTES // a_picture, _RANKED_BYTES // (24 * count)))
        blocks = [slice(at, at + size) for at in range(0, max(1, len(pictures)), size)]
        self._expected += (len(blocks) - 1) * len(slices)
        for block in blocks:
            query = Query(pictures[block], self._settings, count).bounded()
            if known and not coverages:
                query = replace(query, known=frames_of(np.stack([one.pixels for one in known])))
            mine = Ranked(ranked.squared[block], ranked.positions[block], ranked.digests[block])
            readings: dict[int, Reading] = {}
            for matches in self._crew.search(slices, query, mine.reach):
                take_in(mine, matches.found)
                if len(query.known):
                    copies += matches.copies
                readings[matches.number] = matches.reading
                self._sizes[matches.number] = matches.reading.pictures
                self.peak_bytes = max(self.peak_bytes, matches.peak_bytes)
                self._step()
            coverages.append(self._coverage(readings))
        for coverage in coverages[1:]:
            self._refuse_changed(coverage, coverages[0])
        return ranked, copies.tolist(), coverages[0]

    def _refuse_changed(self, coverage: Coverage, before: Coverage) -> None:
        if coverage != before:
            raise TrainingSetError(self._changed())

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

    def _fetch(self, positions: NDArray[np.int64], query: Query) -> dict[int, Fetched]:
        places = _places(positions)
        fetched = self._crew.fetch(self._training.slices, places, query)
        by_position = {item.position: item for item in fetched}
        if len(by_position) != sum(map(len, places.values())):
            raise TrainingSetError(self._changed())
        return by_position

    def _changed(self) -> str:
        return f"The training set {self._training.path} changed while it was read; run this again."


def _mirrored(fetched: Fetched) -> Fetched:
    transform = fetched.transform.model_copy(update={"flip": True})
    return replace(fetched, pixels=fetched.pixels[:, ::-1], transform=transform)


def _places(positions: NDArray[np.int64]) -> dict[int, list[int]]:
    """By the number of their slice the places of these positions."""
    return by_slice(int(position) for position in positions.flat if position != NOWHERE)
