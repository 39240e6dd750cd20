"""What a worker does with a work unit: claim it, render it, hand it to the writer."""

import contextlib
import logging
import platform
import queue
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from seedsweep.storage.broker.pace import Pace
from seedsweep.storage.campaigns import load_campaign
from seedsweep.storage.errors import (
    BrokerUnavailableError,
    ConfigError,
    ModelLoadError,
    OpaqueModelError,
)
from seedsweep.storage.ledger import Ledger
from seedsweep.storage.live_state import Claim
from seedsweep.storage.records import Worker, WorkUnit
from seedsweep.storage.settings.campaign import Campaign
from seedsweep.storage.store import Store
from seedsweep.storage.workforce import Workforce
from seedsweep.workers.generation.earlier_prompts import EarlierPrompts
from seedsweep.workers.generation.failures import Failures
from seedsweep.workers.generation.heartbeat import Follow, Heartbeat
from seedsweep.workers.generation.kinds import KINDS, Kind, Workplace
from seedsweep.workers.generation.loaded_models import LoadedModels
from seedsweep.workers.generation.shard_writer import Writer
from seedsweep.workers.monitoring import health, metrics
from seedsweep.workers.monitoring.log_context import about_unit
from seedsweep.workers.monitoring.rate import RecentRate
from seedsweep.workers.pipelines.protocol import Pipeline

log = logging.getLogger(__name__)

CLAIM_SECONDS = 8.0
"""Shorter than after which the scheduler takes a message for lost."""

RATE_SECONDS = 60.0
REPORT_SECONDS = 30.0


