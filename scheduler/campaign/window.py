"""How many units are queued or claimed at a time."""

UNITS_PER_WORKER = 2
"""For each worker one unit in hand and one to take next, so that a unit that comes back waits
behind few others."""


SECONDS_AHEAD = 2.0
"""If units are short, the window holds as many as take so many seconds."""


def window_size(workers: int, units_per_second: float) -> int:
    """How many units the scheduler keeps queued or claimed for so many workers of this pace."""
    return max(UNITS_PER_WORKER * workers, int(units_per_second * SECONDS_AHEAD))
