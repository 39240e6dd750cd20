"""The smallest edge threshold at which the generations of a prompt hold a clique of a wanted size.

A prompt is flagged at that threshold and at every larger one, so it is the prompt's score: the
smaller, the more alike are its generations.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from seedsweep.workers.analysis.cliques import DEFAULT_MAX_STEPS, decide_clique

STEPS = 1000
"""Thresholds are tried in steps of 1/1000, from the first step to 1."""

# Far above the rounding of a distance in float64, and far below the relative gap between two
# different ones: squares are integers, and 8192 x 8192 pixels bring them to 4e-14 of each other.
_ROUNDING = 1e-14


@dataclass(frozen=True, slots=True)
class Critical:
    """From which step on there is a clique of `size`.

    `step`: in thousandths; None if there are fewer generations than `size`. `members`: such a
    clique, or a larger one, at that step; ascending places. `decided`: no smaller step has one; if
    False, the search ended at `max_steps` below, where the analysis flags nothing either.
    """

    size: int
    step: int | None
    members: tuple[int, ...]
    decided: bool


def threshold_of(step: int) -> float:
    """The edge threshold of a step, a decimal with three places at most."""
    return step / STEPS


def steps_of(distances: NDArray[np.float64]) -> NDArray[np.int64]:
    """The first step at which each pair is an edge: int64, 1 to `STEPS`, in the shape given.

    `distances` are those of `tiled_pairs`, in [0, 1]. A step's edges are exactly those that
    `tiled_edges` makes at its threshold, equality included.
    """
    grid = np.arange(1, STEPS + 1) / STEPS
    return np.searchsorted(grid, distances * (1 - _ROUNDING)) + 1


def critical_steps(
    distances: NDArray[np.float64], sizes: Sequence[int], max_steps: int = DEFAULT_MAX_STEPS
) -> tuple[Critical, ...]:
    """The critical step of each size, in the order given; larger sizes have the same or larger.

    `distances` (n, n) float64 as of `tiled_pairs`, n may be 0. For each size about ten graphs are
    decided, each within `max_steps`. ValueError for a size below 2.
    """
    if any(size < 2 for size in sizes):
        raise ValueError(f"a clique that says something has two members or more, got {sizes}")
    steps = steps_of(distances)
    np.fill_diagonal(steps, STEPS + 1)
    critical: dict[int, Critical] = {}
    lowest = 1
    for size in sorted(set(sizes)):
        critical[size] = _search(steps, size, lowest, max_steps)
        lowest = critical[size].step or lowest
    return tuple(critical[size] for size in sizes)


def _search(steps: NDArray[np.int64], size: int, lowest: int, max_steps: int) -> Critical:
    if len(steps) < size:
        return Critical(size, None, (), True)
    highest, members, decided = STEPS, tuple(range(len(steps))), True
    while lowest < highest:
        middle = (lowest + highest) // 2
        decision = decide_clique(steps <= middle, size, max_steps)
        if decision.members:
            highest, members = _farthest(steps, decision.members), decision.members
        else:
            lowest = middle + 1
            decided &= decision.decided
    return Critical(size, highest, members, decided)


def _farthest(steps: NDArray[np.int64], members: tuple[int, ...]) -> int:
    """The step of the pair that is furthest apart: from there on all of them are a clique."""
    within = steps[np.ix_(members, members)]
    return int(within[np.triu_indices(len(members), 1)].max())
