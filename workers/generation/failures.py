"""What becomes of a unit that failed, and of a worker that fails one after another."""

import logging
import time
from collections.abc import Callable

from seedsweep.storage.campaigns import drop_parked, store_parked
from seedsweep.storage.errors import (
    BrokerUnavailableError,
    ConfigError,
    DeviceMemoryError,
    ModelLoadError,
    SeedsweepError,
    StoreUnavailableError,
    TransientError,
)
from seedsweep.storage.ledger import Ledger
from seedsweep.storage.records import Parked, WorkUnit
from seedsweep.storage.store import Store
from seedsweep.workers.generation.failure_streak import MAX_FAILED_PROMPTS, Streak
from seedsweep.workers.monitoring import metrics

log = logging.getLogger(__name__)

PAUSE_WHEN_STORE_FAILS = 2.0


class Failures:
    """The failures of one worker; safe to use from any thread.

    A unit that failed is made again, by whoever takes it, until it failed `MAX_ERRORS` times and is
    parked with its reason. What is nobody's fault is not counted.

    A worker that fails `MAX_FAILED_PROMPTS` different prompts in a row, otherwise than by a model
    that it cannot load, takes itself out: `leave` is called once. However often a unit failed in
    that row, it then counts as failed once, and is open again if only the repetitions had it
    parked: so one bad worker parks nothing that others can make, and a unit that fails with every
    worker is parked all the same. A broker or store that is away just then leaves the counts as
    they are.
    """

    def __init__(
        self, store: Store, ledger: Ledger, name: str, device: str, leave: Callable[[], None]
    ) -> None:
        self._store, self._ledger = store, ledger
        self._name, self._device, self._leave = name, device, leave
        self._streak = Streak()
        self.why_out = ""
        """Why the worker took itself out, in one sentence; empty while it is at work."""

    def end_streak(self) -> None:
        """A unit was stored: what failed before tells nothing of the worker."""
        self._streak.end()

    def settle(self, unit: WorkUnit, error: Exception) -> None:
        """Park the unit, or have it made again, and log why; if broker or store are away, its lease
        runs out."""
        reason = str(error) if isinstance(error, SeedsweepError) else repr(error)
        what = "is handed back, not counted as failed" if _is_nobodys_fault(error) else "failed"
        log.warning(
            "Unit %d (%s, seeds %d to %d) %s: %s",
            *(unit.index, unit.prompt_id, unit.seeds.first, unit.seeds.last, what, reason),
            exc_info=not isinstance(error, SeedsweepError),
        )
        try:
            self._give_up_or_back(unit, error, reason)
        except (BrokerUnavailableError, StoreUnavailableError) as trouble:
            log.warning("Unit %d waits for its lease to run out: %s", unit.index, trouble)

    def hand_back(self, unit: WorkUnit) -> None:
        """Have it made again, without counting it as failed."""
        metrics.UNITS.labels("handed_back").inc()
        metrics.RETRIES.labels("handed_back").inc()
        self._ledger.release(unit.campaign_id, unit.index, unit.token)

    def _give_up_or_back(self, unit: WorkUnit, error: Exception, reason: str) -> None:
        if _is_nobodys_fault(error):
            time.sleep(PAUSE_WHEN_STORE_FAILS)
            self.hand_back(unit)
            return
        metrics.UNITS.labels("failed").inc()
        must_park = self._ledger.fail(unit.campaign_id, unit.index, unit.token)
        is_out = _may_be_the_workers(error) and self._streak.add(unit)
        if is_out:
            self._take_out(reason)
        if must_park:
            self._park(unit, reason)
        else:
            metrics.RETRIES.labels("failed").inc()
        if is_out:
            self._take_back()

    def _park(self, unit: WorkUnit, reason: str) -> None:
        parked = Parked(index=unit.index, prompt_id=unit.prompt_id, seeds=unit.seeds, reason=reason)
        store_parked(self._store, unit.campaign_id, parked)
        self._ledger.park(unit.campaign_id, unit.index)
        metrics.PARKED.labels("failed").inc()

    def _take_out(self, reason: str) -> None:
        self.why_out = (
            f"The worker {self._name} failed {MAX_FAILED_PROMPTS} different prompts in a row and "
            f"takes itself out; check its device, {self._device}, and start it again; "
            f"it failed last with: {reason}"
        )
        log.error("%s", self.why_out)
        self._leave()

    def _take_back(self) -> None:
        """Have each unit of the streak count as failed once, however often it was."""
        for campaign_id, index, failures in self._streak.repeated():
            drop_parked(self._store, campaign_id, index)
            self._ledger.take_back(campaign_id, index, failures)


def _may_be_the_workers(error: Exception) -> bool:
    """Whether another worker might do better: one that lacks a model says nothing of its device."""
    return not isinstance(error, ModelLoadError)


def _is_nobodys_fault(error: Exception) -> bool:
    """Whether a service is away or the environment wrong: that tells nothing of the unit."""
    if isinstance(error, DeviceMemoryError):
        return False
    return isinstance(error, TransientError | ConfigError)
