"""Celery's consumer, which nothing that the broker answers ends."""

import logging
import math
import time
from typing import Any

from celery.worker.consumer import Consumer
from celery.worker.state import maybe_shutdown

from seedsweep.storage.broker.answers import in_our_words
from seedsweep.storage.broker.pace import LONGEST_SECONDS, Pace

log = logging.getLogger(__name__)

AWAKE_SECONDS = 0.1


class PatientConsumer(Consumer):  # type: ignore[misc]
    """Takes messages again as soon as the broker lets it, asking at a pace until then.

    Celery's own would end the worker for half of the answers, and ask several times a second for
    the others. SIGTERM ends the waiting.
    """

    _failed, _pace = -math.inf, Pace()

    def ensure_connected(self, conn: Any) -> Any:
        """Connect, or raise: there is one loop that tries again, and it is that of `start`."""
        conn.connect()
        self.first_connection_attempt = False
        return conn

    def on_connection_error_before_connected(self, exc: Exception) -> None:
        self._wait(exc)

    def on_connection_error_after_connected(self, exc: Exception) -> None:
        super().on_connection_error_after_connected(exc)
        self._wait(exc)

    def _wait(self, error: Exception) -> None:
        # A replica lets us connect, and refuses each message: only time tells that it is over.
        if time.monotonic() - self._failed > 2 * LONGEST_SECONDS:
            self._pace.reset()
            log.warning("No units are taken for now: %s", in_our_words(error.__cause__ or error))
        until = time.monotonic() + self._pace.next_wait()
        while time.monotonic() < until:
            maybe_shutdown()
            time.sleep(AWAKE_SECONDS)
        self._failed = time.monotonic()
