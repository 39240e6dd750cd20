"""The Ray actors that search a training set, slice by slice."""

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from seedsweep.workers.analysis.cuts import CutSummary
from seedsweep.workers.cluster.jobs import outcome_of, spread
from seedsweep.workers.cluster.ray_cluster import (
    Actors,
    crew_within,
    first_answer,
    gpu_share,
    joined_ray,
    noticing_its_end,
    one_thread,
)
from seedsweep.workers.training.copy_questions import CopyQuestion, PossibleQuestion
from seedsweep.workers.training.slice_queries import (
    Fetched,
    PartQuery,
    PictureName,
    Query,
    SliceMatches,
    SliceParts,
)
from seedsweep.workers.training.slice_search import Searcher
from seedsweep.workers.training.slices import Slice

T = TypeVar("T")

_REMEDY = "try again, with fewer --actors where memory is short."


class Searchers:
    """Actors that each have one slice or two in hand; nothing of a training set stays with them."""

    def __init__(self, ray: Any, crew: Sequence[Any]) -> None:
        self._ray, self._crew = ray, crew

    def search(
        self,
        slices: Sequence[Slice],
        query: Query,
        reach: Callable[[], NDArray[np.float64]],
    ) -> Iterator[SliceMatches]:
        """What each slice holds within the `reach` that holds when it is begun, as it is finished.
        Raises what `searchers` does."""
        shared = self._ray.put(query)

        def start(actor: Any, numbered: tuple[int, Slice]) -> Any:
            return actor.search.remote(*numbered, shared, reach())

        return self._each(enumerate(slices), start)

    def search_parts(self, slices: Sequence[Slice], query: PartQuery) -> Iterator[SliceParts]:
        """What each slice shows of parts, as it is finished."""
        shared = self._ray.put(query)

        def start(actor: Any, numbered: tuple[int, Slice]) -> Any:
            return actor.search_parts.remote(*numbered, shared)

        return self._each(enumerate(slices), start)

    def possible(
        self, questions: Iterable[PossibleQuestion], summary: CutSummary
    ) -> Iterator[tuple[int, list[NDArray[np.intp]]]]:
        """The answers to each question, by its number, as they come."""
        shared = self._ray.put(summary)

        def start(actor: Any, question: PossibleQuestion) -> Any:
            return actor.possible.remote(question, shared)

        return self._each(questions, start)

    def judge(
        self, questions: Iterable[CopyQuestion]
    ) -> Iterator[tuple[int, list[NDArray[np.bool_]]]]:
        """The answers to each question, by its number, as they come."""

        def start(actor: Any, question: CopyQuestion) -> Any:
            return actor.judge.remote(question)

        return self._each(questions, start)

    def fetch(
        self, slices: Sequence[Slice], places: Mapping[int, Sequence[int]], query: Query
    ) -> Iterator[Fetched]:
        """The pictures at these places of the slices with these numbers."""
        shared = self._ray.put(query)

        def start(actor: Any, number: int) -> Any:
            return actor.fetch.remote(number, slices[number], places[number], shared)

        for fetched in self._each(places, start):
            yield from fetched

    def frames(
        self, slices: Sequence[Slice], places: Mapping[int, Sequence[int]], query: Query
    ) -> Iterator[tuple[int, NDArray[np.uint8]]]:
        """The frames of those, by position."""
        shared = self._ray.put(query)

        def start(actor: Any, number: int) -> Any:
            return actor.frames.remote(number, slices[number], places[number], shared)

        for framed in self._each(places, start):
            yield from framed

    def summaries(
        self, slices: Sequence[Slice], places: Mapping[int, range], query: Query
    ) -> Iterator[tuple[NDArray[np.int64], CutSummary]]:
        """The positions of those that can be read and the summaries of their centres, by slice."""
        shared = self._ray.put(query)

        def start(actor: Any, number: int) -> Any:
            return actor.summaries.remote(number, slices[number], places[number], shared)

        return self._each(places, start)

    def named(
        self, slices: Sequence[Slice], places: Mapping[int, Sequence[int]], query: PartQuery
    ) -> Iterator[PictureName]:
        """The names and captions of those."""
        shared = self._ray.put(query)

        def start(actor: Any, number: int) -> Any:
            return actor.named.remote(number, slices[number], places[number], shared)

        for named in self._each(places, start):
            yield from named

    def _each(self, jobs: Iterable[T], start: Callable[[Any, T], Any]) -> Iterator[Any]:
        for done in spread(self._ray, self._crew, jobs, start):
            if done:
                _, reference = done
                yield outcome_of(self._ray, reference, "The search of the training set", _REMEDY)


@contextlib.contextmanager
def searchers(actors: Actors) -> Iterator[Searchers]:
    """Actors to search with for the time of the block; raises what `crew_of` does."""
    with crew_of(Searcher, actors) as (ray, crew):
        yield Searchers(ray, crew)


@contextlib.contextmanager
def searchers_within() -> Iterator[Searchers]:
    """Actors to search with, for an actor that waits for them; as of `crew_within`."""
    with crew_within(Searcher) as (ray, crew):
        yield Searchers(ray, crew)


@contextlib.contextmanager
def crew_of(kind: type[Searcher], actors: Actors) -> Iterator[tuple[Any, Sequence[Any]]]:
    """Ray, and actors of this kind for the time of the block, each on a CPU of its own, and with a
    share of a GPU if parts are compared there.

    The training set has to lie at the same path on every node. Raises what `joined_ray` and
    `first_answer` do, and `TransientError` where actors or their cluster go.
    """
    with joined_ray(actors.count, actors.address) as ray, noticing_its_end(actors.address):
        gpus = gpu_share(ray, actors)
        remote = ray.remote(num_cpus=1, num_gpus=gpus, max_restarts=-1, max_task_retries=3)(kind)
        started = remote.options(**one_thread(actors.address))
        crew = [started.remote(actors.device) for _ in range(actors.count)]
        if actors.address:
            first_answer(ray, actors.address, crew[0], int)
        yield ray, crew
