"""How prompts are spread over the analysis actors."""

import logging
from collections.abc import Iterable, Iterator
from typing import Any

from seedsweep.storage.errors import ConfigError, SeedsweepError, TransientError
from seedsweep.workers.analysts.actor import Analysed, Analyst, Request
from seedsweep.workers.cluster.ray_cluster import (
    IN_FLIGHT_PER_ACTOR,
    ONE_THREAD,
    Actors,
    Cluster,
    await_some,
    in_brief,
    joined_ray,
    noticing_its_end,
)
from seedsweep.workers.monitoring import metrics

log = logging.getLogger(__name__)

ACTORS_PER_GPU = 4
"""An actor decodes on its CPU for longer than it multiplies on a GPU."""


def analyse(
    requests: Iterable[Request | None], store_url: str, actors: Actors
) -> Iterator[Analysed | None]:
    """Analyse prompts on Ray actors and yield each as it is finished.

    They read the store themselves: only requests and results go through Ray. On this machine they
    are in a Ray of their own, bound to loopback. Never more than `IN_FLIGHT_PER_ACTOR` prompts an
    actor are under way. A None among the requests says that none is ready just now; the caller gets
    a None back whenever it may look again. Raises what `joined_ray` does, `RayUnavailableError` too
    where a cluster goes that was joined (this process can then join no other one), and
    `ConfigError` where a GPU is wanted and Ray has none.
    """
    with joined_ray(actors.count, actors.address) as ray, noticing_its_end(actors.address):
        gpus = _gpu_share(ray, actors)
        kind = ray.remote(num_cpus=1, num_gpus=gpus, max_restarts=-1, max_task_retries=3)(Analyst)
        crew = [
            kind.options(runtime_env=ONE_THREAD).remote(store_url, actors.device)
            for _ in range(actors.count)
        ]
        try:
            yield from _spread(ray, crew, iter(requests), Cluster(actors.address))
        finally:
            _show(busy=0, idle=0)


def _gpu_share(ray: Any, actors: Actors) -> float:
    if actors.device == "cpu":
        return 0.0
    # Otherwise Ray would wait for a GPU for ever.
    if not ray.cluster_resources().get("GPU"):
        raise ConfigError("Ray has no GPU to analyse on; leave --device cuda out.")
    return 1 / ACTORS_PER_GPU


def _spread(
    ray: Any, crew: list[Any], requests: Iterator[Request | None], cluster: "Cluster"
) -> Iterator[Analysed | None]:
    under_way: dict[Any, tuple[int, Request]] = {}
    load = [0] * len(crew)
    exhausted = False
    while under_way or not exhausted:
        while min(load) < IN_FLIGHT_PER_ACTOR and not exhausted:
            try:
                request = next(requests)
            except StopIteration:
                exhausted = True
                break
            if request is None:
                break
            place = load.index(min(load))
            load[place] += 1
            under_way[crew[place].analyse.remote(request)] = place, request
        _show(busy=len(load) - load.count(0), idle=load.count(0))
        cluster.expect()
        finished = await_some(ray, list(under_way))
        for reference in finished:
            place, request = under_way.pop(reference)
            load[place] -= 1
            yield _fetch(ray, reference, request)
        if not finished:
            yield None


def _show(busy: int, idle: int) -> None:
    metrics.RAY_ACTORS.labels("busy").set(busy)
    metrics.RAY_ACTORS.labels("idle").set(idle)


def _fetch(ray: Any, reference: Any, request: Request) -> Analysed:
    try:
        analysed: Analysed = ray.get(reference)
        return analysed
    except ray.exceptions.RayError as error:
        log.error("The analysis of %r broke off.", request.prompt[:80], exc_info=True)
        return Analysed(request, 0.0, error=_in_our_words(ray, error, request))


def _in_our_words(ray: Any, error: Exception, request: Request) -> SeedsweepError:
    lost = isinstance(error, ray.exceptions.RayActorError | ray.exceptions.WorkerCrashedError)
    kind = TransientError if lost else SeedsweepError
    return kind(
        f"The analysis of {request.prompt[:80]!r} broke off ({in_brief(error)}); "
        "the analyst's log says where."
    )
