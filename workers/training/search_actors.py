"""The Ray actors that search a training set, slice by slice."""

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from seedsweep.storage.errors import SeedsweepError, TransientError
from seedsweep.workers.cluster.ray_cluster import (
    IN_FLIGHT_PER_ACTOR,
    ONE_THREAD,
    Actors,
    await_some,
    in_brief,
    joined_ray,
    noticing_its_end,
)
from seedsweep.workers.training.slice_search import Fetched, Found, Query, Searcher
from seedsweep.workers.training.slices import Slice

Start = Callable[[Any], Any]
"""Has an actor begin something, and returns Ray's reference to what will come of it."""


class Searchers:
    """Actors that each have one slice or two in hand; nothing of a training set stays with them."""

    def __init__(self, ray: Any, crew: Sequence[Any]) -> None:
        self._ray, self._crew = ray, crew

    def search(self, slices: Sequence[Slice], query: Query) -> Iterator[Found]:
        """What each slice holds, as it is finished. Raises what `searchers` does."""
        shared = self._ray.put(query)

        def start(number: int, part: Slice) -> Start:
            return lambda actor: actor.search.remote(number, part, shared)

        return self._each([start(number, part) for number, part in enumerate(slices)])

    def fetch(
        self, slices: Sequence[Slice], places: Mapping[int, Sequence[int]], query: Query
    ) -> Iterator[Fetched]:
        """The pictures at these places of the slices with these numbers."""
        shared = self._ray.put(query)

        def start(number: int) -> Start:
            return lambda actor: actor.fetch.remote(number, slices[number], places[number], shared)

        for fetched in self._each([start(number) for number in places]):
            yield from fetched

    def _each(self, starts: Sequence[Start]) -> Iterator[Any]:
        waiting, load = iter(starts), [0] * len(self._crew)
        under_way: dict[Any, int] = {}
        while True:
            while min(load) < IN_FLIGHT_PER_ACTOR and (start := next(waiting, None)):
                place = load.index(min(load))
                load[place] += 1
                under_way[start(self._crew[place])] = place
            if not under_way:
                return
            for reference in await_some(self._ray, list(under_way)):
                load[under_way.pop(reference)] -= 1
                yield self._get(reference)

    def _get(self, reference: Any) -> Any:
        try:
            return self._ray.get(reference)
        except self._ray.exceptions.RayError as error:
            broken = self._ray.exceptions
            lost = isinstance(error, broken.RayActorError | broken.WorkerCrashedError)
            kind = TransientError if lost else SeedsweepError
            raise kind(
                f"The search of the training set broke off ({in_brief(error)}); try again, with "
                "fewer --actors where memory is short."
            ) from error


@contextlib.contextmanager
def searchers(actors: Actors) -> Iterator[Searchers]:
    """Actors to search with for the time of the block, each on a CPU of its own.

    The training set has to lie at the same path on every node. Raises what `joined_ray` does, and
    `TransientError` where actors or their cluster go.
    """
    with joined_ray(actors.count, actors.address) as ray, noticing_its_end(actors.address):
        kind = ray.remote(num_cpus=1, max_restarts=-1, max_task_retries=3)(Searcher)
        crew = [kind.options(runtime_env=ONE_THREAD).remote() for _ in range(actors.count)]
        yield Searchers(ray, crew)
