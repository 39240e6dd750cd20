"""A whole campaign on this machine: private broker, workers, local Ray, one command."""

import contextlib
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from seedsweep.scheduler.campaign.plan import ImageCounts, Plan, image_counts
from seedsweep.scheduler.campaign.restore import restore_state
from seedsweep.scheduler.campaign.store_words import store_words
from seedsweep.scheduler.dispatch.dispatcher import Dispatcher
from seedsweep.scheduler.dispatch.turns import Turns
from seedsweep.scheduler.services.child_process import Child, stopping
from seedsweep.scheduler.services.embedded_broker import embedded_broker
from seedsweep.storage.campaigns import load_control, store_control
from seedsweep.storage.errors import BrokerUnavailableError, ConfigError, PermanentError
from seedsweep.storage.folder_store import FolderStore
from seedsweep.storage.ledger import MAX_LOSSES, Ledger
from seedsweep.storage.ledger_view import LedgerView
from seedsweep.storage.live_state import LiveCounts
from seedsweep.storage.store import Store
from seedsweep.storage.workforce import Workforce
from seedsweep.workers.cluster.ray_cluster import expect_ray
from seedsweep.workers.devices import visible_devices
from seedsweep.workers.generation.celery_app import make_app, publish
from seedsweep.workers.monitoring import store_watch

WORD_SECONDS = 30.0
"""How often it is said that Ray still starts."""

WORKER_DEATHS = 2 * MAX_LOSSES
"""So many quick deaths end a run. They are more than it takes to park a unit that ends its process:
of several such units a worker takes one after another, before the first comes back."""


@dataclass(frozen=True, slots=True)
class Listeners:
    """Callbacks while a campaign runs. About ten times a second `show` gets how far it is and its
    images, and `warn` what is wrong with the store, for which the run waits. `say` gets a sentence
    about what else the run waits for.
    """

    show: Callable[[LiveCounts, ImageCounts], None]
    warn: Callable[[Sequence[str]], None]
    say: Callable[[str], None]


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


def run_campaign(store: Store, plan: Plan, crew: Crew, listeners: Listeners) -> None:
    """Generate and analyse all that is missing of a submitted campaign, then return.

    If this is ended early, the same call goes on where it stopped. Raises `ConfigError` if a worker
    or the analyst refuses its settings, or Ray can have no folder; `TransientError` if Ray does not
    answer or start, and `PermanentError` if the prompts cannot be analysed.
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
        ledger, app = Ledger(broker_url), make_app(broker_url)
        workforce = Workforce(broker_url, trouble=store_watch.trouble)
        dispatcher = Dispatcher(
            store_watch.watched(store),
            ledger,
            workforce,
            lambda queue, units: publish(app, queue, units),
            lambda: [campaign_id],
        )
        dispatcher.begin(plan, restored)
        environment = {"SEEDSWEEP_BROKER_URL": broker_url, "SEEDSWEEP_STORE_URL": store.url}
        with contextlib.ExitStack() as stack:
            stack.callback(dispatcher.resign)
            children = stack.enter_context(stopping([]))
            # One at least: the analysis may find that images are gone.
            count = min(crew.workers, max(1, units_left))
            children += _workers(count, crew.threads, logs, environment)
            children.append(_analyst(crew.actors, logs, environment))
            watch = _Watch(ledger, workforce, plan, listeners)
            _oversee(watch, dispatcher, [broker, *children])


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
        log_file = logs / f"worker-{number}.log"
        yield Child(f"worker {number}", command, log_file, own, WORKER_DEATHS)


def _analyst(actors: int, logs: Path, environment: dict[str, str]) -> Child:
    command = [
        *(sys.executable, "-m", "seedsweep.cli", "analyst"),
        *("--actors", str(actors), "--metrics-port", "0"),
    ]
    return Child("analyst", command, logs / "analyst.log", environment)


class _Watch:
    """Looks at a campaign while it runs, and tells of it."""

    def __init__(
        self, ledger: LedgerView, workforce: Workforce, plan: Plan, listeners: Listeners
    ) -> None:
        self._ledger, self._workforce = ledger, workforce
        self._plan, self._listeners = plan, listeners
        self._began = self._said = time.monotonic()
        self._has_ray = False
        self._counted, self._images = (-1, -1), ImageCounts(0, 0, 0)

    def look(self) -> LiveCounts | None:
        """Tell how far the campaign is, and what is waited for; None while the broker does not
        know."""
        try:
            counts = self._ledger.counts(self._plan.campaign.campaign_id)
            if counts is not None:
                self._count_images(counts)
            self._listeners.warn(store_words(self._workforce.complaints()))
            self._look_for_ray()
        except BrokerUnavailableError:
            return None
        if counts is not None:
            self._listeners.show(counts, self._images)
        return counts

    def _count_images(self, counts: LiveCounts) -> None:
        """Count them anew if another unit is done or dropped: that takes all of the bitmap."""
        campaign = self._plan.campaign
        done = None
        if (counts.done, counts.dropped) != self._counted:
            done = self._ledger.done_units(campaign.campaign_id)
        if done is not None:
            stages = self._ledger.stages(campaign.campaign_id)
            self._images = image_counts(campaign, self._plan.cuts, done, stages, self._plan.unseen)
            self._counted = counts.done, counts.dropped

    def _look_for_ray(self) -> None:
        """Say now and then that Ray starts, until the analyst first shows life."""
        now = time.monotonic()
        self._has_ray = self._has_ray or self._workforce.analysts() > 0
        if not self._has_ray and now - self._said > WORD_SECONDS:
            self._said = now
            self._listeners.say(
                f"Ray is not ready after {now - self._began:.0f} s, as on a busy machine; the "
                "analysis waits for it, and analyst.log says more."
            )


def _oversee(watch: _Watch, dispatcher: Dispatcher, children: list[Child]) -> None:
    turns, lost = Turns(dispatcher), 0
    while True:
        counts = watch.look()
        if counts is not None:
            if counts.trouble:
                raise PermanentError(counts.trouble)
            if counts.settled:
                return
        for child in children:
            if dispatcher.lost > lost:
                # It died of a unit, which is parked if it does that again and again.
                child.forget_deaths()
            child.ensure_alive()
        lost = dispatcher.lost
        time.sleep(turns.take())
