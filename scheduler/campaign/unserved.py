"""Why no worker makes units that wait, though some live."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from seedsweep.scheduler.quantities import count_words
from seedsweep.storage.life_signs import Demand, Sign, later_kind

REMEDY = "give workers the version that the scheduler has"


@dataclass(frozen=True, slots=True)
class UnknownKind:
    """Units of a kind of work wait, of these campaigns, and none of the live workers knows it."""

    kind: str
    units: int
    campaigns: tuple[str, ...]
    workers: int

    @property
    def says(self) -> str:
        """That in words, without an end."""
        wait = "waits" if self.units == 1 else "wait"
        nobody = (
            "the only worker that lives does not know it"
            if self.workers == 1
            else f"none of the {self.workers} workers that live knows it"
        )
        return f"{count_words(self.units, 'unit')} of the kind {self.kind!r} {wait}, and {nobody}"


def unknown_kinds(demand: Mapping[str, Demand], signs: Sequence[Sign]) -> list[UnknownKind]:
    """The kinds of which units wait and which no live worker knows, by name; none if none lives."""
    live = [sign for sign in signs if sign.alive]
    unknown: dict[str, list[Demand]] = {}
    for load, wanted in demand.items():
        if live and not any(sign.knows(load) for sign in live):
            unknown.setdefault(later_kind(load), []).append(wanted)
    return [
        UnknownKind(
            kind,
            sum(each.waiting for each in wanted),
            tuple(sorted({name for each in wanted for name in each.campaigns})),
            len(live),
        )
        for kind, wanted in sorted(unknown.items())
    ]


def why_unserved(
    campaign_id: str, priority: int, demand: Mapping[str, Demand], signs: Sequence[Sign]
) -> Iterator[str]:
    """In sentences, of a campaign whose units wait: that no live worker knows a kind of them, or
    that all who do are at work for others, by a higher priority or not."""
    for unknown in unknown_kinds(demand, signs):
        if campaign_id in unknown.campaigns:
            yield f"{unknown.says}; {REMEDY}."
    loads = [load for load, wanted in demand.items() if campaign_id in wanted.campaigns]
    able = [s for s in signs if s.alive and any(s.knows(load) for load in loads)]
    busy = [s for s in able if s.load in demand and s.load not in loads]
    if able and len(busy) == len(able):
        who = (
            "the only worker that could make them is"
            if len(able) == 1
            else f"all {len(able)} workers that could make them are"
        )
        yield (
            f"Its units wait: {who} at work for others; start more, or have it come first with "
            f"`seedsweep prioritise {campaign_id} --priority N`."
        )
    elif (highest := max((demand[load].priority for load in loads), default=priority)) > priority:
        yield (
            f"Its units wait for those of campaigns of priority {highest}, and its own is "
            f"{priority}; `seedsweep prioritise {campaign_id} --priority N` changes that."
        )
