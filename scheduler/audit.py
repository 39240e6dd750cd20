"""Take prompts that are ready, have them analysed, store what was found."""

import logging
import time
from collections.abc import Callable, Iterator, Sequence

from scheduler.plan import Plan
from storage.campaigns import load_campaign, load_control
from storage.ledger import Ledger
from storage.records import AnalysisSettings, PromptResult, Submission
from storage.results import read_results, store_results
from storage.store import Store
from workers.actors import Analysed, analyse

log = logging.getLogger(__name__)

PART_SECONDS = 2.0
PART_PROMPTS = 256
READY_AT_ONCE = 32


def audit_ready(
    store: Store,
    ledger: Ledger,
    submission: Submission,
    plan: Plan,
    actors: int,
    stopped: Callable[[], bool],
) -> None:
    """Analyse prompts as they become ready, until the campaign is complete or stopped.

    A prompt is taken off the ready list only once its result is stored.
    """
    campaign_id = plan.campaign.campaign_id
    index = {text: i for i, text in enumerate(plan.prompts)}
    settings = settings_now(store, submission)

    def record(results: Sequence[PromptResult]) -> None:
        store_results(store, settings.analysis_id, campaign_id, results)
        for result in results:
            ledger.analysed(campaign_id, index[result.prompt], result.flagged)

    prompts = _ready_prompts(ledger, plan, stopped)
    _collect(analyse(submission, settings, prompts, store.url, actors), record)


def audit_stored(
    store: Store,
    submission: Submission,
    settings: AnalysisSettings,
    prompts: Sequence[str],
    actors: int,
    progress: Callable[[int, int], None],
) -> None:
    """Analyse stored images again; prompts that have this very analysis already are left out.

    `progress` is called with how many prompts are done, and of how many.
    """
    campaign_id = submission.campaign.campaign_id
    known = {r.prompt for r in read_results(store, settings.analysis_id, campaign_id)}
    missing = [text for text in prompts if text not in known]
    done = len(prompts) - len(missing)
    progress(done, len(prompts))

    def record(results: Sequence[PromptResult]) -> None:
        nonlocal done
        store_results(store, settings.analysis_id, campaign_id, results)
        done += len(results)
        progress(done, len(prompts))

    if missing:
        _collect(analyse(submission, settings, missing, store.url, actors), record)


def settings_now(store: Store, submission: Submission) -> AnalysisSettings:
    """How the user wants the campaign judged: as last asked for, else as submitted."""
    control = load_control(store, submission.campaign.campaign_id)
    return control.settings or submission.campaign.settings


def results_now(store: Store, campaign_id: str) -> list[PromptResult]:
    """The results of the campaign's present analysis, best first."""
    settings = settings_now(store, load_campaign(store, campaign_id))
    return read_results(store, settings.analysis_id, campaign_id)


def _ready_prompts(ledger: Ledger, plan: Plan, stopped: Callable[[], bool]) -> Iterator[str | None]:
    campaign_id = plan.campaign.campaign_id
    while not stopped():
        taken = ledger.take_ready(campaign_id, READY_AT_ONCE)
        yield from (plan.prompts[i] for i in taken)
        if not taken:
            counts = ledger.counts(campaign_id)
            if counts and counts.analysed == len(plan.prompts):
                return
            yield None


def _collect(
    analysed: Iterator[Analysed | None], record: Callable[[Sequence[PromptResult]], None]
) -> None:
    """Store results in parts: not one object a prompt, and none kept long."""
    part: list[PromptResult] = []
    began = time.monotonic()
    for item in analysed:
        if item is not None:
            part.append(item.result)
            for key in item.corrupt:
                log.warning("The shard %s is corrupt; its images were left out.", key)
        if part and (len(part) >= PART_PROMPTS or time.monotonic() - began > PART_SECONDS):
            record(part)
            part, began = [], time.monotonic()
    if part:
        record(part)
