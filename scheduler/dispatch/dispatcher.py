"""Look after campaigns: restore what Redis forgot, take back what was lost, keep queues filled."""

import contextlib
import logging
import time
from collections.abc import Callable, Iterable, Iterator

from seedsweep.scheduler.campaign.plan import Plan
from seedsweep.scheduler.campaign.restore import load_plan, restore_state
from seedsweep.scheduler.dispatch.broken_campaigns import BrokenCampaigns
from seedsweep.scheduler.dispatch.checkpoints import Checkpoints
from seedsweep.scheduler.dispatch.feeder import Feeder, Publish
from seedsweep.scheduler.dispatch.gauges import Gauges
from seedsweep.scheduler.dispatch.loads import Loads
from seedsweep.scheduler.dispatch.served import ServedSigns
from seedsweep.scheduler.quantities import count_words
from seedsweep.storage.campaigns import load_campaign, load_control, store_parked
from seedsweep.storage.errors import (
    BrokerUnavailableError,
    ConfigError,
    PermanentError,
    TransientError,
)
from seedsweep.storage.ledger import Ledger
from seedsweep.storage.live_state import LiveCounts, Restored
from seedsweep.storage.records import Control, Parked
from seedsweep.storage.store import Store
from seedsweep.storage.workforce import Workforce
from seedsweep.workers.monitoring import broker_watch, health, metrics
from seedsweep.workers.monitoring.campaign_collector import CampaignCollector
from seedsweep.workers.monitoring.log_context import about_campaign

log = logging.getLogger(__name__)

LOOK_SECONDS = 1.5
"""How often the store is looked at for new campaigns and for what is wanted of known ones."""

LEAD_SECONDS = 1.0
"""How often a scheduler shows that it leads while it restores a large campaign."""

AWAY_SECONDS = 5.0
"""After a silence of the broker's of this length no lease counts as expired for as long again, so
that workers that lived through it can renew theirs."""

Campaigns = Callable[[], Iterable[str]]


