"""Campaigns that are broken in the store: left out, and tried again after a pause."""

import logging
import time
from collections.abc import Set
from dataclasses import dataclass

from seedsweep.storage.errors import PermanentError

log = logging.getLogger(__name__)

FIRST_SECONDS, MOST_SECONDS = 10.0, 300.0
"""A campaign rests so long before it is tried again: the pause doubles each time, up to a limit."""


@dataclass(slots=True)
class _Broken:
    reason: str
    pause: float
    until: float


class BrokenCampaigns:
    """Says once why a campaign is left out, again if the reason changes, and when it is mended."""

    def __init__(self) -> None:
        self._broken: dict[str, _Broken] = {}

    @property
    def known(self) -> Set[str]:
        """Those that could not be read when they were tried last."""
        return self._broken.keys()

    @property
    def resting(self) -> set[str]:
        """Those of them that are not to be tried yet."""
        now = time.monotonic()
        return {name for name, each in self._broken.items() if now < each.until}

    def leave_out(self, campaign_id: str, error: PermanentError) -> None:
        """The campaign could not be read."""
        before, reason = self._broken.get(campaign_id), str(error)
        if before is None or before.reason != reason:
            log.error(
                "The campaign %s is left out, and tried again every few minutes: %s",
                *(campaign_id, reason),
            )
        pause = min(2 * before.pause, MOST_SECONDS) if before else FIRST_SECONDS
        self._broken[campaign_id] = _Broken(reason, pause, time.monotonic() + pause)

    def take_back(self, campaign_id: str) -> None:
        """The campaign can be read; fine if it always could."""
        if self._broken.pop(campaign_id, None):
            log.info("The campaign %s can be read again, and goes on.", campaign_id)

    def forget(self, campaign_id: str) -> None:
        """The campaign has gone."""
        self._broken.pop(campaign_id, None)
