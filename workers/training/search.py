"""A training set of any size searched for pictures, exactly.

It is read slice by slice and never held: once for the training picture nearest to each one, once
for what lies around the pictures that were matched, and where a picture near those was repeated
often, once more for what lies beyond its copies. Of very many pictures as many are looked for at
once as a bounded memory holds.
"""

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from seedsweep.storage.settings.analysis import PartRule, Verification
from seedsweep.storage.verification_results import Coverage
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
from seedsweep.workers.analysis.part_matching import MaskedPicture, PartReference
from seedsweep.workers.analysis.ranked import NOWHERE
from seedsweep.workers.analysis.running_nearest import l2_of
from seedsweep.workers.training.distinct_neighbours import (
    DistinctNeighbours,
    KnownPicture,
    Neighbourhood,
)
from seedsweep.workers.training.matched import Matched, MatchedPart
from seedsweep.workers.training.picture_set import PictureSet
from seedsweep.workers.training.pictures import none_readable
from seedsweep.workers.training.search_actors import Searchers
from seedsweep.workers.training.set_passes import Progress, SetPasses
from seedsweep.workers.training.slice_queries import Fetched, PartQuery, Query
from seedsweep.workers.training.slices import PictureColumn

SHOWING = 100
"""Of so many training pictures that show a part the captions are looked at."""

_MATCHED_BYTES = 1 << 23

FEW, SPARE_OF_MANY = 1024, 12
"""Of more than so many pictures fewer spare neighbours are compared at first: another look at the
set, for those that have many near-copies around them, costs less than what is spared."""


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
        self._passes = SetPasses(crew, self._training, settings, progress, expected=2)

    @property
    def peak_bytes(self) -> int:
        """The most memory that a process which looked ever held."""
        return self._passes.peak_bytes

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
        ranked, _, coverage = self._passes.nearest(queries, 1)
        if not coverage.read:
            raise none_readable(coverage)
        l2 = l2_of(ranked.squared[:, 0], math.prod(queries.shape[1:])).tolist()
        by_position = self._passes.fetch(ranked.positions[:, 0], Query(queries[:1], settings, 1))
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
            counts = self._passes.count_copies(counting, queries.shape[1:], coverage)
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
        met = self._passes.parts(query, before)
        one = Query(np.stack([parts[0].pixels]), self._settings, 1)
        nearest = self._passes.fetch(np.array([seen.position for seen in met]), one)
        showing = np.array([position for seen in met for position in seen.positions], np.int64)
        named = self._passes.named(showing, query)
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
            ranked, counts, coverage = self._passes.nearest(looked_at, count, counting)
            self._passes.require_same(coverage, before)
            copies += counts
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
            if left:
                self._passes.expect_another()
        return found, copies


def _mirrored(fetched: Fetched) -> Fetched:
    transform = fetched.transform.model_copy(update={"flip": True})
    return replace(fetched, pixels=fetched.pixels[:, ::-1], transform=transform)
