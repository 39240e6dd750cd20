"""How fast a count grows."""

import time
from collections import deque


class RecentRate:
    """The mean growth of a count, per second, over the last `seconds`."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._seen: deque[tuple[float, float]] = deque()

    def update(self, count: float) -> None:
        """Note what the count is now."""
        now = time.monotonic()
        self._seen.append((now, count))
        while now - self._seen[0][0] > self._seconds:
            self._seen.popleft()

    @property
    def per_second(self) -> float:
        """The growth per second; 0 before the second note."""
        if len(self._seen) < 2:
            return 0.0
        (began, before), (now, after) = self._seen[0], self._seen[-1]
        return (after - before) / max(now - began, 1e-9)
