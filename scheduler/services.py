"""The long-running services, each started by a command of the same name.

They find everything through the environment, wait for whatever is away, and end on SIGTERM.
"""

import logging
import os
import platform
from dataclasses import dataclass

from scheduler.signals import stop_on_sigterm
from storage import keys
from storage.errors import SeedsweepError
from storage.ledger import Ledger
from storage.store import Store
from storage.workforce import Workforce
from workers import metrics
from workers.actors import Actors

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class MetricsAddress:
    """Where a service shows its metrics; `port` None: its own first free one, 0: nowhere."""

    host: str
    port: int | None

    def ports(self, first: int) -> range:
        """The ports to try, for a service whose own ones begin at `first`."""
        if self.port is None:
            return range(first, first + metrics.PORTS)
        return range(self.port, self.port + 1) if self.port else range(0)


def serve_schedule(store: Store, broker_url: str, address: MetricsAddress) -> None:
    """Feed the queues with all campaigns of the store, until SIGTERM."""
    from scheduler.dispatch import Dispatcher, drive
    from workers.app import make_app, publish

    _log_plainly()
    app, workforce = make_app(broker_url), Workforce(broker_url)
    dispatcher = Dispatcher(
        store,
        Ledger(broker_url),
        workforce,
        lambda queue, units: publish(app, queue, units),
        lambda: store.folders(keys.CAMPAIGNS),
    )
    _serve_metrics(address, metrics.SCHEDULER_PORT, dispatcher.collector)
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
    name: str | None,
    address: MetricsAddress,
) -> None:
    """Serve one model's queue at a time on one device until SIGTERM; the unit in hand is finished.

    Without a name the worker is called after its host, device and process. Raises `SeedsweepError`
    once the worker has taken itself out, since it failed too many prompts in a row.
    """
    from workers.app import make_app
    from workers.tasks import serve

    _log_plainly()
    _serve_metrics(address, metrics.WORKER_PORT)
    name = name or worker_name(device)
    why_out = serve(
        make_app(broker_url),
        store,
        Ledger(broker_url),
        Workforce(broker_url),
        name,
        device,
        threads,
    )
    log.info("The worker %s has stopped.", name)
    if why_out:
        raise SeedsweepError(why_out)


def serve_analysis(store: Store, broker_url: str, actors: Actors, address: MetricsAddress) -> None:
    """Analyse the prompts of all live campaigns as they become ready, until SIGTERM."""
    from scheduler.audit import Auditor

    _log_plainly()
    _serve_metrics(address, metrics.ANALYST_PORT)
    stopped = stop_on_sigterm()
    auditor = Auditor(store, Ledger(broker_url), Workforce(broker_url), stopped)
    where = f"the Ray cluster at {actors.address}" if actors.address else "this machine"
    log.info("The analyst works with %d actors on %s.", actors.count, where)
    auditor.run(actors)
    log.info("The analyst has stopped.")


def worker_name(device: str) -> str:
    """Name a worker so that no other one alive has the name."""
    return f"{platform.node()}-{device.replace(':', '')}-{os.getpid()}"


def _serve_metrics(
    address: MetricsAddress, first: int, *collectors: metrics.CampaignCollector
) -> None:
    port = metrics.serve_metrics(address.host, address.ports(first), *collectors)
    if port is not None:
        log.info("Metrics: http://%s:%d/metrics", address.host, port)


def _log_plainly() -> None:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
