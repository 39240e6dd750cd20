"""How many units are queued or claimed at a time."""

UNITS_PER_WORKER = 2
"""One in hand and one to take next: a unit that comes back waits behind few others."""


SECONDS_AHEAD = 2.0
"""Where units take moments, so many seconds' worth of them are in the window."""


def window_size(workers: int, units_per_second: float) -> int:
    """How many units the scheduler keeps queued or claimed for so many workers of this pace."""
    return max(UNITS_PER_WORKER * workers, int(units_per_second * SECONDS_AHEAD))
