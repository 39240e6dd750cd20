"""Which units of each campaign are done, stored now and then."""

import time

from seedsweep.storage.campaigns import store_done
from seedsweep.storage.ledger import Ledger
from seedsweep.storage.live_state import LiveCounts
from seedsweep.storage.store import Store

CHECKPOINT_SECONDS = 60.0


class Checkpoints:
    """Stores now and then which units of each campaign are done."""

    def __init__(self, store: Store, ledger: Ledger) -> None:
        self._store, self._ledger = store, ledger
        self._last: dict[str, tuple[int, float]] = {}

    def update(self, campaign_id: str, counts: LiveCounts) -> None:
        """Store it if more is done than last time, and either all is or that was a while ago."""
        done, since = self._last.setdefault(campaign_id, (0, time.monotonic()))
        due = counts.settled or time.monotonic() - since > CHECKPOINT_SECONDS
        if counts.done == done or not due:
            return
        bits = self._ledger.done_units(campaign_id)
        if bits is not None:
            store_done(self._store, campaign_id, bits)
            self._last[campaign_id] = counts.done, time.monotonic()
