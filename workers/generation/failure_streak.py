"""The failures of one worker in a row: enough of them tell of the worker, not of the units."""

import threading
from collections import Counter

from seedsweep.storage.records import WorkUnit

MAX_FAILED_PROMPTS = 5
"""A broken device fails all that it is given; where one prompt in ten is itself broken, and they
are broken independently, five in a row are by a chance of 1 in 100,000."""


class Streak:
    """What a worker has failed since it last stored a unit; safe to use from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._prompts: set[str] = set()
        self._failures: Counter[tuple[str, int]] = Counter()

    def end(self) -> None:
        """A unit was stored: what failed before tells nothing of the worker."""
        with self._lock:
            self._prompts.clear()
            self._failures.clear()

    def add(self, unit: WorkUnit) -> bool:
        """Count a failure; True when it brings the streak to `MAX_FAILED_PROMPTS` prompts.

        A unit that fails again and again, or many units of one prompt, make no long streak.
        """
        with self._lock:
            before = len(self._prompts)
            self._prompts.add(unit.prompt_id)
            self._failures[unit.campaign_id, unit.index] += 1
            return before < len(self._prompts) == MAX_FAILED_PROMPTS

    def repeated(self) -> list[tuple[str, int, int]]:
        """The units that failed more than once: campaign, index, and how often beyond once."""
        with self._lock:
            return [(*unit, count - 1) for unit, count in self._failures.items() if count > 1]
