"""A training set of any size searched for pictures, exactly.

It is read twice, slice by slice, and never held: once for the training picture nearest to each one,
and once for what lies around the pictures that were matched.
"""

import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from seedsweep.storage.errors import TrainingSetError
from seedsweep.storage.records import Verification, digest
from seedsweep.storage.verification_results import Coverage
from seedsweep.workers.analysis.distances import edge_limit
from seedsweep.workers.analysis.matching import (
    SMALL_IMAGE_SIDE,
    TrainingMatch,
    adaptive_score,
    is_nearer_mirrored,
    mean_of,
)
from seedsweep.workers.analysis.running_nearest import NOWHERE, Ranked, join, l2_of, nothing
from seedsweep.workers.training.fingerprint import size_of
from seedsweep.workers.training.kinds import not_readable, refuse_other_kinds
from seedsweep.workers.training.pictures import Reading, none_readable
from seedsweep.workers.training.search_actors import Searchers
from seedsweep.workers.training.slice_search import PLACES, Fetched, Query
from seedsweep.workers.training.slices import (
    UNREADABLE,
    USUAL,
    Contents,
    PictureColumn,
    Slice,
    look_into,
)

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class PictureSet:
    """A set of pictures on disk, which is looked into when it is first asked what it holds; that
    raises `ConfigError` where there is no picture."""

    path: Path
    what: str
    column: PictureColumn

    @property
    def slices(self) -> list[Slice]:
        """Its parts."""
        return self.contents.slices

    @cached_property
    def contents(self) -> Contents:
        """What it is made of."""
        try:
            return look_into(self.path, self.column)
        except (TrainingSetError, *UNREADABLE) as error:
            raise not_readable(self.what, self.path, error) from error

    @cached_property
    def listing(self) -> str:
        """What names its files, by name and size."""
        return digest([f"{name} {size_of(file)}" for name, file in self.contents.all_files()])


@dataclass(frozen=True, slots=True, eq=False)
class Matched:
    """What was found of each query, in their order: the training picture nearest to it, how far
    that is, and the mean l2 to the neighbours. By the training picture's position: `copies`, and
    `spreads`, the mean l2 to its own neighbours."""

    fetched: list[Fetched]
    l2: NDArray[np.float64]
    means: list[float]
    copies: dict[int, int]
    spreads: dict[int, float]
    coverage: Coverage

    def match(self, place: int, alpha: float, tiled_l2: float = math.nan) -> TrainingMatch:
        """The match of the query at this place; its tiled l2 is the caller's to know."""
        l2 = float(self.l2[place])
        adaptive = adaptive_score(l2, self.means[place], alpha)
        fetched = self.fetched[place]
        return TrainingMatch(fetched.position, l2, tiled_l2, adaptive, flip=fetched.transform.flip)


