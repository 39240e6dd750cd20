"""That somebody serves a campaign, said in the store for those who have no broker to ask."""

import time
from collections.abc import Iterable

from seedsweep.storage.campaigns import drop_served, store_served
from seedsweep.storage.store import Store

SIGN_SECONDS = 60.0


class ServedSigns:
    """Keeps a fresh sign of life beside each campaign that is served, and takes it back at the end.

    One that was killed leaves signs, which soon are too old to count.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._shown: dict[str, float] = {}

    def show(self, campaigns: Iterable[str]) -> None:
        """Say that these are served, and no others."""
        served, now = set(campaigns), time.monotonic()
        for campaign_id in self._shown.keys() - served:
            drop_served(self._store, campaign_id)
            del self._shown[campaign_id]
        for campaign_id in served:
            if now - self._shown.get(campaign_id, -SIGN_SECONDS) >= SIGN_SECONDS:
                store_served(self._store, campaign_id)
                self._shown[campaign_id] = now

    def forget(self) -> None:
        """Leave the signs to another scheduler, which serves from now on."""
        self._shown.clear()