class Renderer:
    """One device at work.

    A unit that it claims is stored and completed, or handed back, or parked with its reason; until
    then a heartbeat renews its lease. Only killing the process leaves that to the reaper. `follow`
    is told at every beat which load's units should be rendered; `metrics_at` (HOST:PORT) is where
    the worker says that it shows its metrics; `leave` is called, once and from any thread, if the
    worker takes itself out, as `Failures` says: it then claims nothing any more.
    """

    def __init__(
        self,
        store: Store,
        ledger: Ledger,
        workforce: Workforce,
        name: str,
        device: str = "cpu",
        threads: int = 1,
        follow: Follow = lambda _: None,
        leave: Callable[[], None] = lambda: None,
        metrics_at: str = "",
        kinds: Mapping[str, Kind[Any]] = KINDS,
    ) -> None:
        self._kinds, self._place = kinds, Workplace(device, threads)
        self._store, self._ledger = store, ledger
        self._name, self._device = name, device
        self._metrics_at = metrics_at
        self._models = LoadedModels(store, device, threads)
        self._campaigns: dict[str, Campaign] = {}
        self._images, self._rate = 0, RecentRate(RATE_SECONDS)
        self._idle_since = self._reported = time.monotonic()
        self._failures = Failures(store, ledger, name, device, leave)
        self._earlier = EarlierPrompts(store)
        self._writer = Writer(store, self._fail)
        self._untold: queue.SimpleQueue[WorkUnit] = queue.SimpleQueue()
        self._follow = follow
        self._heartbeat = Heartbeat(ledger, workforce, self._describe, self._hear, kinds)

    @property
    def why_out(self) -> str:
        """Why this worker took itself out, in one sentence; empty while it is at work."""
        return self._failures.why_out

    def render(self, unit: WorkUnit) -> None:
        """Render the unit if its claim is granted; never raises for what a unit or broker does."""
        metrics.STAGE_SECONDS.labels("wait").observe(time.monotonic() - self._idle_since)
        health.begin(health.UNIT)
        with about_unit(unit):
            try:
                if self.why_out:
                    self._ledger.release(unit.campaign_id, unit.index, unit.token)
                elif self._claim(unit) and self._heartbeat.hold(unit):
                    self._render_claimed(unit)
            except Exception as error:
                self._fail(unit, error)
        health.end(health.UNIT)
        self._idle_since = time.monotonic()

    def close(self) -> None:
        """Store what is rendered, then stop renewing."""
        self._writer.close()
        with contextlib.suppress(BrokerUnavailableError):
            self._tell()
        self._heartbeat.close()

    def _claim(self, unit: WorkUnit) -> bool:
        try:
            claim = self._ask_to_claim(unit)
        except BrokerUnavailableError as error:
            log.warning("Unit %d was not claimed: %s", unit.index, error)
            return False
        if claim.outcome == "granted":
            metrics.QUEUE_WAIT.observe(claim.waited_seconds)
            return True
        metrics.UNITS.labels("refused").inc()
        log.debug("The claim of unit %d was refused: %s.", unit.index, claim.outcome)
        return False

    def _ask_to_claim(self, unit: WorkUnit) -> Claim:
        """Ask again while the broker refuses, for `CLAIM_SECONDS`.

        After a broken network a message arrives on a new connection while the ledger's own is still
        a dead one; dropped, the unit would wait until its message counts as lost.
        """
        pace, until = Pace(), time.monotonic() + CLAIM_SECONDS
        while True:
            try:
                return self._ledger.claim(unit.campaign_id, unit.index, unit.token)
            except BrokerUnavailableError:
                wait = pace.next_wait()
                if time.monotonic() + wait > until:
                    raise
                time.sleep(wait)

    def _render_claimed(self, unit: WorkUnit) -> None:
        kind = self._kind(unit)
        if self._store.exists(kind.key(unit)):
            metrics.UNITS.labels("existed").inc()
            metrics.IMAGES.labels("existed").inc(kind.images(unit))
            self._complete(unit)
            return
        if self._earlier.postpones(kind, unit, self._writer.holds):
            self._failures.hand_back(unit)
            self._heartbeat.let_go(unit)
            return
        campaign = self._campaign(unit.campaign_id).of(unit.settings)
        wanted = kind.wants(campaign, unit)
        taken = self._earlier.take_over(
            kind, campaign, unit, wanted, lambda ask: self._models.ask(wanted, ask)
        )
        if taken:
            self._writer.put(unit, kind.key(unit), taken, self._shared)
            return
        told = self._models.ask(wanted, partial(self._ask, kind, unit))
        encode = partial(kind.encode, told, campaign, unit, self._place)
        self._writer.put(unit, kind.key(unit), encode, self._stored)

    def _kind(self, unit: WorkUnit) -> Kind[Any]:
        kind = self._kinds.get(unit.kind)
        if kind is None:
            raise ConfigError(
                f"This worker knows no work of the kind {unit.kind!r}; give it the version that "
                "the scheduler has."
            )
        return kind

    def _ask(self, kind: Kind[Any], unit: WorkUnit, pipeline: Pipeline, wanted: Campaign) -> Any:
        """Ask it; what only the first work shows of a model is remembered, as if at loading.

        That no screen can look inside it says nothing of its images.
        """
        try:
            with metrics.STAGE_SECONDS.labels("denoise").time():
                return kind.ask(pipeline, wanted, unit, self._place)
        except OpaqueModelError:
            raise
        except ModelLoadError as error:
            self._models.refuse(wanted, error)
            raise

    def _campaign(self, campaign_id: str) -> Campaign:
        if campaign_id not in self._campaigns:
            self._campaigns[campaign_id] = load_campaign(self._store, campaign_id).campaign
        return self._campaigns[campaign_id]

    def _stored(self, unit: WorkUnit) -> None:
        self._failures.end_streak()
        metrics.UNITS.labels("stored").inc()
        images = self._kind(unit).images(unit)
        metrics.IMAGES.labels("stored").inc(images)
        self._images += images
        self._complete(unit)
        now = time.monotonic()
        if now - self._reported > REPORT_SECONDS:
            self._reported, rate = now, self._rate.per_second
            pace = f", {rate:.2f} images/s over the last {RATE_SECONDS:.0f} s" if rate else ""
            log.info(
                "%d images stored since the start%s; the last unit: seeds %d to %d of %r for %s.",
                *(self._images, pace, unit.seeds.first, unit.seeds.last),
                *(unit.prompt[:60], unit.campaign_id),
            )

    def _shared(self, unit: WorkUnit) -> None:
        """The unit is stored; nothing was made for it, and nothing shown of the device."""
        metrics.UNITS.labels("shared").inc()
        metrics.IMAGES.labels("shared").inc(self._kind(unit).images(unit))
        self._complete(unit)

    def _complete(self, unit: WorkUnit) -> None:
        metrics.LAST_PROGRESS.set_to_current_time()
        try:
            self._ledger.complete(unit.campaign_id, unit.index)
        except BrokerUnavailableError as error:
            log.warning("Unit %d is stored; that is recorded later: %s", unit.index, error)
            self._untold.put(unit)
            return
        self._heartbeat.let_go(unit)

    def _hear(self, load: str) -> None:
        """The broker took a sign of life, so it may take more."""
        self._follow(load)
        self._tell()

    def _tell(self) -> None:
        """Record what was stored while the broker was away, and is held until then; for any
        thread."""
        while True:
            try:
                unit = self._untold.get_nowait()
            except queue.Empty:
                return
            try:
                self._ledger.complete(unit.campaign_id, unit.index)
            except BrokerUnavailableError:
                self._untold.put(unit)
                raise
            self._heartbeat.let_go(unit)

    def _fail(self, unit: WorkUnit, error: Exception) -> None:
        self._failures.settle(unit, error)
        last = self._heartbeat.let_go(unit)
        if last and last.token != unit.token:
            # It was issued again and claimed here meanwhile, and not rendered: this one was held.
            with contextlib.suppress(BrokerUnavailableError):
                self._failures.hand_back(last)

    def _describe(self) -> Worker:
        self._rate.update(self._images)
        return Worker(
            name=self._name,
            host=platform.node(),
            device=self._device,
            model=self._models.name,
            images=self._images,
            images_per_second=round(self._rate.per_second, 3),
            metrics=self._metrics_at,
            why_out=self.why_out,
        )
