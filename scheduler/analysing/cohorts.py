"""Prompts that can be decided only with others: those of a stage with a share."""

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain

from seedsweep.storage.ledger import Ledger
from seedsweep.storage.promotions import load_promotion, store_promotion
from seedsweep.storage.settings.campaign import Campaign
from seedsweep.storage.store import Store
from seedsweep.workers.analysts.screen_rules import cohort_of, decide_cohort, prompts_of_cohort

log = logging.getLogger(__name__)

WAIT_SECONDS = 5.0
"""A prompt that waits for its cohort looks again at last after so long, and `WAIT_PROMPT_SECONDS`
for each prompt of the cohort: whoever decides the cohort tells it at once, unless he dies."""
WAIT_PROMPT_SECONDS = 0.005

LOOK_SECONDS = 0.5
"""A cohort is looked at no more often than that; what becomes ready between waits for the next
look."""

AT_ONCE = 1000
"""The broker is asked for so many prompts at a time."""


@dataclass(frozen=True, slots=True)
class _Look:
    """When a cohort was looked at, and where in it units were open then."""

    at: float
    open_at: int


class Cohorts:
    """Has prompts wait until their cohort can be decided, and decides it then: once.

    What is decided is stored before any prompt goes by it, so all analysts at all times agree.
    `note` is called again and again while a cohort is decided.
    """

    def __init__(self, store: Store, ledger: Ledger, note: Callable[[], None]) -> None:
        self._store, self._ledger, self._note = store, ledger, note
        self._looked: dict[tuple[str, int, int], _Look] = {}

    def have_wait(
        self,
        campaign: Campaign,
        texts: Sequence[str],
        prompts: Sequence[int],
        stages: Sequence[int],
    ) -> set[int]:
        """Which of these prompts cannot be decided yet; they are taken again later.

        `texts` are all prompts of the campaign, `prompts` indexes of ready ones, each with the
        number of the stage up to which its units are settled. Raises `ShardCorruptError` for a
        decision that is not what was written.
        """
        waits: dict[int, float] = {}
        told: dict[tuple[int, int], float] = {}
        for number, stage in enumerate(campaign.stages, start=1):
            if stage.share is None:
                continue
            for prompt, settled in zip(prompts, stages, strict=True):
                if settled < number or prompt in waits:
                    continue
                cohort = number, cohort_of(stage, prompt)
                if cohort not in told:
                    told[cohort] = self._wait(campaign, texts, *cohort)
                if told[cohort]:
                    waits[prompt] = told[cohort]
        for prompt, seconds in waits.items():
            self._ledger.wait_for_cohort(campaign.campaign_id, [prompt], seconds)
        return set(waits)

    def _wait(self, campaign: Campaign, texts: Sequence[str], number: int, cohort: int) -> float:
        """How many seconds a prompt of the cohort is to wait for what this stage decides of it: 0
        if that is decided. It is decided now if it can be."""
        campaign_id = campaign.campaign_id
        key = campaign_id, number, cohort
        prompts = prompts_of_cohort(campaign.stages[number - 1], cohort, len(texts))
        now, last = time.monotonic(), self._looked.get(key)
        if last and now - last.at < LOOK_SECONDS:
            return LOOK_SECONDS
        if load_promotion(self._store, campaign_id, number, cohort) is None:
            open_at = self._first_open(campaign_id, prompts, number, last)
            if open_at is not None:
                self._looked[key] = _Look(now, open_at)
                return WAIT_SECONDS + WAIT_PROMPT_SECONDS * len(prompts)
            promotion = decide_cohort(self._store, campaign, texts, number, cohort, self._note)
            store_promotion(self._store, campaign_id, promotion)
            log.info(
                "Stage %d of %s is decided for the prompts %d to %d, of which %d have a score.",
                *(number, campaign_id, prompts.start + 1, prompts.stop, promotion.scored),
            )
            self._ledger.end_wait(campaign_id, prompts)
        self._looked.pop(key, None)
        return 0.0

    def _first_open(
        self, campaign_id: str, prompts: range, number: int, last: _Look | None
    ) -> int | None:
        """Where in the cohort the first prompts are whose units are not all settled, None if
        nowhere. They are first looked for where they were last."""
        first: list[int] = [] if last is None else [last.open_at]
        for place in chain(first, range(0, len(prompts), AT_ONCE)):
            part = prompts[place : place + AT_ONCE]
            if not self._ledger.cohort_is_settled(campaign_id, part, number):
                return place
        return None
