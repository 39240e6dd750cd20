"""A whole campaign on this machine: private broker, workers, local Ray, one command."""

import contextlib
import os
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from seedsweep.scheduler.campaign.plan import Plan
from seedsweep.scheduler.campaign.restore import restore_state
from seedsweep.scheduler.dispatch.dispatcher import Dispatcher, Turns
from seedsweep.scheduler.services.child_process import Child, stopping
from seedsweep.scheduler.services.embedded_broker import embedded_broker
from seedsweep.storage.campaigns import load_control, store_control
from seedsweep.storage.errors import BrokerUnavailableError, PermanentError
from seedsweep.storage.folder_store import FolderStore
from seedsweep.storage.ledger import Ledger
from seedsweep.storage.live_state import LiveCounts
from seedsweep.storage.store import Store
from seedsweep.storage.workforce import Workforce
from seedsweep.workers.cluster.ray_cluster import expect_ray
from seedsweep.workers.devices import visible_devices
from seedsweep.workers.generation.celery_app import make_app, publish

WORD_SECONDS = 30.0
"""How often it is said that Ray still starts."""

Show = Callable[[LiveCounts], None]
Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Crew:
    """How many processes compute: `workers` generate, one per device; `actors` analyse.

    `ray_address`: the cluster where the actors are, None for a Ray of this run alone.
    """

    workers: int
    actors: int
    threads: int = 1
    ray_address: str | None = None

    @staticmethod
    def for_this_machine(workers: int | None, ray_address: str | None) -> "Crew":
        """One worker per CUDA device, else per core, unless told otherwise."""
        cores = os.cpu_count() or 1
        gpus = [device for device in visible_devices() if device != "cpu"]
        return Crew(
            workers=workers or len(gpus) or cores,
            actors=max(1, cores // 4),
            ray_address=ray_address,
        )


def run_campaign(store: Store, plan: Plan, crew: Crew, show: Show, say: Say) -> None:
    """Generate and analyse all that is missing of a submitted campaign, then return.

    `show` is called about ten times a second, `say` with what is waited for. Whatever ends this
    early, the same call goes on where it stopped. Raises `ConfigError` where a worker or the
    analyst refuses its settings, or Ray can have no folder; `TransientError` where Ray does not
    answer or start, and `PermanentError` where the prompts cannot be analysed.
    """
    campaign_id = plan.campaign.campaign_id
    control = load_control(store, campaign_id)
    if control.state != "active":
        store_control(store, campaign_id, control.model_copy(update={"state": "active"}))
    restored = restore_state(store, plan)
    units_left = len(plan) - int(restored.done.sum()) - len(restored.parked)
    if units_left == 0 and not restored.ready:
        return
    expect_ray(crew.ray_address)
    logs = log_folder(store, campaign_id)
    with embedded_broker(logs) as (broker_url, broker):
        ledger = Ledger(broker_url)
        app, workforce = make_app(broker_url), Workforce(broker_url)
        dispatcher = Dispatcher(
            store,
            ledger,
            workforce,
            lambda queue, units: publish(app, queue, units),
            lambda: [campaign_id],
        )
        dispatcher.begin(plan, restored)
        environment = {"SEEDSWEEP_BROKER_URL": broker_url, "SEEDSWEEP_STORE_URL": store.url}
        ray = _RayWatch(workforce, say)

        def look(counts: LiveCounts) -> None:
            show(counts)
            ray.look()

        with contextlib.ExitStack() as stack:
            stack.callback(dispatcher.resign)
            children = stack.enter_context(stopping([]))
            # One at least: the analysis may find that images are gone.
            count = min(crew.workers, max(1, units_left))
            children += _workers(count, crew.threads, logs, environment)
            children.append(_analyst(crew.actors, logs, environment))
            _oversee(ledger, dispatcher, plan, [broker, *children], look)


def log_folder(store: Store, campaign_id: str) -> Path:
    """Where the processes of a campaign log: beside a folder store, else in this folder."""
    root = store.root if isinstance(store, FolderStore) else Path.cwd()
    folder = root / ".logs" / campaign_id
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _workers(count: int, threads: int, logs: Path, environment: dict[str, str]) -> Iterator[Child]:
    devices = visible_devices()
    # Passive waiting: OpenMP's spinning threads would take the cores of the other processes.
    own = environment | {"OMP_WAIT_POLICY": "PASSIVE", "OMP_NUM_THREADS": str(threads)}
    for number in range(count):
        command = [
            *(sys.executable, "-m", "seedsweep.cli", "worker"),
            *("--device", devices[number % len(devices)]),
            *("--threads", str(threads), "--name", f"worker-{number}", "--metrics-port", "0"),
        ]
        yield Child(f"worker {number}", command, logs / f"worker-{number}.log", own)


def _analyst(actors: int, logs: Path, environment: dict[str, str]) -> Child:
    command = [
        *(sys.executable, "-m", "seedsweep.cli", "analyst"),
        *("--actors", str(actors), "--metrics-port", "0"),
    ]
    return Child("analyst", command, logs / "analyst.log", environment)


class _RayWatch:
    """Says now and then that Ray starts, until the analyst first shows life."""

    def __init__(self, workforce: Workforce, say: Say) -> None:
        self._workforce, self._say = workforce, say
        self._began = self._said = time.monotonic()
        self._is_there = False

    def look(self) -> None:
        """Look once; raises `BrokerUnavailableError` where the broker does not answer."""
        now = time.monotonic()
        self._is_there = self._is_there or self._workforce.analysts() > 0
        if not self._is_there and now - self._said > WORD_SECONDS:
            self._said = now
            self._say(
                f"Ray is not ready after {now - self._began:.0f} s, as on a busy machine; the "
                "analysis waits for it, and analyst.log says more."
            )


def _oversee(
    ledger: Ledger, dispatcher: Dispatcher, plan: Plan, children: list[Child], show: Show
) -> None:
    campaign_id, turns = plan.campaign.campaign_id, Turns(dispatcher)
    while True:
        with contextlib.suppress(BrokerUnavailableError):
            counts = ledger.counts(campaign_id)
            if counts is not None:
                show(counts)
                if counts.trouble:
                    raise PermanentError(counts.trouble)
                if counts.settled:
                    return
        for child in children:
            child.ensure_alive()
        time.sleep(turns.take())
