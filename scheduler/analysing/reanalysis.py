"""Analyse a campaign's stored images again with other settings."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TypeVar

import numpy as np
from pydantic import BaseModel, ValidationError

from seedsweep.scheduler.analysing.notices import warn_of_corrupt, warn_of_unread
from seedsweep.scheduler.campaign.current import own_settings
from seedsweep.scheduler.campaign.file import explain
from seedsweep.scheduler.campaign.possible import require_possible, samplings
from seedsweep.scheduler.campaign.restore import load_plan, restore_state, stored_units
from seedsweep.storage.campaigns import load_campaign, load_control, load_prompts, store_control
from seedsweep.storage.errors import ConfigError, ImagesNotKeptError
from seedsweep.storage.live_state import DROPPED
from seedsweep.storage.prompt_results import PromptResult
from seedsweep.storage.records import Submission
from seedsweep.storage.result_parts import is_due, store_results
from seedsweep.storage.results import read_results
from seedsweep.storage.settings.analysis import AnalysisSettings
from seedsweep.storage.settings.sampling import PromptSettings
from seedsweep.storage.store import Store
from seedsweep.workers.analysts.actor import Analysed, AnalysisRequest
from seedsweep.workers.analysts.actor_pool import analyse
from seedsweep.workers.cluster.ray_cluster import Actors

R = TypeVar("R", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class AnalysisOptions:
    """What is asked for instead of the campaign's own settings; None leaves a setting."""

    edge_threshold: float | None = None
    min_clique_size: int | None = None
    tiles: int | None = None
    verification_threshold: float | None = None
    matrix: str | None = None
    partial: bool | None = None
    part_shift: float | None = None
    part_mirror: bool | None = None
    part_scale: float | None = None

    def apply(self, settings: AnalysisSettings) -> AnalysisSettings:
        """The settings, changed as asked; raises `ConfigError` for values that make no sense."""
        verification = settings.verification
        if self.verification_threshold is not None:
            if verification is None:
                raise ConfigError(
                    "The campaign has no [verification], so --verification-threshold has nothing "
                    "to act on; leave it out."
                )
            verification = _changed(verification, {"threshold": self.verification_threshold})
        wanted = {
            "edge_threshold": self.edge_threshold,
            "min_clique_size": self.min_clique_size,
            "tiles": self.tiles,
            "matrix": self.matrix,
            "partial": self.partial,
        }
        given = {name: value for name, value in wanted.items() if value is not None}
        analysis = _changed(settings.analysis, given)
        anywhere = {
            "shift": self.part_shift,
            "mirror": self.part_mirror,
            "scale": self.part_scale,
        }
        if given := {name: value for name, value in anywhere.items() if value is not None}:
            if not analysis.partial:
                raise ConfigError(
                    "--part-shift, --part-mirror and --part-scale say where parts are looked for, "
                    "and none are; add --partial."
                )
            parts = _changed(analysis.parts, given)
            analysis = analysis.model_copy(update={"parts": parts})
        return AnalysisSettings(analysis=analysis, verification=verification)


@dataclass(frozen=True, slots=True)
class Reanalysis:
    """How a re-analysis ended: its settings, and the prompts that it could not judge.

    `reason` says for one of `refused` prompts why their images cannot be looked at again.
    """

    settings: AnalysisSettings
    prompts: int
    refused: int
    reason: str


def analyse_again(
    store: Store,
    campaign_id: str,
    options: AnalysisOptions,
    actors: Actors,
    progress: Callable[[int, int], None],
) -> Reanalysis:
    """Analyse all prompts of a campaign as asked, and make that the campaign's present analysis.

    If images are wanted that were not kept, the present analysis stays. `progress` is called with
    how many prompts are done, and of how many. Of a campaign at work, what was made meanwhile is
    analysed too: by this, or from then on by its analysts.
    """
    submission = load_campaign(store, campaign_id)
    settings = options.apply(own_settings(store, submission))
    prompts = load_prompts(store, campaign_id)
    for sampling in samplings(submission.campaign, prompts.settings):
        require_possible(settings.analysis, sampling)

    def analyse_all() -> list[ImagesNotKeptError]:
        return analyse_missing(
            store, submission, settings, prompts, actors, progress, prompts.settings
        )

    refused = analyse_all()
    if not refused:
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        wanted = {"settings": settings, "settings_at": now}
        control = load_control(store, campaign_id)
        store_control(store, campaign_id, control.model_copy(update=wanted))
        # Until now analysts judged by other settings what became ready.
        refused = analyse_all()
    reason = str(refused[0]) if refused else ""
    return Reanalysis(settings, len(prompts), len(refused), reason)


