"""What a worker does with a work unit: claim it, render it, hand it to the writer."""

import logging
import threading
import time

from storage.campaigns import load_campaign, store_parked
from storage.errors import (
    BrokerUnavailableError,
    ModelLoadError,
    SeedsweepError,
    StoreUnavailableError,
)
from storage.keys import unit_shard
from storage.ledger import LEASE_MS, Ledger
from storage.records import Parked, WorkUnit
from storage.store import Store
from workers.pipelines import Pipeline, load_pipeline
from workers.writer import Writer

log = logging.getLogger(__name__)

BEATS_PER_LEASE = 4
PAUSE_WHEN_STORE_FAILS = 2.0


class Renderer:
    """One device at work.

    A unit that it claims is stored and completed, or handed back, or parked with its reason; until
    then a heartbeat renews its lease. Only killing the process leaves that to the reaper.
    """

    def __init__(
        self, store: Store, ledger: Ledger, name: str, device: str = "cpu", threads: int = 1
    ) -> None:
        self._store, self._ledger = store, ledger
        self._name, self._device, self._threads = name, device, threads
        self._loaded: tuple[str, Pipeline | ModelLoadError] | None = None
        self._held: dict[tuple[str, int], WorkUnit] = {}
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._writer = Writer(store, self._complete, self._fail)
        self._heart = threading.Thread(target=self._beat_on, name="heartbeat", daemon=True)
        self._heart.start()

    def render(self, unit: WorkUnit) -> None:
        """Render the unit if its claim is granted; never raises for what a unit or broker does."""
        try:
            outcome = self._ledger.claim(unit.campaign_id, unit.index, unit.token)
        except BrokerUnavailableError as error:
            log.warning("Unit %d was not claimed: %s", unit.index, error)
            return
        if outcome != "granted":
            log.debug("The claim of unit %d was refused: %s.", unit.index, outcome)
            return
        self._hold(unit)
        try:
            self._render_claimed(unit)
        except Exception as error:
            self._fail(unit, error)

    def close(self) -> None:
        """Store what is rendered, then stop renewing."""
        self._writer.close()
        self._closing.set()
        self._heart.join()

    def _render_claimed(self, unit: WorkUnit) -> None:
        if self._store.exists(unit_shard(unit)):
            self._complete(unit)
            return
        pipeline = self._pipeline(unit)
        seeds = range(unit.seeds.first, unit.seeds.last + 1)
        self._writer.put(unit, pipeline.generate(unit.prompt, seeds))

    def _pipeline(self, unit: WorkUnit) -> Pipeline:
        if self._loaded is None or self._loaded[0] != unit.generation_id:
            # The old model goes first: a device seldom holds two.
            self._loaded = None
            self._loaded = (unit.generation_id, self._load(unit.campaign_id))
        loaded = self._loaded[1]
        if isinstance(loaded, ModelLoadError):
            raise loaded
        return loaded

    def _load(self, campaign_id: str) -> Pipeline | ModelLoadError:
        campaign = load_campaign(self._store, campaign_id).campaign
        try:
            return load_pipeline(campaign, self._device, self._threads)
        except ModelLoadError as error:
            return error

    def _complete(self, unit: WorkUnit) -> None:
        try:
            self._ledger.complete(unit.campaign_id, unit.index)
        except BrokerUnavailableError as error:
            log.warning("Unit %d is stored, but not recorded as done: %s", unit.index, error)
        self._let_go(unit)

    def _fail(self, unit: WorkUnit, error: Exception) -> None:
        reason = str(error) if isinstance(error, SeedsweepError) else repr(error)
        log.warning(
            "Unit %d (%s, seeds %d to %d) failed: %s",
            unit.index,
            unit.prompt_id,
            unit.seeds.first,
            unit.seeds.last,
            reason,
            exc_info=not isinstance(error, SeedsweepError),
        )
        try:
            self._give_up_or_back(unit, error, reason)
        except (BrokerUnavailableError, StoreUnavailableError) as trouble:
            log.warning("Unit %d waits for its lease to run out: %s", unit.index, trouble)
        self._let_go(unit)

    def _give_up_or_back(self, unit: WorkUnit, error: Exception, reason: str) -> None:
        if isinstance(error, StoreUnavailableError | BrokerUnavailableError):
            time.sleep(PAUSE_WHEN_STORE_FAILS)
            self._ledger.release(unit.campaign_id, unit.index, unit.token)
        elif self._ledger.fail(unit.campaign_id, unit.index, unit.token):
            parked = Parked(
                index=unit.index, prompt_id=unit.prompt_id, seeds=unit.seeds, reason=reason
            )
            store_parked(self._store, unit.campaign_id, parked)
            self._ledger.park(unit.campaign_id, unit.index)

    def _hold(self, unit: WorkUnit) -> None:
        with self._lock:
            self._held[unit.campaign_id, unit.index] = unit

    def _let_go(self, unit: WorkUnit) -> None:
        with self._lock:
            self._held.pop((unit.campaign_id, unit.index), None)

    def _beat_on(self) -> None:
        while True:
            try:
                self._beat()
            except BrokerUnavailableError as error:
                log.warning("No sign of life could be given: %s", error)
            if self._closing.wait(LEASE_MS / 1000 / BEATS_PER_LEASE):
                return

    def _beat(self) -> None:
        self._ledger.beat(self._name)
        with self._lock:
            held = list(self._held.values())
        for campaign_id in {unit.campaign_id for unit in held}:
            mine = [(u.index, u.token) for u in held if u.campaign_id == campaign_id]
            self._ledger.renew(campaign_id, mine)
