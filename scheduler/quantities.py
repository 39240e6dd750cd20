"""Numbers for people: sizes and durations in the unit that suits them."""

from rich import filesize


def size_words(count: float) -> str:
    """A number of bytes, in units of 1,000: `1.6 MB`."""
    return filesize.decimal(round(count))


def count_words(count: int, noun: str) -> str:
    """How many of something that has its plural in -s: `1 unit`, `2,000 units`."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def number_words(value: float) -> str:
    """A positive number to three digits, whole from 100 on."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def rate_words(per_second: float, what: str = "") -> str:
    """How many a second, a minute or an hour, whichever is the first with one: `2.5 images/min`."""
    for unit, seconds in (("s", 1), ("min", 60)):
        if per_second * seconds >= 1:
            return f"{number_words(per_second * seconds)}{what}/{unit}"
    return f"{number_words(per_second * 3600)}{what}/h"


def duration_words(seconds: float) -> str:
    """A duration to three digits: below 1.5 minutes in seconds, below 1.5 hours in minutes, below
    2 days in hours."""
    for limit, unit, length in ((90, "s", 1), (5400, "min", 60), (172_800, "h", 3600)):
        if seconds < limit:
            return f"{number_words(seconds / length)} {unit}"
    return f"{number_words(seconds / 86_400)} days"