def analyse_missing(
    store: Store,
    submission: Submission,
    settings: AnalysisSettings,
    prompts: Sequence[str],
    actors: Actors,
    progress: Callable[[int, int], None],
    own: Sequence[PromptSettings] = (),
) -> list[ImagesNotKeptError]:
    """Analyse stored images again; prompts that have this very analysis already are left out, if
    no more of their images were stored since.

    Returns why prompts could not be judged whose pictures are wanted and were not to stay; all
    others are. No image is deleted, whatever the campaign keeps, and no receipt stored. `progress`
    is called with how many prompts are done, and of how many. `own`: the settings that the prompts
    have of their own, none if none has any.
    """
    campaign_id = submission.campaign.campaign_id
    results = read_results(store, settings.analysis_id, campaign_id)
    known = {result.prompt for result in results} - _with_more(store, submission, results)
    missing = [place for place, text in enumerate(prompts) if text not in known]
    done = len(prompts) - len(missing)
    progress(done, len(prompts))
    refused: list[ImagesNotKeptError] = []
    if not missing:
        return refused
    stages = _stages(store, submission)
    requests = [
        AnalysisRequest(
            campaign_id,
            prompts[place],
            settings,
            stage=stages[place] if stages else 1,
            index=place,
            as_is=True,
            own=own[place] if own else None,
        )
        for place in missing
    ]
    for part in _in_parts(analyse(requests, store.url, actors)):
        refused += [a.error for a in part if isinstance(a.error, ImagesNotKeptError)]
        judged = [a.value for a in part if not isinstance(a.error, ImagesNotKeptError)]
        if judged:
            store_results(store, settings.analysis_id, campaign_id, judged)
        done += len(part)
        progress(done, len(prompts))
    return refused


def _with_more(store: Store, submission: Submission, results: Sequence[PromptResult]) -> set[str]:
    """The prompts of which more images are stored than were judged, those dropped left out."""
    most = submission.campaign.sampling.seeds
    judged = {r.prompt: r.seeds for r in results if r.seeds < most and r.dropped_after is None}
    if not judged:
        return set()
    plan = load_plan(store, submission)
    images = np.array([piece.images for piece in plan.pieces])
    stored = (stored_units(store, plan).reshape(len(plan.prompts), -1) @ images).tolist()
    counts = zip(plan.prompts, stored, strict=True)
    return {prompt for prompt, count in counts if count > judged.get(prompt, count)}


def _stages(store: Store, submission: Submission) -> list[int]:
    """The number of the stage that each prompt has come to; nothing without stages."""
    if not submission.campaign.stages:
        return []
    stages: list[int] = (
        restore_state(store, load_plan(store, submission)).stages % DROPPED
    ).tolist()
    return stages


def _in_parts(analysed: Iterator[Analysed | None]) -> Iterator[list[Analysed]]:
    part: list[Analysed] = []
    warned: set[str] = set()
    began = time.monotonic()
    for item in analysed:
        if item is not None:
            part.append(item)
            warn_of_corrupt(item)
            warn_of_unread(item, warned)
        if is_due(part, began):
            yield part
            part, began = [], time.monotonic()
    if part:
        yield part


def _changed(record: R, values: Mapping[str, float | str]) -> R:
    try:
        return type(record).model_validate({**record.model_dump(), **values})
    except ValidationError as error:
        raise ConfigError(explain(error, type(record))) from error
