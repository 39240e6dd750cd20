"""Keep the queue of each load filled: a bounded window of units, shared by its campaigns."""

import logging
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping

from seedsweep.scheduler.campaign.plan import Plan
from seedsweep.scheduler.campaign.window import SECONDS_AHEAD, window_size
from seedsweep.scheduler.dispatch.fair_share import demand_of, fair_shares
from seedsweep.scheduler.dispatch.loads import ByLoad, Loads
from seedsweep.storage.ledger import Ledger
from seedsweep.storage.life_signs import Demand
from seedsweep.storage.live_state import LiveCounts
from seedsweep.storage.records import Control, WorkUnit
from seedsweep.storage.workforce import Workforce
from seedsweep.workers.generation.celery_app import queue_of
from seedsweep.workers.monitoring import metrics
from seedsweep.workers.monitoring.rate import RecentRate

log = logging.getLogger(__name__)

SILENT_SECONDS = 10.0
"""If a queue has been empty for so long, the messages of its queued units are lost."""

AGAIN = (
    " None of its units is done since they were sent before; if workers say that they drop "
    "messages, give them the version that the scheduler has."
)

Publish = Callable[[str, Iterable[WorkUnit]], None]


class Feeder:
    """Issues units to the queues of loads, and says how strongly each load is wanted."""

    def __init__(
        self, ledger: Ledger, workforce: Workforce, publish: Publish, loads: Loads
    ) -> None:
        self._ledger, self._workforce, self._publish = ledger, workforce, publish
        self._loads = loads
        self._rates: dict[tuple[str, str], RecentRate] = {}
        self._last_heard: dict[str, float] = {}
        self._done_when_lost: dict[str, dict[str, int]] = {}

    def feed(
        self,
        plans: Mapping[str, Plan],
        controls: Mapping[str, Control],
        by_load: ByLoad,
        workers: Mapping[str, int],
    ) -> None:
        """Fill each load's window once, with units of the campaigns that `by_load` counts.

        `workers`: how many there are of each load. Messages that were lost are sent again.
        """
        demand: dict[str, Demand] = {}
        weighed = _weighed_by_load(controls, by_load)
        for load, mine in by_load.items():
            self._find_lost_messages(load, mine)
            missing = self._missing(load, mine, workers.get(load, 0))
            for campaign_id, share in fair_shares(mine, weighed, missing).items():
                self._issue(load, plans[campaign_id], share)
            wanted = demand_of(mine, weighed)
            if wanted:
                demand[load] = wanted
        self._workforce.demand(demand)

    def forget(self, campaign_id: str) -> None:
        """The campaign is settled: its pace tells nothing any more."""
        self._rates = {name: rate for name, rate in self._rates.items() if name[1] != campaign_id}

    def _missing(self, load: str, counts: Mapping[str, LiveCounts], workers: int) -> int:
        """How many units a load's window lacks."""
        pace = 0.0
        for campaign_id, count in counts.items():
            rate = self._rates.setdefault((load, campaign_id), RecentRate(SECONDS_AHEAD))
            rate.update(count.done)
            pace += rate.per_second
        return window_size(max(1, workers), pace) - sum(count.window for count in counts.values())

    def _issue(self, load: str, plan: Plan, count: int) -> None:
        campaign_id = plan.campaign.campaign_id
        lot = self._loads.lot(campaign_id, load)
        token, indexes = self._ledger.issue(campaign_id, count, lot)
        if indexes:
            metrics.LAST_PROGRESS.set_to_current_time()
            self._publish(queue_of(load), (plan.unit(index, token) for index in indexes))

    def _find_lost_messages(self, load: str, counts: Mapping[str, LiveCounts]) -> None:
        now = time.monotonic()
        queued = [campaign_id for campaign_id, count in counts.items() if count.queued]
        heard = self._last_heard.setdefault(load, now)
        if not queued or self._workforce.messages(queue_of(load)):
            self._last_heard[load] = now
        elif now - heard > SILENT_SECONDS:
            done = {campaign_id: count.done for campaign_id, count in counts.items()}
            again = AGAIN if self._done_when_lost.get(load) == done else ""
            log.warning(
                "Messages of %s were lost; they are sent again.%s", ", ".join(queued), again
            )
            self._done_when_lost[load] = done
            for campaign_id in queued:
                lot = self._loads.lot(campaign_id, load)
                count = self._ledger.reissue_queued(campaign_id, lot)
                metrics.RETRIES.labels("message_lost").inc(count)
            self._last_heard[load] = now


def _weighed_by_load(controls: Mapping[str, Control], by_load: ByLoad) -> dict[str, Control]:
    """What is wanted of each campaign, its weight shared out evenly among its loads that wait for
    workers, so that it weighs no more for having several."""
    waiting = Counter(c for mine in by_load.values() for c, count in mine.items() if count.waiting)
    return {
        campaign_id: control.model_copy(
            update={"weight": control.weight / max(1, waiting[campaign_id])}
        )
        for campaign_id, control in controls.items()
    }
