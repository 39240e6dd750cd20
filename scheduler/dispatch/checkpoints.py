"""Which units of each campaign are done, stored now and then."""

import logging
import time

from seedsweep.storage.campaigns import store_done
from seedsweep.storage.errors import ConfigError, StoreUnavailableError
from seedsweep.storage.ledger_view import LedgerView
from seedsweep.storage.live_state import LiveCounts
from seedsweep.storage.store import Store

log = logging.getLogger(__name__)

CHECKPOINT_SECONDS = 60.0


class Checkpoints:
    """Stores now and then which units of each campaign are done."""

    def __init__(self, store: Store, ledger: LedgerView) -> None:
        self._store, self._ledger = store, ledger
        self._last: dict[str, tuple[int, float]] = {}

    def update(self, campaign_id: str, counts: LiveCounts) -> None:
        """Store it if more is done than last time, and either all is done or the last time is a
        while ago.

        A store that refuses is asked again after a while: nothing else waits for what only spares
        a listing.
        """
        done, since = self._last.setdefault(campaign_id, (0, time.monotonic()))
        due = counts.settled or time.monotonic() - since > CHECKPOINT_SECONDS
        if counts.done == done or not due:
            return
        bits = self._ledger.done_units(campaign_id)
        if bits is not None:
            try:
                store_done(self._store, campaign_id, bits)
                done = counts.done
            except (StoreUnavailableError, ConfigError) as error:
                log.warning("What is done of %s could not be noted: %s", campaign_id, error)
            self._last[campaign_id] = done, time.monotonic()
