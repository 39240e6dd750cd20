"""Whether this process' broker does what it is asked: what /readyz and the metrics say of it.

One process has one broker, so what it knows of it is kept here as its metrics are.
"""

import threading
import time
from dataclasses import dataclass

from seedsweep.storage.broker.address import read_address
from seedsweep.storage.errors import BrokerUnavailableError
from seedsweep.workers.monitoring import metrics

SILENT_SECONDS = 15.0
"""A shorter silence is a failover, or a broker that is started anew."""


@dataclass(slots=True)
class _Heard:
    """What is known of the broker at `where`.

    `since`: when it last did what it was asked, or when it was asked first; `why`: why it does
    not do so now, empty if it does; `ever`: whether it has done so yet.
    """

    where: str
    since: float
    why: str = ""
    ever: bool = False


_lock = threading.Lock()
_watched = [_Heard("", 0.0, ever=True)]
"""One: until `watch` is called, a broker that nothing is said of."""


def watch(url: str) -> None:
    """From now on /readyz speaks of the broker at this URL. Raises `ConfigError` for no URL."""
    with _lock:
        _watched[:] = [_Heard(read_address(url).where, time.monotonic())]


def heard() -> None:
    """It did what it was asked; for any thread."""
    with _lock:
        for broker in _watched:
            broker.since, broker.why, broker.ever = time.monotonic(), "", True


def failed(error: BrokerUnavailableError) -> None:
    """It did not, and why; for any thread."""
    with _lock:
        for broker in _watched:
            broker.why = str(error)


def answers() -> bool:
    """Whether it did what it was last asked; False before it was asked anything."""
    with _lock:
        return any(broker.ever and not broker.why for broker in _watched)


def trouble() -> str:
    """What is waited for, for how long, and the remedy; empty if nothing is."""
    with _lock:
        silent = [(b, time.monotonic() - b.since) for b in _watched]
    for broker, seconds in silent:
        if not broker.ever or (broker.why and seconds > SILENT_SECONDS):
            return _sentence(broker, seconds)
    return ""


def _sentence(broker: _Heard, seconds: float) -> str:
    why = f" {broker.why}" if broker.why else ""
    return (
        f"This service waits for the broker at {broker.where}, which has not answered for "
        f"{seconds:.0f} s.{why} Do not restart this service: it goes on by itself."
    )


metrics.BROKER_ANSWERS.set_function(answers)
