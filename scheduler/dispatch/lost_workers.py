"""Which workers are lost, said once for each, by whichever scheduler leads."""

import logging
import time
from collections.abc import Iterable

from seedsweep.storage.life_signs import Sign
from seedsweep.storage.workforce import Workforce

log = logging.getLogger(__name__)

GRACE_SECONDS = 10.0
"""After a silence of the broker's, workers have so long to be heard again."""


class LostWorkers:
    """Says which workers are lost, or took themselves out; again of one that lived meanwhile.

    The broker keeps of whom it was said: a scheduler that starts again says nothing twice.
    """

    def __init__(self, workforce: Workforce) -> None:
        self._workforce = workforce
        self._missed: dict[str, float] = {}
        self._told: set[str] = set()

    def look(self, signs: Iterable[Sign]) -> None:
        """Learn from the present signs of all workers; one that took leave has none.

        Raises `BrokerUnavailableError`.
        """
        now = time.monotonic()
        gone = {sign.worker.name: sign for sign in signs if not sign.alive}
        self._told &= gone.keys()
        self._missed = {name: self._missed.get(name, now) for name in gone}
        for name, sign in gone.items():
            due = sign.worker.why_out or now - self._missed[name] >= GRACE_SECONDS
            if due and name not in self._told:
                is_news = self._workforce.note_lost(name)
                self._told.add(name)
                if is_news:
                    _tell(sign)


def _tell(sign: Sign) -> None:
    worker = sign.worker
    if worker.why_out:
        log.warning("Of the host %s: %s", worker.host, worker.why_out)
        return
    log.warning(
        "Worker %s (host %s) has shown no life for %.0f s; its units go back to the queue.",
        *(worker.name, worker.host, sign.seconds_ago),
    )
