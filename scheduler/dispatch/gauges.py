"""What the leading scheduler shows of the campaigns, the workers and the broker."""

import time
from collections.abc import Mapping

from seedsweep.scheduler.campaign.plan import ImageCounts, Plan, image_counts
from seedsweep.scheduler.dispatch.loads import ByLoad
from seedsweep.scheduler.dispatch.lost_workers import LostWorkers
from seedsweep.scheduler.dispatch.unmade_units import UnmadeUnits
from seedsweep.storage.ledger_view import LedgerView
from seedsweep.storage.live_state import LiveCounts
from seedsweep.storage.workforce import Workforce
from seedsweep.workers.monitoring import metrics
from seedsweep.workers.monitoring.campaign_collector import CampaignCollector, CampaignState

SLOW_SECONDS = 1.5
"""How often is looked at what costs more than a glance."""


_LEADERS = (
    *(metrics.REMAINING, metrics.WORKERS_LIVE, metrics.WORKERS_LOST),
    *(metrics.BROKER_MEMORY, metrics.BROKER_MEMORY_LIMIT),
    *(metrics.BROKER_CONNECTIONS, metrics.BROKER_ROUND_TRIP),
)


class Gauges:
    """Keeps the scheduler's metrics true, as often as `show` is called."""

    def __init__(
        self, ledger: LedgerView, workforce: Workforce, collector: CampaignCollector
    ) -> None:
        self._ledger, self._workforce, self._collector = ledger, workforce, collector
        self._device_seconds: dict[str, float] = {}
        self._images: dict[str, ImageCounts] = {}
        self._lost, self._unmade = LostWorkers(workforce), UnmadeUnits()
        self._shown_at = time.monotonic()
        self._looked = -SLOW_SECONDS

    def clear(self) -> None:
        """Another scheduler leads: these are its campaigns, and its numbers."""
        self._device_seconds.clear()
        self.hide()

    def hide(self) -> None:
        """Show no campaign and no number until `show` is called again."""
        self._collector.update({})
        for gauge in _LEADERS:
            gauge.set(0)
        _show_window(0, 0)
        self._looked = -SLOW_SECONDS
        self._shown_at = time.monotonic()  # what workers did meanwhile nobody knows

    def show(
        self,
        plans: Mapping[str, Plan],
        counts: Mapping[str, LiveCounts],
        by_load: ByLoad,
        workers: Mapping[str, int],
    ) -> None:
        """Show these campaigns, whose units `by_load` counts, and how many live workers serve each
        load.

        Raises `BrokerUnavailableError`.
        """
        self._add_device_seconds(by_load, workers)
        self._device_seconds = {c: self._device_seconds.get(c, 0.0) for c in counts}
        if time.monotonic() - self._looked > SLOW_SECONDS:
            self._look(plans, counts)
            self._looked = time.monotonic()
        states = {}
        for campaign_id, count in counts.items():
            all_of_it = plans[campaign_id].image_count
            images = self._images.get(campaign_id, ImageCounts(0, all_of_it, all_of_it))
            states[campaign_id] = CampaignState(
                counts=count,
                images=images.wanted,
                images_done=images.done,
                images_spared=images.full - images.wanted,
                device_seconds=self._device_seconds.get(campaign_id, 0.0),
            )
        self._collector.update(states)
        _show_window(
            sum(c.queued for c in counts.values()), sum(c.claimed for c in counts.values())
        )
        active = [count for count in counts.values() if count.state == "active"]
        metrics.REMAINING.set(sum(count.remaining for count in active))
        metrics.WORKERS_LIVE.set(sum(workers.values()))

    def _add_device_seconds(self, by_load: ByLoad, workers: Mapping[str, int]) -> None:
        now = time.monotonic()
        seconds, self._shown_at = now - self._shown_at, now
        for load, counts in by_load.items():
            sharing = {c: count.claimed for c, count in counts.items() if count.remaining}
            claimed = sum(sharing.values())
            for c, mine in sharing.items():
                share = mine / claimed if claimed else 1 / len(sharing)
                spent = seconds * workers.get(load, 0) * share
                self._device_seconds[c] = self._device_seconds.get(c, 0.0) + spent

    def _look(self, plans: Mapping[str, Plan], counts: Mapping[str, LiveCounts]) -> None:
        self._images = {}
        for campaign_id in counts:
            plan, done = plans[campaign_id], self._ledger.done_units(campaign_id)
            stages = self._ledger.stages(campaign_id)
            if done is not None:
                self._images[campaign_id] = image_counts(plan.campaign, plan.cuts, done, stages)
        signs = self._workforce.signs()
        self._lost.look(signs)
        self._unmade.look(self._workforce.demanded(), signs)
        metrics.WORKERS_LOST.set(sum(not sign.alive for sign in signs))
        load = self._workforce.broker_load()
        metrics.BROKER_MEMORY.set(load.memory_bytes)
        metrics.BROKER_MEMORY_LIMIT.set(load.memory_limit_bytes)
        metrics.BROKER_CONNECTIONS.set(load.connections)
        metrics.BROKER_ROUND_TRIP.set(load.round_trip_seconds)


def _show_window(queued: int, claimed: int) -> None:
    metrics.WINDOW.labels("queued").set(queued)
    metrics.WINDOW.labels("claimed").set(claimed)
