"""What a service waits for, said once, and not with every try."""

import logging
import time

from seedsweep.storage.errors import (
    BrokerUnavailableError,
    RayUnavailableError,
    StoreUnavailableError,
    TransientError,
)
from seedsweep.workers.monitoring import broker_watch, store_watch

log = logging.getLogger(__name__)

AGAIN_SECONDS = 300.0
"""So often a service says again what it still waits for."""

_KINDS = (BrokerUnavailableError, StoreUnavailableError, RayUnavailableError, TransientError)


class Waiting:
    """Logs what is away: broker, store and Ray each once, again now and then, and their return."""

    def __init__(self) -> None:
        self._said: dict[type[TransientError], float] = {}

    def say(self, error: TransientError) -> None:
        """Something is away."""
        if isinstance(error, BrokerUnavailableError):
            broker_watch.failed(error)
        kind, now = next(kind for kind in _KINDS if isinstance(error, kind)), time.monotonic()
        if now - self._said.get(kind, now - AGAIN_SECONDS) >= AGAIN_SECONDS:
            self._said[kind] = now
            log.warning("The analyst waits: %s", error)

    def note_answer(self) -> None:
        """Something answered: is everything there again but Ray, of which `note_ray` tells?"""
        away = self._said.keys() - {RayUnavailableError}
        trouble = store_watch.trouble()
        if away and broker_watch.answers() and (trouble is None or trouble.kind == "slow"):
            log.info("Broker and store answer again.")
            self._said = {k: at for k, at in self._said.items() if k is RayUnavailableError}

    def note_ray(self) -> None:
        """Ray answered."""
        if self._said.pop(RayUnavailableError, None) is not None:
            log.info("Ray answers again.")
