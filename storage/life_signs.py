"""What the workforce is told, and what it answers: signs of life, demand, load and complaints."""

from dataclasses import dataclass
from typing import Literal, Self

from seedsweep.storage.ledger import LEASE_MS
from seedsweep.storage.records import FIRST_KINDS, StoreTrouble, Worker


@dataclass(frozen=True, slots=True)
class Demand:
    """How strongly a load is wanted.

    `waiting` units of its campaigns wait for a worker; `priority` is the highest of these
    campaigns', `weight` what those of that priority weigh together. `campaigns` names those whose
    units wait; schedulers of earlier versions name none.
    """

    weight: float
    waiting: int
    priority: int = 0
    campaigns: tuple[str, ...] = ()

    def as_text(self) -> str:
        """What the broker holds of it; workers read its first three words (workforce.lua)."""
        return " ".join((str(self.priority), repr(self.weight), str(self.waiting), *self.campaigns))

    @classmethod
    def of_text(cls, text: str) -> Self:
        """What `as_text` wrote, by this or an earlier version."""
        priority, weight, waiting, *campaigns = text.split(" ")
        return cls(float(weight), int(waiting), int(priority), tuple(campaigns))


@dataclass(frozen=True, slots=True)
class Sign:
    """A worker, what it serves, how many seconds ago it last showed life, and which kinds of work
    it knows."""

    worker: Worker
    load: str
    seconds_ago: float
    kinds: tuple[str, ...] = (*sorted(FIRST_KINDS),)

    @property
    def alive(self) -> bool:
        """Whether its claims still hold."""
        return not self.worker.why_out and self.seconds_ago * 1000 <= LEASE_MS

    def knows(self, load: str) -> bool:
        """Whether it knows the kind of work of the load."""
        return not (kind := later_kind(load)) or kind in self.kinds


@dataclass(frozen=True, slots=True)
class BrokerLoad:
    """What the broker bears; 0 for what it does not tell, and for a limit that it has not."""

    memory_bytes: int
    memory_limit_bytes: int
    connections: int
    round_trip_seconds: float


ServiceKind = Literal["scheduler", "analyst", "worker"]


@dataclass(frozen=True, slots=True)
class Complaint:
    """What a service of this kind finds wrong with the store."""

    kind: ServiceKind
    trouble: StoreTrouble


@dataclass(frozen=True, slots=True)
class MetricsPlace:
    """Where a scheduler or analyst on `host` shows its metrics, as HOST:PORT."""

    kind: Literal["scheduler", "analyst"]
    host: str
    metrics: str


def later_kind(load: str) -> str:
    """The kind that stands before the load's models; empty for those that every worker knows."""
    return load.rpartition("-")[0]
