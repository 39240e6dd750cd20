"""What the ledger is given, and what it answers: restored state, live counts, a claim's outcome."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

DROPPED = 128
"""Added to the number of the stage after which a prompt was dropped."""

ClaimOutcome = Literal["granted", "done", "paused", "cancelled", "stale"]


@dataclass(frozen=True, slots=True)
class Lot:
    """The units of a campaign that are of one load, where it has several.

    `numbers` has the number of the load of each of a prompt's units, in their order; `number` is
    that of this one.
    """

    number: int
    numbers: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Window:
    """The indexes of the units that are queued, and of those that are claimed."""

    queued: tuple[int, ...]
    claimed: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Claim:
    """What became of a claim, and how many seconds a granted one's unit was queued."""

    outcome: ClaimOutcome
    waited_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Reaped:
    """How many leases ran out, and which of their units are to be parked, since they were lost too
    often."""

    expired: int
    to_park: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Restored:
    """A campaign's state as the store knows it.

    `done`: (units,) bool; `parked`: unit indexes; `ready` and `flagged`: prompt indexes;
    `analysed`: (prompts,) bool, those whose result covers all their images.

    A campaign with stages has `ends`, how many units of a prompt are open in each stage, and
    `stages`: (prompts,) uint8, the number of the stage whose units are open, and `DROPPED` more
    if the others were dropped.
    """

    per_prompt: int
    done: NDArray[np.bool_]
    parked: frozenset[int]
    ready: tuple[int, ...]
    analysed: NDArray[np.bool_]
    flagged: frozenset[int]
    state: str
    ends: tuple[int, ...] = ()
    stages: NDArray[np.uint8] = field(default_factory=lambda: np.zeros(0, dtype=np.uint8))

    @property
    def held(self) -> int:
        """How many units wait for a stage."""
        return self._unopened(self.stages < DROPPED)

    @property
    def dropped(self) -> int:
        """How many units were dropped."""
        return self._unopened(self.stages >= DROPPED)

    def _unopened(self, prompts: NDArray[np.bool_]) -> int:
        if not self.ends:
            return 0
        settled = self.done.copy()
        settled[list(self.parked)] = True
        return int((unopened(self.ends, self.stages, settled) & prompts[:, None]).sum())


def opened(ends: Sequence[int], stages: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Which units of each prompt are open, by `Restored.ends` and its `stages`: (prompts, units of
    a prompt) bool."""
    counts = np.array([0, *ends], dtype=np.int64)[stages % DROPPED]
    return np.arange(ends[-1]) < counts[:, None]


def unopened(
    ends: Sequence[int], stages: NDArray[np.uint8], settled: NDArray[np.bool_]
) -> NDArray[np.bool_]:
    """Which units of each prompt are neither open nor `settled`, (units,) bool: (prompts, units of
    a prompt) bool."""
    return ~opened(ends, stages) & ~settled.reshape(-1, ends[-1])


@dataclass(frozen=True, slots=True)
class LiveCounts:
    """A campaign's live counts; `ready`, `analysed` and `flagged` count prompts, the rest units.

    `held` units wait for a stage, and `dropped` ones will not be made. `in_cohorts` prompts wait
    for the scores of others, and are none of the `ready` ones. `failing` units have failed or lost
    their worker before and are not done yet; `trouble` says why prompts cannot be analysed just
    now, if they cannot.
    """

    units: int
    done: int
    parked: int
    queued: int
    claimed: int
    failing: int
    ready: int
    analysed: int
    flagged: int
    state: str
    trouble: str
    per_prompt: int
    held: int = 0
    dropped: int = 0
    in_cohorts: int = 0

    @property
    def prompts(self) -> int:
        """How many prompts the campaign has."""
        return self.units // self.per_prompt

    @property
    def wanted(self) -> int:
        """How many units are not dropped."""
        return self.units - self.dropped

    @property
    def remaining(self) -> int:
        """How many units are neither done, nor parked, nor dropped."""
        return self.units - self.done - self.parked - self.dropped

    @property
    def window(self) -> int:
        """How many units are queued or claimed."""
        return self.queued + self.claimed

    @property
    def waiting(self) -> int:
        """How many units wait for a worker, in the queue or not, and may be taken."""
        return self.remaining - self.held - self.claimed if self.state == "active" else 0

    @property
    def pending(self) -> int:
        """How many units may be put into the window."""
        return self.remaining - self.held - self.window if self.state == "active" else 0

    @property
    def settled(self) -> bool:
        """Whether every unit is done, parked or dropped, and every prompt analysed."""
        return self.remaining == 0 and self.analysed == self.prompts
