"""Take prompts that are ready, have them analysed, store what was found."""

import logging
import random
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TypeVar

from seedsweep.scheduler.analysing.cohorts import Cohorts
from seedsweep.scheduler.analysing.known_campaigns import KnownCampaign, KnownCampaigns
from seedsweep.scheduler.analysing.notices import warn_of_corrupt, warn_of_unread
from seedsweep.scheduler.analysing.waiting import Waiting
from seedsweep.scheduler.campaign.retention import Retention
from seedsweep.scheduler.quantities import count_words
from seedsweep.storage import keys
from seedsweep.storage.errors import (
    ConfigError,
    ImagesNotKeptError,
    PermanentError,
    RayUnavailableError,
    StoreUnavailableError,
    TransientError,
)
from seedsweep.storage.ledger import Ledger
from seedsweep.storage.records import Prompt
from seedsweep.storage.result_parts import Parts, is_due
from seedsweep.storage.store import Store
from seedsweep.storage.workforce import Workforce
from seedsweep.workers.analysts import actor_metrics
from seedsweep.workers.analysts.actor import Analysed, AnalysisRequest
from seedsweep.workers.analysts.actor_pool import analyse
from seedsweep.workers.cluster.ray_cluster import Actors
from seedsweep.workers.monitoring import broker_watch, health, metrics

log = logging.getLogger(__name__)

T = TypeVar("T")

READY_AT_ONCE = 16
BEAT_SECONDS = 4.0
RETRY_SECONDS = 2.0
TROUBLE_SECONDS = 30.0
"""If somebody has to mend something before a prompt can be analysed, it is tried again this
often."""


