"""What the ledger takes and tells of a campaign: restored state, live counts, a claim's outcome."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

ClaimOutcome = Literal["granted", "done", "paused", "cancelled", "stale"]


@dataclass(frozen=True, slots=True)
class Claim:
    """What became of a claim, and how many seconds a granted one's unit was queued."""

    outcome: ClaimOutcome
    waited_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Reaped:
    """How many leases ran out, and which of their units are to be parked: lost too often."""

    expired: int
    to_park: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Restored:
    """A campaign's state as the store knows it.

    `done`: (units,) bool; `parked`: unit indexes; `ready` and `flagged`: prompt indexes;
    `analysed`: (prompts,) bool, those whose result covers all their images.
    """

    per_prompt: int
    done: NDArray[np.bool_]
    parked: frozenset[int]
    ready: tuple[int, ...]
    analysed: NDArray[np.bool_]
    flagged: frozenset[int]
    state: str


@dataclass(frozen=True, slots=True)
class LiveCounts:
    """A campaign's live counts; `ready`, `analysed` and `flagged` count prompts, the rest units.

    `failing` units have failed or lost their worker before and are not done yet; `trouble` says
    why prompts cannot be analysed just now, if they cannot.
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

    @property
    def prompts(self) -> int:
        """How many prompts the campaign has."""
        return self.units // self.per_prompt

    @property
    def remaining(self) -> int:
        """How many units are neither done nor parked."""
        return self.units - self.done - self.parked

    @property
    def window(self) -> int:
        """How many units are queued or claimed."""
        return self.queued + self.claimed

    @property
    def waiting(self) -> int:
        """How many units wait for a worker, in the queue or not, and may be taken."""
        return self.remaining - self.claimed if self.state == "active" else 0

    @property
    def pending(self) -> int:
        """How many units may be put into the window."""
        return self.remaining - self.window if self.state == "active" else 0

    @property
    def settled(self) -> bool:
        """Whether every unit is done or parked and every prompt analysed."""
        return self.remaining == 0 and self.analysed == self.prompts
