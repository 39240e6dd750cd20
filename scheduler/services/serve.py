"""The long-running services, each started by a command of the same name.

They find everything through the environment, wait for whatever is away, and end on SIGTERM.
"""

import logging
import os
import platform
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from wsgiref.types import WSGIApplication

from prometheus_client.registry import Collector

from seedsweep import __version__
from seedsweep.scheduler.quantities import count_words
from seedsweep.scheduler.services.prometheus_targets import advertised, answer_targets
from seedsweep.scheduler.services.signals import stop_on_sigterm
from seedsweep.storage import keys
from seedsweep.storage.errors import RayUnavailableError, SeedsweepError
from seedsweep.storage.ledger import Ledger
from seedsweep.storage.store import Store
from seedsweep.storage.workforce import Workforce
from seedsweep.workers.cluster.ray_cluster import Actors
from seedsweep.workers.monitoring import broker_watch, http_pages, metrics, store_watch
from seedsweep.workers.monitoring.campaign_collector import CampaignCollector, registry_of
from seedsweep.workers.monitoring.catalogue import Service
from seedsweep.workers.monitoring.gpu_collector import DeviceCollector

log = logging.getLogger(__name__)

_FIRST_PORTS: dict[Service, int] = {
    "scheduler": http_pages.SCHEDULER_PORT,
    "analyst": http_pages.ANALYST_PORT,
    "worker": http_pages.WORKER_PORT,
}


@dataclass(frozen=True, slots=True)
class MetricsAddress:
    """Where a service shows its metrics; `port` None: its own first free one, 0: nowhere."""

    host: str
    port: int | None

    def ports(self, first: int) -> range:
        """The ports to try, for a service whose own ones begin at `first`."""
        if self.port is None:
            return range(first, first + http_pages.PORTS)
        return range(self.port, self.port + 1) if self.port else range(0)


def serve_schedule(store: Store, broker_url: str, address: MetricsAddress) -> None:
    """Feed the queues with all campaigns of the store, until SIGTERM."""
    from seedsweep.scheduler.dispatch.dispatcher import Dispatcher
    from seedsweep.scheduler.dispatch.turns import drive
    from seedsweep.workers.generation.celery_app import make_app, publish

    store, app = store_watch.watched(store), make_app(broker_url)
    broker_watch.watch(broker_url)
    collector, targets = CampaignCollector(), answer_targets(Workforce(broker_url))
    metrics_at = _serve("scheduler", address, [collector], targets)
    dispatcher = Dispatcher(
        store,
        Ledger(broker_url),
        Workforce(broker_url, metrics_at, store_watch.trouble),
        lambda queue, units: publish(app, queue, units),
        lambda: store.folders(keys.CAMPAIGNS),
        collector,
    )
    stopped = stop_on_sigterm()
    log.info("The scheduler is ready; its store is %s.", store.url)
    drive(dispatcher, stopped)
    dispatcher.resign()
    log.info("The scheduler has stopped.")


def serve_device(
    store: Store,
    broker_url: str,
    device: str,
    threads: int,
    name: str,
    address: MetricsAddress,
) -> None:
    """Serve one model's queue at a time on one device until SIGTERM; the unit in hand is finished.

    Raises `SeedsweepError` once the worker has taken itself out, since it failed too many prompts
    in a row.
    """
    from seedsweep.workers.generation.celery_app import make_app
    from seedsweep.workers.generation.celery_task import serve

    broker_watch.watch(broker_url)
    metrics_at = _serve("worker", address, [DeviceCollector(device)])
    why_out = serve(
        make_app(broker_url),
        store_watch.watched(store),
        Ledger(broker_url),
        Workforce(broker_url, trouble=store_watch.trouble),
        name,
        device,
        threads,
        metrics_at,
    )
    log.info("The worker %s has stopped.", name)
    if why_out:
        raise SeedsweepError(why_out)


def serve_analysis(store: Store, broker_url: str, actors: Actors, address: MetricsAddress) -> None:
    """Analyse the prompts of all live campaigns as they become ready, until SIGTERM.

    If the Ray cluster goes, the process starts itself anew and waits for it.
    """
    from seedsweep.scheduler.analysing.analyst_service import AnalystService

    broker_watch.watch(broker_url)
    metrics_at = _serve("analyst", address)
    store = store_watch.watched(store)
    stopped = stop_on_sigterm()
    workforce = Workforce(broker_url, metrics_at, store_watch.trouble)
    analyst = AnalystService(store, Ledger(broker_url), workforce, stopped)
    where = f"the Ray cluster at {actors.address}" if actors.address else "this machine"
    log.info("The analyst works with %s on %s.", count_words(actors.count, "actor"), where)
    try:
        analyst.run(actors)
    except RayUnavailableError as error:
        log.warning("The analyst starts anew, with the same process id: %s", error)
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])  # noqa: S606
    log.info("The analyst has stopped.")


def worker_name(device: str) -> str:
    """Name a worker so that no other one alive has the name."""
    return f"{platform.node()}-{device.replace(':', '')}-{os.getpid()}"


def _serve(
    service: Service,
    address: MetricsAddress,
    collectors: Iterable[Collector] = (),
    targets: WSGIApplication | None = None,
) -> str:
    """Serve the service's pages where they are wanted; returns where, empty for nowhere."""
    metrics.BUILD.labels(__version__).set(1)
    registry = registry_of(service, collectors)
    port = http_pages.serve(registry, address.host, address.ports(_FIRST_PORTS[service]), targets)
    if port is None:
        return ""
    metrics_at = advertised(address.host, port)
    log.info("Metrics: http://%s/metrics", metrics_at)
    return metrics_at
