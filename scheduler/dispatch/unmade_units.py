"""That units wait which no live worker can make, said once by the scheduler that leads."""

import logging
import time
from collections.abc import Mapping, Sequence

from seedsweep.scheduler.campaign.unserved import REMEDY, unknown_kinds
from seedsweep.scheduler.quantities import count_words
from seedsweep.storage.life_signs import Demand, Sign

log = logging.getLogger(__name__)

GRACE_SECONDS = 60.0
"""So long units may wait for workers that only just start."""


class UnmadeUnits:
    """Says that units wait and no worker lives, or none that knows their kind of work; again only
    if that changed meanwhile."""

    def __init__(self) -> None:
        self._since: dict[str, float] = {}
        self._told: set[str] = set()

    def look(self, demand: Mapping[str, Demand], signs: Sequence[Sign]) -> None:
        """Learn for which loads units wait, and who works."""
        now, wait = time.monotonic(), dict[str, str]()
        if demand and not any(sign.alive for sign in signs):
            units = sum(wanted.waiting for wanted in demand.values())
            wait[""] = (
                f"{count_words(units, 'unit')} {'waits' if units == 1 else 'wait'}, and no worker "
                "lives; start one the way you deployed, or `seedsweep worker`."
            )
        for unknown in unknown_kinds(demand, signs):
            names = ", ".join(unknown.campaigns)
            wait[unknown.kind] = f"{unknown.says}; {REMEDY}. That keeps up {names}."
        self._told &= wait.keys()
        self._since = {what: self._since.get(what, now) for what in wait}
        for what, sentence in wait.items():
            if what not in self._told and now - self._since[what] >= GRACE_SECONDS:
                self._told.add(what)
                log.warning("%s", sentence)
