"""How long to wait before a service that is away is asked again."""

import random

FIRST_SECONDS, LONGEST_SECONDS = 0.25, 4.0


class Pace:
    """Waits that grow while a service stays away. They are random, so that clients do not ask
    together."""

    def __init__(self) -> None:
        self._wait = 0.0

    def next_wait(self) -> float:
        """Seconds to wait now: `LONGEST_SECONDS` at most."""
        self._wait = min(LONGEST_SECONDS, max(FIRST_SECONDS, 2 * self._wait))
        return self._wait * random.uniform(0.5, 1)  # noqa: S311 - no secret

    def reset(self) -> None:
        """The service is back: make the next wait short."""
        self._wait = 0.0
