"""Feed the queue in a bounded window, take back what was lost, and restore what Redis forgot."""

import logging
import time
import uuid
from collections.abc import Callable, Iterable

import numpy as np

from scheduler.plan import Plan
from scheduler.rate import Rate
from storage import keys
from storage.campaigns import load_control, load_parked, load_prompts, store_parked
from storage.errors import BrokerUnavailableError
from storage.ledger import Ledger, Restored
from storage.records import Parked, Submission, WorkUnit
from storage.results import read_results
from storage.store import Store

log = logging.getLogger(__name__)

UNITS_PER_WORKER = 2
"""One in hand and one to take next: a unit that comes back waits behind few others."""

SECONDS_AHEAD = 2.0
"""Where units take moments, so many seconds' worth of them are in the window."""

SILENT_SECONDS = 10.0
"""Queued units whose queue has been empty for so long have lost their messages."""

Publish = Callable[[Iterable[WorkUnit]], None]


def load_plan(store: Store, submission: Submission) -> Plan:
    """Load the plan of a stored campaign."""
    prompts = load_prompts(store, submission.campaign.campaign_id)
    return Plan(submission.campaign, prompts, submission.cuts)


def restore_state(store: Store, plan: Plan) -> Restored:
    """Rebuild a campaign's live state from the store alone.

    A prompt is ready when its units are all done or parked and no result covers its images.
    """
    campaign = plan.campaign
    parked = {p.index for p in load_parked(store, campaign.campaign_id)}
    done = plan.done(store.list(keys.shards_prefix(campaign.generation_id)))
    parked -= set(np.flatnonzero(done).tolist())
    settled = done.copy()
    settled[list(parked)] = True
    shape = (len(plan.prompts), len(plan.cuts))
    lengths = np.array([len(cut) for cut in plan.cuts], dtype=np.int64)
    images = done.reshape(shape) @ lengths
    control = load_control(store, campaign.campaign_id)
    analysis_id = (control.settings or campaign.settings).analysis_id
    results = read_results(store, analysis_id, campaign.campaign_id)
    covered = {result.prompt: result.seeds for result in results}
    complete = settled.reshape(shape).all(axis=1)
    current = np.array([covered.get(t) == n for t, n in zip(plan.prompts, images, strict=True)])
    return Restored(
        per_prompt=len(plan.cuts),
        done=done,
        parked=frozenset(parked),
        ready=tuple(np.flatnonzero(complete & ~current).tolist()),
        analysed=int((complete & current).sum()),
        flagged=sum(result.flagged for result in results),
        state=control.state,
    )


class Dispatcher:
    """Keeps workers busy with the units of its campaigns; `tick` is called again and again.

    Any number of dispatchers may run: one leads, the others wait. Nothing that it knows is lost
    with it.
    """

    def __init__(self, store: Store, ledger: Ledger, publish: Publish, queue: str) -> None:
        self._store, self._ledger = store, ledger
        self._publish, self._queue = publish, queue
        self._name = uuid.uuid4().hex
        self._plans: dict[str, Plan] = {}
        self._last_heard = time.monotonic()
        self._rates: dict[str, Rate] = {}

    def add(self, plan: Plan, restored: Restored) -> None:
        """Take a campaign on, from what `restore_state` found of it."""
        self._plans[plan.campaign.campaign_id] = plan
        self._ledger.restore(plan.campaign.campaign_id, restored)
        self._ledger.begin_epoch()

    def tick(self) -> None:
        """Reap, restore and feed once, if this dispatcher leads.

        Raises `BrokerUnavailableError` where the broker does not answer; the next tick goes on.
        """
        if not self._ledger.lead(self._name):
            return
        if not self._ledger.has_epoch():
            log.warning("The broker lost the campaigns' state; it is restored from the store.")
            self._restore_all()
        for plan in self._plans.values():
            self._reap(plan)
        self._find_lost_messages()
        self._feed()

    def _restore_all(self) -> None:
        """Restore every campaign before the epoch begins, so that no change falls between."""
        for campaign_id, plan in self._plans.items():
            self._ledger.restore(campaign_id, restore_state(self._store, plan))
        self._ledger.begin_epoch()

    def _reap(self, plan: Plan) -> None:
        campaign_id = plan.campaign.campaign_id
        for index in self._ledger.reap(campaign_id):
            unit = plan.unit(index)
            reason = "The worker vanished each time that this unit was under way."
            store_parked(
                self._store,
                campaign_id,
                Parked(index=index, prompt_id=unit.prompt_id, seeds=unit.seeds, reason=reason),
            )
            self._ledger.park(campaign_id, index)

    def _find_lost_messages(self) -> None:
        now = time.monotonic()
        counts = {c: self._ledger.counts(c) for c in self._plans}
        queued = {c for c, count in counts.items() if count and count.queued}
        if not queued or self._ledger.messages(self._queue):
            self._last_heard = now
        elif now - self._last_heard > SILENT_SECONDS:
            for campaign_id in queued:
                self._ledger.reissue_queued(campaign_id)
            self._last_heard = now

    def _feed(self) -> None:
        workers = max(1, self._ledger.live_workers())
        for campaign_id, plan in self._plans.items():
            counts = self._ledger.counts(campaign_id)
            if counts is None:
                continue
            rate = self._rates.setdefault(campaign_id, Rate(SECONDS_AHEAD))
            rate.update(counts.done)
            wanted = max(UNITS_PER_WORKER * workers, int(rate.per_second * SECONDS_AHEAD))
            missing = wanted - counts.queued - counts.claimed
            if missing > 0:
                token, indexes = self._ledger.issue(campaign_id, missing)
                self._publish(plan.unit(index, token) for index in indexes)


def drive(dispatcher: Dispatcher, stopped: Callable[[], bool], pause: float = 0.1) -> None:
    """Tick until stopped; a broker that is away is waited for."""
    while not stopped():
        try:
            dispatcher.tick()
        except BrokerUnavailableError as error:
            log.warning("The scheduler waits: %s", error)
        time.sleep(pause)
