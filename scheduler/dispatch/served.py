"""That somebody serves a campaign, said in the store for those who have no broker to ask."""

import logging
import time
from collections.abc import Callable, Iterable

from seedsweep.storage.campaigns import drop_served, store_served
from seedsweep.storage.errors import ConfigError, StoreUnavailableError
from seedsweep.storage.store import Store

log = logging.getLogger(__name__)

SIGN_SECONDS = 60.0


class ServedSigns:
    """Keeps a fresh sign of life beside each campaign that is served, and takes it back at the end.

    One that was killed leaves signs, which soon are too old to count.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._shown: dict[str, float] = {}

    def show(self, campaigns: Iterable[str]) -> None:
        """Say that these are served, and no others; a store that refuses is asked again after a
        while, since nothing else waits for it."""
        served, now = set(campaigns), time.monotonic()
        for campaign_id in self._shown.keys() - served:
            self._try(drop_served, campaign_id)
            del self._shown[campaign_id]
        for campaign_id in served:
            if now - self._shown.get(campaign_id, -SIGN_SECONDS) >= SIGN_SECONDS:
                self._try(store_served, campaign_id)
                self._shown[campaign_id] = now

    def _try(self, change: Callable[[Store, str], None], campaign_id: str) -> None:
        try:
            change(self._store, campaign_id)
        except (StoreUnavailableError, ConfigError) as error:
            log.warning("That %s is served could not be noted: %s", campaign_id, error)

    def forget(self) -> None:
        """Leave the signs to another scheduler, which serves from now on."""
        self._shown.clear()
