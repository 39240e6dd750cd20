"""The labelled places on an axis."""

import math
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Tick:
    """A labelled place on an axis."""

    place: float
    label: str


def nice_step(least: float) -> float:
    """The smallest of 1, 2, 5 times a power of ten that is at least `least` > 0."""
    power = 10.0 ** math.floor(math.log10(least) + 1e-9)
    return next(power * m for m in (1, 2, 5, 10) if power * m >= least * (1 - 1e-9))
