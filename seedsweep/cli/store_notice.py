"""What `run` says of a store that fails it: once, again now and then, and when it is over."""

import time
from collections.abc import Sequence

from seedsweep.cli.options import say

AGAIN_SECONDS = 60.0


class StoreNotice:
    """Says what is wrong with the store, in lines of its own beside the progress."""

    def __init__(self) -> None:
        self._said_at: float | None = None

    def __call__(self, sentences: Sequence[str]) -> None:
        """Take what is wrong just now; nothing if all is well."""
        now = time.monotonic()
        if not sentences:
            if self._said_at is not None:
                say("The store does what is asked of it again.")
            self._said_at = None
        elif self._said_at is None or now - self._said_at > AGAIN_SECONDS:
            self._said_at = now
            for sentence in sentences:
                say(sentence)