class Dispatcher:
    """Keeps workers busy with the units of its campaigns; `tick` is called again and again.

    Any number of dispatchers may run: one leads, the others wait. Nothing that it knows is lost
    with it. `campaigns` names those in the store that it is to care for; `collector` shows them.
    """

    def __init__(
        self,
        store: Store,
        ledger: Ledger,
        workforce: Workforce,
        publish: Publish,
        campaigns: Campaigns,
        collector: CampaignCollector | None = None,
    ) -> None:
        self._store, self._ledger, self._workforce = store, ledger, workforce
        self._campaigns = campaigns
        self._loads = Loads(ledger)
        self._feeder = Feeder(ledger, workforce, publish, self._loads)
        self._plans: dict[str, Plan] = {}
        self._controls: dict[str, Control] = {}
        self._checkpoints = Checkpoints(store, ledger)
        self._served = ServedSigns(store)
        self._settled: set[str] = set()
        self._broken = BrokenCampaigns()
        self._looked, self._was_away = -LOOK_SECONDS, False
        self._heard = self._reaps_from = time.monotonic()
        self._leads, self._led = False, 0.0
        self.lost = 0
        """How many units were taken back from workers that vanished."""
        self._gauges = Gauges(ledger, workforce, collector or CampaignCollector())

    def begin(self, plan: Plan, restored: Restored) -> None:
        """Take on a campaign whose state is known already, on a broker that is new."""
        campaign_id = plan.campaign.campaign_id
        self._plans[campaign_id], self._controls[campaign_id] = plan, Control()
        self._ledger.restore(campaign_id, restored)
        self._ledger.begin_epoch()

    def tick(self) -> None:
        """Restore, look for campaigns, reap and feed once, if this dispatcher leads.

        Raises `TransientError` if broker or store do not answer; the next tick goes on.
        """
        try:
            self._tick()
        except BrokerUnavailableError as error:
            self._was_away = True
            self._show_nothing(error)
            raise
        self._heard = time.monotonic()

    def _show_nothing(self, error: BrokerUnavailableError) -> None:
        """Show no numbers: nobody knows who leads, or how things are, until the broker answers
        again."""
        broker_watch.failed(error)
        metrics.LEADING.set(0)
        self._gauges.hide()

    def _tick(self) -> None:
        if not self._take_the_lead():
            return
        if not self._is_whole():
            self._begin_epoch()
        self._was_away = False
        if time.monotonic() - self._heard > AWAY_SECONDS:
            self._reaps_from = time.monotonic() + AWAY_SECONDS
        counts = self._count()
        if time.monotonic() >= self._reaps_from:
            for campaign_id in counts:
                self._reap(campaign_id)
        by_load = self._loads.split(self._plans, counts)
        workers = self._workforce.workers_by_load()
        self._feeder.feed(self._plans, self._controls, by_load, workers)
        self._gauges.show(self._plans, counts, by_load, workers)
        if time.monotonic() - self._looked > LOOK_SECONDS:
            self._look()
            for campaign_id, count in counts.items():
                self._checkpoints.update(campaign_id, count)
            self._served.show(name for name, count in counts.items() if count.state == "active")
            self._looked = time.monotonic()

    def resign(self) -> None:
        """Let another scheduler lead at once; if the broker is away, once the lease ends."""
        self._served.show(())
        with contextlib.suppress(BrokerUnavailableError):
            self._workforce.resign()

    def _keep_the_lead(self) -> None:
        """Renew the lead, again and again, while a large campaign is restored: no other scheduler
        may restore it too."""
        health.begin(health.TURN)
        if time.monotonic() - self._led > LEAD_SECONDS and not self._take_the_lead():
            raise TransientError("Another scheduler leads now; this one waits for its turn.")

    def _take_the_lead(self) -> bool:
        self._led = time.monotonic()
        leads = self._workforce.lead()
        broker_watch.heard()
        metrics.LEADING.set(leads)
        if leads != self._leads:
            log.info("This scheduler leads now." if leads else "Another scheduler leads now.")
            self._leads = leads
            if not leads:
                self._plans, self._settled = {}, set()
                self._served.forget()
                self._gauges.clear()
        return leads

    def _is_whole(self) -> bool:
        """True if the broker holds all that was told to it. If it does not say, it is doubted once
        it was away, since it may be another server now."""
        return self._ledger.has_epoch() and not (self._was_away and not self._ledger.history())

    def _begin_epoch(self) -> None:
        """Restore every campaign before the epoch begins, so that no change falls between."""
        history = self._ledger.end_epoch()
        known, held = list(self._campaigns()), self._ledger.campaigns()
        campaigns = count_words(len(known), "campaign")
        if known and held:
            log.info(
                "The broker was restarted, or another one took over: its state of %s is restored "
                "from the store; nothing is lost.",
                campaigns,
            )
        elif known:
            log.warning(
                "The broker knows nothing of %s: that is restored from the store; nothing is lost.",
                campaigns,
            )
        self._settled.clear()
        for campaign_id in {*held} - {*known}:
            self._ledger.forget(campaign_id)
        for campaign_id in known:
            with self._left_out_if_broken(campaign_id):
                self._restore(self._load(campaign_id))
        self._ledger.begin_epoch(history)

    def _look(self) -> None:
        """Take on what is new, do what is wanted, and drop what has gone from the store."""
        present = set(self._campaigns())
        for campaign_id in present - self._plans.keys() - self._settled - self._broken.resting:
            with self._left_out_if_broken(campaign_id):
                self._take_on(campaign_id)
        for campaign_id in (self._plans.keys() | self._settled | self._broken.known) - present:
            log.info("The campaign %s has gone from the store.", campaign_id)
            self._ledger.forget(campaign_id)
            self._plans.pop(campaign_id, None)
            self._settled.discard(campaign_id)
            self._broken.forget(campaign_id)
        for campaign_id in list(self._plans):
            with self._left_out_if_broken(campaign_id):
                self._steer(campaign_id)
        self._find_reopened()

    def _steer(self, campaign_id: str) -> None:
        before, wanted = self._controls[campaign_id], load_control(self._store, campaign_id)
        self._controls[campaign_id] = wanted
        # Whoever wanted it may have told the broker himself, so that only the store shows a change.
        if wanted.state != before.state:
            log.info("The campaign %s is %s now.", campaign_id, wanted.state)
        if (wanted.priority, wanted.weight) != (before.priority, before.weight):
            log.info(
                "The campaign %s has priority %d and weight %g now.",
                *(campaign_id, wanted.priority, wanted.weight),
            )
        counts = self._ledger.counts(campaign_id)
        if counts is not None and counts.state != wanted.state:
            self._ledger.set_state(campaign_id, wanted.state)

    def _take_on(self, campaign_id: str) -> None:
        counts = self._ledger.counts(campaign_id)
        if counts is not None and counts.settled:
            self._settled.add(campaign_id)
            return
        plan = self._load(campaign_id)
        if counts is not None and counts.units == len(plan):
            return
        self._ledger.forget(campaign_id)
        self._restore(plan)

    def _load(self, campaign_id: str) -> Plan:
        plan = load_plan(self._store, load_campaign(self._store, campaign_id))
        self._controls[campaign_id] = load_control(self._store, campaign_id)
        self._plans[campaign_id] = plan
        return plan

    @contextlib.contextmanager
    def _left_out_if_broken(self, campaign_id: str) -> Iterator[None]:
        """Leave out a campaign that is broken in the store, so that the others go on, and take it
        back once it is mended."""
        with about_campaign(campaign_id):
            try:
                yield
            except PermanentError as error:
                self._broken.leave_out(campaign_id, error)
                self._plans.pop(campaign_id, None)
            except ConfigError:
                # Its record is not there: it is being submitted, so it is looked at again.
                self._plans.pop(campaign_id, None)
            else:
                self._broken.take_back(campaign_id)

    def _restore(self, plan: Plan) -> None:
        restored = restore_state(self._store, plan, self._keep_the_lead, checkpointed=True)
        campaign_id = plan.campaign.campaign_id
        self._ledger.restore(campaign_id, restored)
        log.info(
            "Campaign %s: %s, %s, %d stored, %d parked.",
            *(campaign_id, count_words(len(plan.prompts), "prompt")),
            *(count_words(len(plan), "unit"), restored.done.sum(), len(restored.parked)),
        )

    def _count(self) -> dict[str, LiveCounts]:
        """The counts of all campaigns that are not settled; settled ones are put aside."""
        live: dict[str, LiveCounts] = {}
        for campaign_id in list(self._plans):
            counts = self._ledger.counts(campaign_id)
            if counts is None:
                del self._plans[campaign_id]  # and so it is taken on anew
            elif counts.settled:
                self._checkpoints.update(campaign_id, counts)
                log.info(
                    "The campaign %s is done: %s, %d parked; %s, %d flagged.",
                    *(campaign_id, count_words(counts.units, "unit"), counts.parked),
                    *(count_words(counts.prompts, "prompt"), counts.flagged),
                )
                del self._plans[campaign_id]
                self._feeder.forget(campaign_id)
                self._settled.add(campaign_id)
            else:
                live[campaign_id] = counts
        return live

    def _find_reopened(self) -> None:
        for campaign_id in list(self._settled):
            counts = self._ledger.counts(campaign_id)
            if counts is None or not counts.settled:
                self._settled.discard(campaign_id)

    def _reap(self, campaign_id: str) -> None:
        reaped = self._ledger.reap(campaign_id)
        self.lost += reaped.expired
        metrics.LEASE_EXPIRIES.inc(reaped.expired)
        metrics.RETRIES.labels("lease_expired").inc(reaped.expired - len(reaped.to_park))
        for index in reaped.to_park:
            unit = self._plans[campaign_id].unit(index)
            reason = "The worker vanished each time that this unit was under way."
            parked = Parked(index=index, prompt_id=unit.prompt_id, seeds=unit.seeds, reason=reason)
            store_parked(self._store, campaign_id, parked)
            self._ledger.park(campaign_id, index)
            metrics.PARKED.labels("lost").inc()
