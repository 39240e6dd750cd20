"""A whole campaign on this machine: private broker, workers, local Ray, one command."""

import contextlib
import logging
import os
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from seedsweep.scheduler.campaign.plan import Plan
from seedsweep.scheduler.campaign.restore import restore_state
from seedsweep.scheduler.dispatch.dispatcher import Dispatcher
from seedsweep.scheduler.services.child_process import Child, stopping
from seedsweep.scheduler.services.embedded_broker import embedded_broker
from seedsweep.storage.campaigns import load_control, store_control
from seedsweep.storage.errors import (
    BrokerUnavailableError,
    ConfigError,
    PermanentError,
    TransientError,
)
from seedsweep.storage.folder_store import FolderStore
from seedsweep.storage.ledger import Ledger
from seedsweep.storage.live_state import LiveCounts
from seedsweep.storage.store import Store
from seedsweep.storage.workforce import Workforce
from seedsweep.workers.devices import visible_devices
from seedsweep.workers.generation.celery_app import make_app, publish

log = logging.getLogger(__name__)

TICK_SECONDS = 0.1

Show = Callable[[LiveCounts], None]


@dataclass(frozen=True, slots=True)
class Crew:
    """How many processes compute: `workers` generate, one per device; `actors` analyse."""

    workers: int
    actors: int
    threads: int = 1

    @staticmethod
    def for_this_machine(workers: int | None) -> "Crew":
        """One worker per CUDA device, else per core, unless told otherwise."""
        cores = os.cpu_count() or 1
        gpus = [device for device in visible_devices() if device != "cpu"]
        return Crew(workers=workers or len(gpus) or cores, actors=max(1, cores // 4))


def run_campaign(store: Store, plan: Plan, crew: Crew, show: Show) -> None:
    """Generate and analyse all that is missing of a submitted campaign, then return.

    `show` is called about ten times a second. Whatever ends this early, the same call goes on
    where it stopped. Raises `ConfigError` where a worker or the analyst refuses its settings,
    and `PermanentError` where the prompts cannot be analysed.
    """
    campaign_id = plan.campaign.campaign_id
    control = load_control(store, campaign_id)
    if control.state != "active":
        store_control(store, campaign_id, control.model_copy(update={"state": "active"}))
    restored = restore_state(store, plan)
    units_left = len(plan) - int(restored.done.sum()) - len(restored.parked)
    if units_left == 0 and not restored.ready:
        return
    logs = log_folder(store, campaign_id)
    with embedded_broker(logs) as (broker_url, broker):
        ledger = Ledger(broker_url)
        app = make_app(broker_url)
        dispatcher = Dispatcher(
            store,
            ledger,
            Workforce(broker_url),
            lambda queue, units: publish(app, queue, units),
            lambda: [campaign_id],
        )
        dispatcher.begin(plan, restored)
        environment = {"SEEDSWEEP_BROKER_URL": broker_url, "SEEDSWEEP_STORE_URL": store.url}
        with stopping([]) as children:
            # One at least: the analysis may find that images are gone.
            count = min(crew.workers, max(1, units_left))
            children += _workers(count, crew.threads, logs, environment)
            children.append(_analyst(crew.actors, logs, environment))
            _oversee(ledger, dispatcher, plan, [broker, *children], show)


def log_folder(store: Store, campaign_id: str) -> Path:
    """Where the processes of a campaign log: beside a folder store, else in this folder.

    It is made for this user alone, since prompts are in the logs. Raises `ConfigError` if this user
    cannot write there.
    """
    root = store.root if isinstance(store, FolderStore) else Path.cwd()
    folder = root / ".logs" / campaign_id
    with contextlib.suppress(OSError):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not os.access(folder, os.W_OK | os.X_OK):
        raise ConfigError(
            f"The logs of this campaign cannot be written to {folder}; have it made yours, or name "
            "a store of your own with --store."
        )
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


def _oversee(
    ledger: Ledger, dispatcher: Dispatcher, plan: Plan, children: list[Child], show: Show
) -> None:
    campaign_id = plan.campaign.campaign_id
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
        try:
            dispatcher.tick()
        except TransientError as error:
            log.warning("The scheduler waits: %s", error)
        time.sleep(TICK_SECONDS)
