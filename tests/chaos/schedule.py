"""What strikes a round of chaos, and when: drawn from its seed."""

import random
from dataclasses import dataclass

from seedsweep.storage.ledger import LEASE_MS, MAX_LOSSES
from tests.support.brokers import configured, demoted, occupied
from tests.support.proxy import INTERNAL_ERROR, SLOW_DOWN, STORAGE_FULL, Faults

EVENTS = 8

COSTLY = {
    "kill worker-0": 2,
    "kill worker-1": 2,
    "freeze worker-0": 1,
    "freeze worker-1": 1,
    "kill broker": 1,
    "broker fault": 3,
}
"""What may leave a claimed unit without a worker, and how often at most in one round."""

CHEAP = {
    "forget broker": 1,
    "kill scheduler-0": 1,
    "kill scheduler-1": 1,
    "freeze scheduler-0": 1,
    "freeze scheduler-1": 1,
    "kill analyst": 1,
    "kill store": 2,
    "store fault": 3,
    "repeat messages": 1,
    "reverse messages": 1,
    "replay messages": 1,
    "foreign messages": 1,
    "demote broker": 1,
    "part broker": 1,
    "occupy broker": 1,
}
TROUBLES = {
    "demote": demoted,
    "part": lambda client: configured(client, min_replicas_to_write=1),
    "occupy": occupied,
}
"""What the broker answers everything with for a while: it is a replica, has none, or is busy."""


@dataclass(frozen=True, slots=True)
class Event:
    """What strikes once so many units are done, or the campaign has stood still for a while."""

    units: int
    name: str
    faults: Faults | None = None
    seconds: float = 0.0

    def __str__(self):
        changed = [name for name in Faults.__slots__ if self._changes(name)]
        return " ".join([self.name, *changed, *([f"{self.seconds:.1f} s"] if self.seconds else [])])

    def _changes(self, name):
        return self.faults is not None and getattr(self.faults, name) != getattr(Faults(), name)


def draw_schedule(seed, units):
    """Draw the events of a round of about so many units, in order: equal seeds give equal ones.

    A unit is given up once its worker was lost `MAX_LOSSES` times; a schedule has fewer events that
    may do that.
    """
    chance = random.Random(seed)
    costly = _shuffled(chance, COSTLY)[: MAX_LOSSES - 1]
    names = costly + _shuffled(chance, CHEAP)
    chance.shuffle(names)
    return [
        _draw_event(chance, int(units * (number + chance.random()) / (EVENTS + 1)), name)
        for number, name in enumerate(names[:EVENTS])
    ]


def _shuffled(chance, bag):
    names = [name for name, count in bag.items() for _ in range(count)]
    chance.shuffle(names)
    return names


def _draw_event(chance, units, name):
    if name.startswith("freeze"):
        return Event(units, name, seconds=chance.uniform(1, 2 * LEASE_MS / 1000))
    if name.partition(" ")[0] in TROUBLES:
        return Event(units, name, seconds=chance.uniform(1, 5))
    if not name.endswith("fault"):
        return Event(units, name)
    kinds = [
        Faults(latency=chance.uniform(0.01, 0.1)),
        Faults(cut=chance.uniform(0.02, 0.3)),
        Faults(cut_sent=chance.randrange(200_000)),
        Faults(cut_answered=chance.randrange(20_000)),
        Faults(lose_answer=chance.uniform(0.05, 0.5)),
        Faults(black_hole=True),
        Faults(refuse=True),
    ]
    if name == "store fault":
        error = chance.choice([INTERNAL_ERROR, SLOW_DOWN, STORAGE_FULL])
        kinds += [Faults(errors=rate, error=error) for rate in (0.3, 0.7, 1.0)]
    return Event(units, name, chance.choice(kinds), chance.uniform(1, 5))
