"""SIGTERM as a question that loops can ask."""

import signal
import threading
from collections.abc import Callable


def stop_on_sigterm() -> Callable[[], bool]:
    """From now on SIGTERM and SIGINT only answer the returned question with True."""
    stopped = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopped.set())
    return stopped.is_set
