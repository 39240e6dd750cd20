"""How prompts are spread over the analysis actors."""

import logging
from collections.abc import Iterable, Iterator
from typing import Any

from seedsweep.storage import keys
from seedsweep.storage.errors import SeedsweepError, StoreUnavailableError
from seedsweep.storage.stores import open_store
from seedsweep.workers.analysts.actor import Analysed, AnalysisActor, AnalysisRequest
from seedsweep.workers.cluster.jobs import outcome_of, spread
from seedsweep.workers.cluster.ray_cluster import (
    Actors,
    Cluster,
    first_answer,
    gpu_share,
    joined_ray,
    noticing_its_end,
    one_thread,
)
from seedsweep.workers.monitoring import metrics

log = logging.getLogger(__name__)


def analyse(
    requests: Iterable[AnalysisRequest | None], store_url: str, actors: Actors
) -> Iterator[Analysed | None]:
    """Analyse prompts on Ray actors and yield each as it is finished.

    They read the store themselves: only requests and results go through Ray. On this machine they
    are in a Ray of their own, bound to loopback. Never more than `IN_FLIGHT_PER_ACTOR` prompts an
    actor are under way. A None among the requests says that none is ready just now; the caller gets
    a None back whenever it may look again. Raises what `joined_ray` and `first_answer` do,
    `RayUnavailableError` too if a cluster goes that was joined (this process can then join no other
    one), `StoreUnavailableError` if the store cannot be read here or on a cluster's nodes, and
    `ConfigError` if a GPU is wanted and Ray has none.
    """
    with joined_ray(actors.count, actors.address) as ray, noticing_its_end(actors.address):
        if why := _why_unread(store_url) if actors.address else "":
            raise StoreUnavailableError(why)
        gpus = gpu_share(ray, actors)
        kind = ray.remote(num_cpus=1, num_gpus=gpus, max_restarts=-1, max_task_retries=3)(
            AnalysisActor
        )
        started = kind.options(**one_thread(actors.address))
        crew = [started.remote(store_url, actors.device) for _ in range(actors.count)]
        try:
            if actors.address:
                _expect_store(ray, store_url, crew[0], actors.address)
            yield from _analysed(ray, crew, requests, Cluster(actors.address))
        finally:
            _show(busy=0, idle=0)


def _expect_store(ray: Any, store_url: str, first: Any, address: str) -> None:
    if why := first_answer(ray, address, first, _why_unread, store_url):
        raise StoreUnavailableError(
            f"The nodes of the Ray cluster at {address} cannot read the store ({why}); give them "
            "the keys and the addresses that this process has."
        )


def _why_unread(store_url: str) -> str:
    """Why the store cannot be read where this runs, empty if it can."""
    try:
        next(iter(open_store(store_url).folders(keys.CAMPAIGNS)), None)
    except SeedsweepError as error:
        return str(error)
    return ""


def _analysed(
    ray: Any, crew: list[Any], requests: Iterable[AnalysisRequest | None], cluster: Cluster
) -> Iterator[Analysed | None]:
    def start(actor: Any, request: AnalysisRequest) -> Any:
        return actor.analyse.remote(request)

    def note(busy: int) -> None:
        _show(busy=busy, idle=len(crew) - busy)
        cluster.expect()

    for done in spread(ray, crew, requests, start, note):
        yield _fetch(ray, *done) if done else None


def _show(busy: int, idle: int) -> None:
    metrics.RAY_ACTORS.labels("busy").set(busy)
    metrics.RAY_ACTORS.labels("idle").set(idle)


def _fetch(ray: Any, request: AnalysisRequest, reference: Any) -> Analysed:
    what = f"The analysis of {request.prompt[:80]!r}"
    try:
        analysed: Analysed = outcome_of(ray, reference, what, "the analyst's log says where.")
        return analysed
    except SeedsweepError as error:
        log.error("The analysis of %r broke off.", request.prompt[:80], exc_info=True)
        return Analysed(request, 0.0, error=error)