class TrainingSearch:
    """Matches pictures with a training set of any size, on Ray actors."""

    def __init__(
        self,
        crew: Searchers,
        training: PictureSet,
        settings: Verification,
        progress: Progress,
    ) -> None:
        self._crew, self._settings = crew, settings
        self._training = replace(training, column=PictureColumn.of(settings))
        self._progress, self._done = progress, 0
        self.peak_bytes = 0

    def match(self, queries: NDArray[np.uint8], whole: int) -> Matched:
        """Match all queries (Q, height, width, 3) uint8, of those beyond the first `whole` ones no
        more than has to be known to judge them: their `means` may be nan.

        The result is that of comparing all pixels, among equals that of the first in the set.
        Raises `TrainingSetError` where no picture can be read, or the set changes meanwhile.
        """
        settings, values = self._settings, queries[0].size
        limit = edge_limit(settings.threshold, values)
        own = settings.neighbours_of == "generation"
        query = Query(queries, settings, settings.neighbours if own else 1, limit)
        ranked, coverage = self._pass(query)
        if not coverage.read:
            raise none_readable(coverage)
        l2 = l2_of(ranked.squared, values)
        by_position = self._fetch(ranked.positions[:, 0], query)
        fetched = [
            self._as_it_is_nearer(by_position[int(position)], picture)
            for position, picture in zip(ranked.positions[:, 0], queries, strict=True)
        ]
        around = {item.position: item for item in fetched[:whole]}
        if min(query.size) < SMALL_IMAGE_SIDE and not own:
            near = l2[:, 0] <= settings.threshold
            around |= {f.position: f for f, is_near in zip(fetched, near, strict=True) if is_near}
        of_training, copies = self._look_around(list(around.values()), limit, coverage)
        if own:
            means = [mean_of(_finite(row)) for row in l2]
        else:
            means = [of_training.get(item.position, math.nan) for item in fetched]
        return Matched(fetched, l2[:, 0], means, copies, of_training, coverage)

    def _as_it_is_nearer(self, fetched: Fetched, picture: NDArray[np.uint8]) -> Fetched:
        if not self._settings.flip or not is_nearer_mirrored(picture, fetched.pixels):
            return fetched
        transform = fetched.transform.model_copy(update={"flip": True})
        return replace(fetched, pixels=fetched.pixels[:, ::-1], transform=transform)

    def _look_around(
        self, pictures: Sequence[Fetched], limit: int, before: Coverage
    ) -> tuple[dict[int, float], dict[int, int]]:
        """By position, of training pictures: the mean l2 to their own neighbours, and how many are
        within the limit of them."""
        stack = np.stack([picture.pixels for picture in pictures])
        neighbours = self._settings.neighbours
        query = Query(stack, self._settings, neighbours + 1, limit)
        ranked, coverage = self._pass(query)
        if coverage != before:
            raise TrainingSetError(
                f"The training set {before.path} changed while it was read; run this again."
            )
        means, copies = {}, {}
        for place, picture in enumerate(pictures):
            others = ranked.positions[place] != picture.position
            squared = ranked.squared[place][others][:neighbours]
            means[picture.position] = mean_of(_finite(l2_of(squared, picture.pixels.size)))
            copies[picture.position] = int(ranked.within[place])
        return means, copies

    def _pass(self, query: Query) -> tuple[Ranked, Coverage]:
        ranked = nothing(len(query.pictures), query.count)
        readings: dict[int, Reading] = {}
        total = 2 * len(self._training.slices)
        for matches in self._crew.search(self._training.slices, query):
            ranked = join(ranked, matches.ranked)
            readings[matches.number] = matches.reading
            self.peak_bytes = max(self.peak_bytes, matches.peak_bytes)
            self._done += 1
            self._progress(self._done, total)
        reading = Reading()
        for number in sorted(readings):
            reading.add(readings[number])
        training = self._training
        left_out = training.contents.left_out
        return ranked, reading.coverage(str(training.path), training.listing, left_out)

    def _fetch(self, positions: NDArray[np.int64], query: Query) -> dict[int, Fetched]:
        places: dict[int, list[int]] = defaultdict(list)
        wanted = {int(position) for position in positions if position != NOWHERE}
        for position in sorted(wanted):
            number, place = divmod(position, PLACES)
            places[number].append(place)
        fetched = self._crew.fetch(self._training.slices, places, query)
        by_position = {item.position: item for item in fetched}
        if by_position.keys() != wanted:
            raise TrainingSetError(
                f"The training set {self._training.path} changed while it was read; run this again."
            )
        return by_position


def open_set(path: Path, what: str = "training set", column: PictureColumn = USUAL) -> PictureSet:
    """The set of pictures at `path`, which `what` says the use of; raises `ConfigError` where there
    is nothing, or a file of another kind."""
    try:
        if not path.is_dir():
            refuse_other_kinds(path)
    except (TrainingSetError, *UNREADABLE) as error:
        raise not_readable(what, path, error) from error
    return PictureSet(path, what, column)


def _finite(distances: NDArray[np.float64]) -> list[float]:
    return [float(distance) for distance in distances if np.isfinite(distance)]
