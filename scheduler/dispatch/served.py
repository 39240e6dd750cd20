"""That somebody serves a campaign, said in the store for those who have no broker to ask."""

import logging
import time
from collections.abc import Iterable

from seedsweep.storage.campaigns import drop_served, store_served
from seedsweep.storage.errors import ConfigError, StoreUnavailableError
from seedsweep.storage.store import Store

log = logging.getLogger(__name__)

SIGN_SECONDS = 60.0
"""How often it is said again, well within `SERVED_SECONDS`."""


class ServedSigns:
    """Keeps a fresh sign of life beside each campaign that is served, and removes it at the end. A
    scheduler that was killed leaves its signs, which are soon too old to count.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._shown: dict[str, float] = {}
        self._again = 0.0

    def show(self, campaigns: Iterable[str]) -> None:
        """Say that these are served, and no others.

        A store that refuses is left alone for a while: nothing waits for what is said here.
        """
        served, now = set(campaigns), time.monotonic()
        if now < self._again:
            return
        try:
            for campaign_id in self._shown.keys() - served:
                drop_served(self._store, campaign_id)
                del self._shown[campaign_id]
            for campaign_id in served:
                if now - self._shown.get(campaign_id, -SIGN_SECONDS) >= SIGN_SECONDS:
                    store_served(self._store, campaign_id)
                    self._shown[campaign_id] = now
        except (StoreUnavailableError, ConfigError) as error:
            log.warning("Which campaigns are served could not be noted: %s", error)
            self._again = time.monotonic() + SIGN_SECONDS

    def forget(self) -> None:
        """Leave the signs to another scheduler, which serves from now on."""
        self._shown.clear()
