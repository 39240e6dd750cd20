"""How campaigns share their load's window, and loads the workers: priority first, then weight."""

from collections.abc import Mapping

from seedsweep.storage.life_signs import Demand
from seedsweep.storage.live_state import LiveCounts
from seedsweep.storage.records import Control


def fair_shares(
    counts: Mapping[str, LiveCounts], controls: Mapping[str, Control], missing: int
) -> dict[str, int]:
    """Share out the `missing` units of a window among the campaigns of one load.

    None gets more than it has pending. A campaign gets nothing while one of higher priority has
    units pending; among equals the windows become as nearly proportional to the weights as they
    can. Campaigns that get nothing are left out.
    """
    shares = dict.fromkeys(counts, 0)

    def burden(campaign_id: str) -> float:
        weight: float = controls[campaign_id].weight
        return (counts[campaign_id].window + shares[campaign_id] + 1) / weight

    for _ in range(missing):
        hungry = [c for c, count in counts.items() if shares[c] < count.pending]
        if not hungry:
            break
        highest = max(controls[c].priority for c in hungry)
        shares[min((c for c in hungry if controls[c].priority == highest), key=burden)] += 1
    return {campaign_id: share for campaign_id, share in shares.items() if share}


def demand_of(counts: Mapping[str, LiveCounts], controls: Mapping[str, Control]) -> Demand | None:
    """How strongly one load is wanted: the highest priority of its campaigns that have waiting
    units, and what those that share that priority weigh together; None if nothing waits."""
    waiting = {c: count.waiting for c, count in counts.items() if count.waiting}
    if not waiting:
        return None
    priority = max(controls[c].priority for c in waiting)
    weight = sum(controls[c].weight for c in waiting if controls[c].priority == priority)
    return Demand(weight, sum(waiting.values()), priority, tuple(sorted(waiting)))