class AnalystService:
    """Has the prompts of all live campaigns analysed as they become ready, campaign by turns.

    A prompt leaves the ready list only once its result is stored and the images that are not to
    stay are deleted. So no prompt is lost if the analyst, the broker or the store fails. If images
    are gone that the ledger counts as done, they are made again first.
    """

    def __init__(
        self, store: Store, ledger: Ledger, workforce: Workforce, stopped: Callable[[], bool]
    ) -> None:
        self._store, self._ledger, self._workforce = store, ledger, workforce
        self._stopped = stopped
        self._name = uuid.uuid4().hex
        self._known = KnownCampaigns(store)
        self._results, self._retention = Parts(store), Retention(store)
        self._taken: dict[str, set[int]] = {}
        self._part: list[Analysed] = []
        self._warned: set[str] = set()
        self._stored_at, self._beaten = time.monotonic(), -BEAT_SECONDS
        self._waiting, self._has_joined = Waiting(), False
        self._cohorts = Cohorts(store, ledger, lambda: self._patiently(self._beat))

    def run(self, actors: Actors) -> None:
        """Analyse until stopped; wait for what is away.

        Raises `ConfigError` if the Ray cluster refuses us, `TransientError` if no Ray starts
        on this machine, and `RayUnavailableError` if one goes that was joined, since a process
        cannot join another one; what is analysed is stored.
        """
        health.expect(health.RAY)
        while not self._stopped():
            try:
                self._analyse(actors)
            except RayUnavailableError as error:
                self._give_back(error)
                if self._has_joined:
                    raise
                self._wait(error)
            except StoreUnavailableError as error:
                self._wait(error)
        self._patiently(self._store_now)

    def _analyse(self, actors: Actors) -> None:
        for analysed in analyse(self._requests(), self._store.url, actors):
            self._has_joined = True
            self._show_health(analysed is not None)
            if analysed is not None:
                self._take_note(analysed)
            self._patiently(self._store_part)
            self._patiently(self._beat)

    def _wait(self, error: TransientError) -> None:
        self._waiting.say(error)
        health.begin(health.TURN)
        self._patiently(self._beat)
        time.sleep(RETRY_SECONDS)

    def _give_back(self, error: RayUnavailableError) -> None:
        """Store what is analysed, and give back what is under way, with the reason."""
        self._patiently(self._store_now)
        for campaign_id, prompts in self._taken.items():
            for prompt in prompts:
                give_back = partial(self._ledger.put_back, campaign_id, prompt)
                self._patiently(partial(give_back, RETRY_SECONDS, str(error)))
        self._taken.clear()

    def _show_health(self, is_analysed: bool) -> None:
        health.begin(health.TURN)
        health.begin(health.RAY)
        self._waiting.note_ray()
        if not any(self._taken.values()):
            health.end(health.ANALYSIS)
        elif is_analysed:
            health.begin(health.ANALYSIS)

    def _requests(self) -> Iterator[AnalysisRequest | None]:
        while not self._stopped():
            found = False
            at_work = [campaign_id for campaign_id, prompts in self._taken.items() if prompts]
            self._known.forget_others({*at_work, *(a.request.campaign_id for a in self._part)})
            for campaign_id in self._patiently(self._ledger.campaigns) or []:
                # Each campaign on its own: trouble with one must not lose what another one gave.
                requests = self._patiently(partial(self._take_ready, campaign_id)) or []
                found = found or bool(requests)
                yield from requests
            if not found:
                yield None

    def _take_ready(self, campaign_id: str) -> list[AnalysisRequest]:
        prompts = self._ledger.take_ready(campaign_id, READY_AT_ONCE)
        return self._requests_for(campaign_id, prompts) if prompts else []

    def _requests_for(self, campaign_id: str, prompts: list[int]) -> list[AnalysisRequest]:
        try:
            known = self._known.fresh(campaign_id)
            taken = self._decidable(known, prompts)
        except (PermanentError, ConfigError) as error:
            for prompt in prompts:
                self._ledger.put_back(campaign_id, prompt, TROUBLE_SECONDS, str(error))
            return []
        receipt = not self._retention.keeps(known.campaign)
        if not any(self._taken.values()):
            health.begin(health.ANALYSIS)
        self._taken.setdefault(campaign_id, set()).update(taken)
        return [
            AnalysisRequest(
                campaign_id,
                known.prompts[prompt],
                known.settings,
                receipt,
                stage,
                prompt,
                own=known.prompts.settings[prompt] if known.prompts.settings else None,
            )
            for prompt, stage in taken.items()
        ]

    def _decidable(self, known: KnownCampaign, prompts: list[int]) -> dict[int, int]:
        """Those of the prompts that do not wait for their cohort, each with the stage up to which
        its units are settled."""
        if not known.campaign.stages:
            return dict.fromkeys(prompts, 1)
        stages = self._ledger.stages_of(known.campaign.campaign_id, prompts)
        waiting = self._cohorts.have_wait(known.campaign, known.prompts, prompts, stages)
        settled = zip(prompts, stages, strict=True)
        return {prompt: stage for prompt, stage in settled if prompt not in waiting}

    def _take_note(self, analysed: Analysed) -> None:
        warn_of_corrupt(analysed)
        warn_of_unread(analysed, self._warned)
        actor_metrics.note(analysed)
        if analysed.missing or isinstance(analysed.error, ImagesNotKeptError):
            self._patiently(lambda: self._make_again(analysed))
            return
        if analysed.goes_on_to is not None:
            self._patiently(lambda: self._let_go_on(analysed))
            return
        if analysed.error is None:
            self._part.append(analysed)
            return
        metrics.PROMPTS_FAILED.inc()
        if isinstance(analysed.error, TransientError):
            self._waiting.say(analysed.error)
        else:
            log.warning("A prompt of %s: %s", analysed.request.campaign_id, analysed.error)
        self._patiently(lambda: self._put_back(analysed, str(analysed.error)))

    def _let_go_on(self, analysed: Analysed) -> None:
        """Have the prompt's next pictures made. If the broker does not hear it, the prompt is
        decided again, with the same outcome."""
        campaign_id, prompt = analysed.request.campaign_id, analysed.request.index
        self._taken[campaign_id].discard(prompt)
        self._ledger.open_stage(campaign_id, prompt, analysed.goes_on_to or 1)
        metrics.LAST_PROGRESS.set_to_current_time()

    def _make_again(self, analysed: Analysed) -> None:
        """Have missing images made again, but for those of parked units."""
        campaign_id = analysed.request.campaign_id
        known = self._known[campaign_id]
        prompt = analysed.request.index
        self._taken[campaign_id].discard(prompt)
        gone = analysed.missing if analysed.error is None else self._not_kept(analysed.request)
        screens = len(known.campaign.screens)
        per_prompt = screens + len(known.cuts)
        lost = {prompt * per_prompt + screens + cut for cut in gone}
        lost -= self._ledger.parked_units(campaign_id)
        if lost:
            self._ledger.reopen(campaign_id, sorted(lost))
            log.warning(
                "The images of %s of %s are wanted and not there; they are made again.",
                *(count_words(len(lost), "unit"), campaign_id),
            )
        elif analysed.error is None:
            self._taken[campaign_id].add(prompt)
            self._part.append(analysed)
        else:
            self._put_back(analysed, str(analysed.error))

    def _not_kept(self, request: AnalysisRequest) -> list[int]:
        """Which cuts of the prompt have no shard."""
        known, prompt_id = self._known[request.campaign_id], Prompt(text=request.prompt).prompt_id
        shards = [keys.shard(known.campaign.generation_id, prompt_id, cut) for cut in known.cuts]
        return [place for place, key in enumerate(shards) if not self._store.exists(key)]

    def _put_back(self, analysed: Analysed, reason: str) -> None:
        campaign_id, prompt = analysed.request.campaign_id, analysed.request.index
        self._taken[campaign_id].discard(prompt)
        if isinstance(analysed.error, TransientError):
            self._ledger.put_back(campaign_id, prompt, RETRY_SECONDS, "")
        else:
            self._ledger.put_back(campaign_id, prompt, TROUBLE_SECONDS, reason)

    def _store_part(self) -> None:
        if is_due(self._part, self._stored_at):
            self._store_now()

    def _store_now(self) -> None:
        for (campaign_id, analysis_id), part in _grouped(self._part).items():
            results, known = [analysed.value for analysed in part], self._known[campaign_id]
            receipted = [a.value.prompt_id for a in part if a.receipted]
            try:
                self._results.add(analysis_id, campaign_id, results)
                is_current = self._known.is_judged_by(campaign_id, analysis_id)
                if is_current:
                    self._retention.drop(known.campaign, known.cuts, receipted)
            except ConfigError as error:
                # What is analysed is kept until the store lets the key write.
                raise StoreUnavailableError(str(error)) from error
            for analysed in part:
                prompt, result = analysed.request.index, analysed.value
                if is_current:
                    self._ledger.analysed(campaign_id, prompt, result.flagged, result.dropped_after)
                else:  # another analysis was asked for meanwhile
                    self._ledger.put_back(campaign_id, prompt, 0.0, "")
                self._taken[campaign_id].discard(prompt)
            metrics.PROMPTS_ANALYSED.inc(len(results))
            metrics.PROMPTS_FLAGGED.inc(sum(result.flagged for result in results))
            metrics.LAST_PROGRESS.set_to_current_time()
            log.info("Analysed: %s of %s.", count_words(len(results), "prompt"), campaign_id)
        self._part, self._stored_at = [], time.monotonic()

    def _beat(self) -> None:
        """Show life, and renew the leases of the prompts under way."""
        if time.monotonic() - self._beaten > BEAT_SECONDS:
            self._beaten = time.monotonic()
            self._workforce.beat_analyst(self._name)
            for campaign_id, prompts in self._taken.items():
                if prompts:
                    self._ledger.renew_ready(campaign_id, prompts)
            broker_watch.heard()

    def _patiently(self, step: Callable[[], T]) -> T | None:
        """Take a step; if store or broker is away, say so and go on."""
        try:
            value = step()
        except TransientError as error:
            self._waiting.say(error)
            time.sleep(RETRY_SECONDS * random.uniform(0.25, 0.75))  # noqa: S311 - no secret
            return None
        self._waiting.note_answer()
        return value


def _grouped(part: Sequence[Analysed]) -> dict[tuple[str, str], list[Analysed]]:
    """What was analysed by campaign and analysis."""
    groups: dict[tuple[str, str], list[Analysed]] = {}
    for item in part:
        key = item.request.campaign_id, item.request.settings.analysis_id
        groups.setdefault(key, []).append(item)
    return groups
