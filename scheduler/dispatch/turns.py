"""When a dispatcher ticks: again and again, and more slowly while something is away."""

import logging
import time
from collections.abc import Callable

from seedsweep.scheduler.dispatch.dispatcher import Dispatcher
from seedsweep.storage.broker.pace import Pace
from seedsweep.storage.errors import TransientError
from seedsweep.workers.monitoring import health

log = logging.getLogger(__name__)


class Turns:
    """A dispatcher's ticks, each with the rest that follows it: longer while something is away."""

    def __init__(self, dispatcher: Dispatcher, rest: float = 0.2) -> None:
        self._dispatcher, self._rest = dispatcher, rest
        self._pace, self._was_away = Pace(), False

    def take(self) -> float:
        """Tick once, whatever is away; returns the seconds to rest."""
        health.begin(health.TURN)
        try:
            self._dispatcher.tick()
        except TransientError as error:
            if not self._was_away:
                log.warning("The scheduler waits: %s", error)
            self._was_away = True
            return self._pace.next_wait()
        health.begin(health.TICK)
        if self._was_away:
            log.info("Broker and store answer again.")
        self._was_away = False
        self._pace.reset()
        return self._rest


def drive(dispatcher: Dispatcher, stopped: Callable[[], bool]) -> None:
    """Tick until stopped; a broker or store that is away is waited for."""
    turns = Turns(dispatcher)
    health.expect(health.TICK)
    while not stopped():
        time.sleep(turns.take())
