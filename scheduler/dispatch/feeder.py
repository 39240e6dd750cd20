"""Keep the queue of each model filled: a bounded window of units, shared by its campaigns."""

import logging
import time
from collections.abc import Callable, Iterable, Mapping

from seedsweep.scheduler.campaign.plan import Plan
from seedsweep.scheduler.campaign.window import SECONDS_AHEAD, window_size
from seedsweep.scheduler.dispatch.fair_share import demand_of, fair_shares
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

Publish = Callable[[str, Iterable[WorkUnit]], None]


class Feeder:
    """Issues units to the queues of models, and says how strongly each model is wanted."""

    def __init__(self, ledger: Ledger, workforce: Workforce, publish: Publish) -> None:
        self._ledger, self._workforce, self._publish = ledger, workforce, publish
        self._rates: dict[str, RecentRate] = {}
        self._last_heard: dict[str, float] = {}

    def feed(
        self,
        plans: Mapping[str, Plan],
        controls: Mapping[str, Control],
        counts: Mapping[str, LiveCounts],
        workers: Mapping[str, int],
    ) -> None:
        """Fill each model's window once, with units of the campaigns that `counts` names.

        `workers`: how many there are of each model. Messages that were lost are sent again.
        """
        demand: dict[str, Demand] = {}
        for model_id, campaigns in _by_model(plans, counts).items():
            mine = {campaign_id: counts[campaign_id] for campaign_id in campaigns}
            self._find_lost_messages(model_id, mine)
            missing = self._missing(mine, workers.get(model_id, 0))
            for campaign_id, share in fair_shares(mine, controls, missing).items():
                self._issue(model_id, plans[campaign_id], share)
            wanted = demand_of((count, controls[c]) for c, count in mine.items())
            if wanted:
                demand[model_id] = wanted
        self._workforce.demand(demand)

    def forget(self, campaign_id: str) -> None:
        """The campaign is settled: its pace tells nothing any more."""
        self._rates.pop(campaign_id, None)

    def _missing(self, counts: Mapping[str, LiveCounts], workers: int) -> int:
        """How many units a model's window lacks."""
        pace = 0.0
        for campaign_id, count in counts.items():
            rate = self._rates.setdefault(campaign_id, RecentRate(SECONDS_AHEAD))
            rate.update(count.done)
            pace += rate.per_second
        return window_size(max(1, workers), pace) - sum(count.window for count in counts.values())

    def _issue(self, model_id: str, plan: Plan, count: int) -> None:
        token, indexes = self._ledger.issue(plan.campaign.campaign_id, count)
        if indexes:
            metrics.LAST_PROGRESS.set_to_current_time()
            self._publish(queue_of(model_id), (plan.unit(index, token) for index in indexes))

    def _find_lost_messages(self, model_id: str, counts: Mapping[str, LiveCounts]) -> None:
        now = time.monotonic()
        queued = [campaign_id for campaign_id, count in counts.items() if count.queued]
        heard = self._last_heard.setdefault(model_id, now)
        if not queued or self._workforce.messages(queue_of(model_id)):
            self._last_heard[model_id] = now
        elif now - heard > SILENT_SECONDS:
            log.warning("Messages of %s were lost; they are sent again.", ", ".join(queued))
            for campaign_id in queued:
                count = self._ledger.reissue_queued(campaign_id)
                metrics.RETRIES.labels("message_lost").inc(count)
            self._last_heard[model_id] = now


def _by_model(plans: Mapping[str, Plan], campaigns: Iterable[str]) -> dict[str, list[str]]:
    by_model: dict[str, list[str]] = {}
    for campaign_id in campaigns:
        by_model.setdefault(plans[campaign_id].campaign.model.model_id, []).append(campaign_id)
    return by_model
