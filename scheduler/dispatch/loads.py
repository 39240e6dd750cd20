"""The load of a unit: what a worker holds for it at once, and so the queue that it lies in."""

import math
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from seedsweep.scheduler.campaign.plan import Plan
from seedsweep.storage.ledger_view import LedgerView
from seedsweep.storage.live_state import DROPPED, LiveCounts, Lot, opened
from seedsweep.storage.record import digest
from seedsweep.storage.records import FIRST_KINDS, KindName
from seedsweep.workers.generation.kinds import KINDS

RECOUNT_SECONDS = 1.0
"""How often a campaign of several loads has its units counted by load: what is done may be told so
much too late, what is in the window never. Of a huge campaign less often: counting takes no more
than a tenth of the time."""

ByLoad = Mapping[str, Mapping[str, LiveCounts]]
"""Load → campaign → the counts of its units of that load."""


def load_of(models: Sequence[str], kind: KindName = "generate") -> str:
    """Names the models by their ids: the id of one, a hash of several, whatever their order.

    A later kind stands before that, with a dash: workers that do not know it take no such load.
    """
    several = sorted(set(models))
    named = several[0] if len(several) == 1 else digest({"models": several})
    return named if kind in FIRST_KINDS else f"{kind}-{named}"


def loads_of(plan: Plan) -> tuple[str, ...]:
    """The load of each of a prompt's units, in their order; all prompts have the same."""
    loads: dict[tuple[str, str], str] = {}
    for place, piece in enumerate(plan.pieces):
        kind = piece.kind, piece.kind_id
        if kind not in loads:
            wanted = KINDS[piece.kind].wants(plan.campaign, plan.unit(place))
            loads[kind] = load_of([each.model.model_id for each in wanted], piece.kind)
    return tuple(loads[piece.kind, piece.kind_id] for piece in plan.pieces)


class Loads:
    """The counts of campaigns by load; of one that has a single load they are all its own.

    `lot` tells which units of a campaign are of a load.
    """

    def __init__(self, ledger: LedgerView) -> None:
        self._ledger = ledger
        self._known: dict[str, _Known] = {}

    def split(self, plans: Mapping[str, Plan], counts: Mapping[str, LiveCounts]) -> ByLoad:
        """Count by load the units of the campaigns that `counts` names.

        Raises `BrokerUnavailableError`.
        """
        before = self._known
        self._known = {c: before.get(c) or _Known.of(plans[c]) for c in counts}
        by_load: dict[str, dict[str, LiveCounts]] = {}
        for campaign_id, known in self._known.items():
            for load, count in self._split(campaign_id, known, counts[campaign_id]).items():
                by_load.setdefault(load, {})[campaign_id] = count
        return by_load

    def lot(self, campaign_id: str, load: str) -> Lot | None:
        """The units of the load; None if the campaign has no others."""
        known = self._known[campaign_id]
        if len(known.loads) == 1:
            return None
        return Lot(known.loads.index(load), known.numbers)

    def _split(
        self, campaign_id: str, known: "_Known", counts: LiveCounts
    ) -> Mapping[str, LiveCounts]:
        if len(known.loads) == 1:
            return {known.loads[0]: counts}
        began = time.monotonic()
        if began >= known.count_at:
            known.settled = self._count(campaign_id, known, counts)
            counted = time.monotonic()
            known.count_at = counted + RECOUNT_SECONDS * max(1.0, 10 * (counted - began))
        window = self._ledger.window(campaign_id)
        queued, claimed = known.count(window.queued), known.count(window.claimed)
        return {
            load: replace(
                known.settled[number],
                queued=queued[number],
                claimed=claimed[number],
                state=counts.state,
            )
            for number, load in enumerate(known.loads)
        }

    def _count(self, campaign_id: str, known: "_Known", counts: LiveCounts) -> list[LiveCounts]:
        """The counts of each load, by its number, but for its window."""
        done = self._ledger.done_units(campaign_id)
        parked = np.zeros(counts.units, dtype=np.bool_)
        parked[list(self._ledger.parked_units(campaign_id))] = True
        stages = self._ledger.stages(campaign_id)
        shape = counts.prompts, counts.per_prompt
        done = np.zeros(shape, dtype=np.bool_) if done is None else done.reshape(shape)
        parked = parked.reshape(shape) & ~done
        held = dropped = np.zeros(shape, dtype=np.bool_)
        if stages is not None:
            unopened = ~opened(known.ends, stages) & ~done & ~parked
            is_dropped = (stages >= DROPPED)[:, None]
            held, dropped = unopened & ~is_dropped, unopened & is_dropped
        numbers = np.array(known.numbers)
        split = []
        for number in range(len(known.loads)):
            mine = numbers == number
            split.append(
                replace(
                    counts,
                    units=counts.prompts * int(mine.sum()),
                    per_prompt=int(mine.sum()),
                    done=int(done[:, mine].sum()),
                    parked=int(parked[:, mine].sum()),
                    held=int(held[:, mine].sum()),
                    dropped=int(dropped[:, mine].sum()),
                )
            )
        return split


@dataclass(slots=True)
class _Known:
    """The loads of a campaign, which of them each of a prompt's units is of, and what was counted
    last of each."""

    loads: tuple[str, ...]
    numbers: tuple[int, ...]
    ends: tuple[int, ...]
    settled: list[LiveCounts] = field(default_factory=list)
    count_at: float = -math.inf
    """When they are counted again."""

    @classmethod
    def of(cls, plan: Plan) -> "_Known":
        loads = loads_of(plan)
        each = tuple(dict.fromkeys(loads))
        return cls(each, tuple(map(each.index, loads)), plan.stage_ends)

    def count(self, indexes: Sequence[int]) -> list[int]:
        """How many of the units are of each load, by its number."""
        numbers = Counter(self.numbers[index % len(self.numbers)] for index in indexes)
        return [numbers[number] for number in range(len(self.loads))]
