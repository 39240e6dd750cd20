"""The jobs of actors: how they are spread over a crew, and what came of each."""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TypeVar

from seedsweep.storage.errors import SeedsweepError, TransientError
from seedsweep.workers.cluster.private_ray import first_line

T = TypeVar("T")

IN_FLIGHT_PER_ACTOR = 2
POLL_SECONDS = 0.2


def spread(
    ray: Any,
    crew: Sequence[Any],
    jobs: Iterable[T | None],
    start: Callable[[Any, T], Any],
    note: Callable[[int], None] = lambda busy: None,
) -> Iterator[tuple[T, Any] | None]:
    """Have the actors do the jobs; yield each as it ends, with the reference to what came of it.

    `start` has an actor begin a job and returns that reference. The least busy actor gets the next
    one, and never more than `IN_FLIGHT_PER_ACTOR` an actor are under way. A None among the jobs
    says that none is ready just now, and a None is yielded whenever the jobs may be asked again.
    `note` is called with the number of busy actors before each wait.
    """
    waiting, load = iter(jobs), [0] * len(crew)
    under_way: dict[Any, tuple[int, T]] = {}
    exhausted = False
    while True:
        while min(load) < IN_FLIGHT_PER_ACTOR and not exhausted:
            try:
                job = next(waiting)
            except StopIteration:
                exhausted = True
                break
            if job is None:
                break
            place = load.index(min(load))
            load[place] += 1
            under_way[start(crew[place], job)] = place, job
        if exhausted and not under_way:
            return
        note(len(load) - load.count(0))
        finished = _await_some(ray, list(under_way))
        for reference in finished:
            place, job = under_way.pop(reference)
            load[place] -= 1
            yield job, reference
        if not finished:
            yield None


def outcome_of(ray: Any, reference: Any, what: str, remedy: str) -> Any:
    """What came of a job: the value that its actor returned.

    Raises `TransientError` if the actor was lost and `SeedsweepError` if it raised; `what` is
    the job, as in "The analysis of a prompt", and `remedy` what to do.
    """
    try:
        return ray.get(reference)
    except ray.exceptions.RayError as error:
        lost = isinstance(error, ray.exceptions.RayActorError | ray.exceptions.WorkerCrashedError)
        kind = TransientError if lost else SeedsweepError
        raise kind(f"{what} broke off ({in_brief(error)}); {remedy}") from error


def _await_some(ray: Any, under_way: list[Any]) -> list[Any]:
    if not under_way:
        time.sleep(POLL_SECONDS)
        return []
    finished: list[Any] = ray.wait(under_way, timeout=POLL_SECONDS)[0]
    return finished


def in_brief(error: Exception) -> str:
    """What Ray says first, and why an actor died if it says that too."""
    why = [line for line in str(error).splitlines() if line.startswith("The actor is dead because")]
    return " ".join([first_line(error), *why])
