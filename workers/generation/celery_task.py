"""The one Celery task, and the process that serves it: one per device."""

import logging
import warnings
from typing import Any

from celery import Celery
from celery.exceptions import SecurityWarning
from celery.platforms import EX_FAILURE
from celery.signals import setup_logging, worker_ready, worker_shutdown, worker_shutting_down
from celery.worker import state
from celery.worker.request import Request

from seedsweep.storage.errors import TransientError
from seedsweep.storage.ledger import Ledger
from seedsweep.storage.records import WorkUnit
from seedsweep.storage.store import Store
from seedsweep.storage.workforce import Workforce
from seedsweep.workers.generation.celery_app import IDLE_QUEUE, queue_of
from seedsweep.workers.generation.messages import TASK
from seedsweep.workers.generation.renderer import Renderer
from seedsweep.workers.monitoring import health, metrics

log = logging.getLogger(__name__)

LOOK_AGAIN_SECONDS = (0.002, 0.01, 0.05)


class Unacknowledged(Request):  # type: ignore[misc]
    """A message that the broker forgot when it handed it over.

    The ledger's lease redelivers units; copies of messages in the broker would never be looked at.
    """

    def acknowledge(self) -> None:
        self.acknowledged = True


class Subscription:
    """Which load's queue a Celery worker takes units from: one at a time, none at first."""

    def __init__(self, worker: Any) -> None:
        self._worker = worker
        self._load = self._wanted = ""

    def follow(self, load: str) -> None:
        """Take units of this load from now on, or once the worker is connected.

        Without a load it stays with the one that it has: a broker that forgot everything names
        none for a moment. May be called from any thread, and again and again.
        """
        load = self._wanted = load or self._wanted
        consumer = self._worker.consumer
        if not getattr(consumer, "task_consumer", None):
            return
        consumer.call_soon(health.begin, health.LISTENING)
        if load != self._load:
            consumer.call_soon(self._switch, consumer)

    def catch_up(self, **_: object) -> None:
        """The worker is connected now."""
        self.follow(self._wanted)

    def look_again(self) -> None:
        """Have the worker take its next unit at once.

        Without prefetching, Celery only sees in its once-a-second round that a task has ended.
        """
        consumer = self._worker.consumer
        if getattr(consumer, "hub", None):
            consumer.call_soon(self._wake, consumer.hub)

    @staticmethod
    def _wake(hub: Any) -> None:
        """The task ends a moment after its function returned: look then."""
        for delay in LOOK_AGAIN_SECONDS:
            hub.call_later(delay, int)

    def _switch(self, consumer: Any) -> None:
        if self._wanted == self._load:
            return
        if self._load:
            consumer.cancel_task_queue(queue_of(self._load))
            metrics.MODEL_SWITCHES.inc()
        self._load = self._wanted
        consumer.add_task_queue(queue_of(self._load), no_ack=True)
        log.info("Units of %s are taken now.", queue_of(self._load))


def serve(
    app: Celery,
    store: Store,
    ledger: Ledger,
    workforce: Workforce,
    name: str,
    device: str,
    threads: int,
    metrics_at: str,
) -> str:
    """Render work units until SIGTERM: the unit in hand is finished and stored first.

    The worker says that it shows its metrics at `metrics_at` (HOST:PORT, empty: nowhere). One that
    takes itself out ends likewise; returns why it did, empty after a signal. Raises
    `TransientError` where Celery ended without any.
    """

    @app.task(name=TASK, ignore_result=True, Request=Unacknowledged)  # type: ignore[untyped-decorator]
    def generate(message: dict[str, Any]) -> None:
        renderer.render(WorkUnit.model_validate(message))
        subscription.look_again()

    def finish(**_: object) -> None:
        renderer.close()

    def leave() -> None:
        state.should_stop = EX_FAILURE
        subscription.look_again()

    def note_signal(**_: object) -> None:
        signals.append(True)

    def say_ready(**_: object) -> None:
        # Only now does Celery answer to SIGTERM.
        words = f"{threads} thread{'' if threads == 1 else 's'}"
        log.info("The worker %s is ready, on %s with %s.", name, device, words)

    signals: list[bool] = []
    worker_shutting_down.connect(note_signal, weak=False)
    worker_ready.connect(say_ready, weak=False)
    worker_shutdown.connect(finish, weak=False)
    setup_logging.connect(_leave_logging_alone, weak=False)
    # That it runs as root, which containers do: its messages are JSON, and run no code of theirs.
    warnings.filterwarnings("ignore", category=SecurityWarning)
    worker = app.Worker(
        hostname=name,
        pool="threads",
        concurrency=1,
        queues=[IDLE_QUEUE],
        without_gossip=True,
        without_mingle=True,
        without_heartbeat=True,
        loglevel="WARNING",
        quiet=True,
    )
    subscription = Subscription(worker)
    worker_ready.connect(subscription.catch_up)
    follow = subscription.follow
    health.expect(health.LISTENING)
    renderer = Renderer(store, ledger, workforce, name, device, threads, follow, leave, metrics_at)
    worker.start()
    if not (renderer.why_out or signals):
        raise TransientError(
            f"The worker {name} ended though nobody asked it to; see what it logged before, and "
            "start it again."
        )
    return renderer.why_out


def _leave_logging_alone(**_: object) -> None:
    """Celery sets logging up anew unless somebody says that he has done so."""
    logging.getLogger("celery").setLevel(logging.WARNING)
    # What it warns of is a broker that is away, which we say ourselves, and once.
    logging.getLogger("celery.worker.consumer.consumer").setLevel(logging.ERROR)
