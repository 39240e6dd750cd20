"""The scores of a campaign's controls and known positives, which thresholds are chosen by."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from seedsweep.audit.findings.comparability import refuse_stages
from seedsweep.audit.findings.control_prompts import (
    Marks,
    among,
    without_captions,
    without_repeats,
)
from seedsweep.audit.findings.operating_point import NEVER, Scores
from seedsweep.audit.findings.part_point import Tiles
from seedsweep.audit.findings.same_prompts import first_ones
from seedsweep.scheduler.campaign.current import settings_now
from seedsweep.scheduler.campaign.possible import require_possible, samplings
from seedsweep.scheduler.quantities import count_words
from seedsweep.storage.campaigns import load_campaign, load_prompts, load_settings
from seedsweep.storage.errors import ConfigError
from seedsweep.storage.records import Submission
from seedsweep.storage.settings.analysis import AnalysisSettings
from seedsweep.storage.store import Store
from seedsweep.workers.analysis.flag_threshold import STEPS
from seedsweep.workers.analysts.prompt_score import PromptScore, Scoring, score_prompts

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class MarkedScores:
    """The scores of marked prompts, all of whose images were there; `warnings` say what was not
    as it should be. `sizes` ascend."""

    submission: Submission
    settings: AnalysisSettings
    sizes: tuple[int, ...]
    marks: Marks
    by_prompt: dict[str, PromptScore]
    warnings: tuple[str, ...]

    def edges(self, marks: Marks, size: int) -> Scores:
        """The steps of the edge threshold at which these prompts are flagged, for one size."""
        place = self.sizes.index(size)
        return self._scores(marks, lambda score: score.critical[place].step)

    def extractions(self, marks: Marks, size: int) -> Scores:
        """The steps of the verification threshold at which these prompts' pictures match."""
        place = self.sizes.index(size)
        return self._scores(marks, lambda score: _l2_step(score.l2[place]))

    def parts(self, marks: Marks, size: int) -> tuple[Tiles, Tiles]:
        """The most tiles that make a part of each control, and of each positive, for one size."""
        place = self.sizes.index(size)
        tiles = {prompt: score.parts[place] for prompt, score in self.by_prompt.items()}
        return (
            np.array([tiles[prompt] for prompt in marks.controls], dtype=np.int64),
            np.array([tiles[p.prompt] for p in marks.positives], dtype=np.int64),
        )

    def _scores(self, marks: Marks, step: Callable[[PromptScore], int | None]) -> Scores:
        steps = {prompt: step(score) or NEVER for prompt, score in self.by_prompt.items()}
        return Scores(
            controls=np.array([steps[prompt] for prompt in marks.controls], dtype=np.int64),
            positives=np.array([steps[p.prompt] for p in marks.positives], dtype=np.int64),
            groups=tuple(positive.group for positive in marks.positives),
        )


def score_marked(
    store: Store,
    campaign_id: str,
    marks: Marks,
    sizes: Sequence[int],
    processes: int,
    progress: Progress,
    partial: bool = False,
    trained: bool = False,
) -> MarkedScores:
    """Score the marked prompts of a campaign from its stored images; no size means its own.

    It is judged with its present settings, but for the thresholds. Prompts with fewer usable
    pictures than the largest size are left out: they could not be flagged. So are controls that are
    captions of the training set, unless they may be `trained` on: that is for who measured that the
    model repeats nothing of them; and those that are the same to the model as another marked
    prompt. Raises `ConfigError` if a size or parts cannot be, or no control or no positive that was
    given has all its images, or enough that are usable.
    """
    submission = load_campaign(store, campaign_id)
    refuse_stages(submission, "a calibration")
    settings = settings_now(store, submission)
    chosen = tuple(sorted(set(sizes))) or (settings.analysis.min_clique_size,)
    seeds = submission.campaign.sampling.seeds
    if chosen[-1] > seeds:
        raise ConfigError(
            f"No clique can have {chosen[-1]} members if each prompt has {seeds} images; "
            "ask for a smaller --min-clique-size."
        )
    own = load_settings(store, campaign_id)
    if partial:
        # Whatever the least is, that is what a calibration chooses.
        rule = settings.analysis.parts.model_copy(update={"least": 1})
        asked = settings.analysis.model_copy(update={"partial": True, "parts": rule})
        for sampling in samplings(submission.campaign, own.values()):
            require_possible(asked, sampling)
    prompts = load_prompts(store, campaign_id)
    given = present = among(marks, prompts)
    _refuse_none(marks, given, "is among the prompts of the campaign", campaign_id)
    of_captions: tuple[str, ...] = ()
    if not trained:
        present, of_captions = without_captions(present, settings.verification)
    present, repeated = without_repeats(present, first_ones(submission, prompts))
    _refuse_none(given, present, "shows something of its own in the campaign", campaign_id)
    scored = {text: own[text] for text in present.prompts if text in own}
    scoring = Scoring(store.url, submission, settings, chosen, partial, scored)
    scores = score_prompts(scoring, present.prompts, processes, progress)
    whole = {score.prompt: score for score in scores if score.whole}
    complete = among(present, list(whole))
    _refuse_none(present, complete, "has all its images in the campaign", campaign_id)
    evidence = {text: score for text, score in whole.items() if score.usable >= chosen[-1]}
    used = among(complete, list(evidence))
    _refuse_none(
        complete, used, f"has {chosen[-1]} usable pictures, as a clique takes, in", campaign_id
    )
    warnings = [
        *of_captions,
        *repeated,
        *_left_out(len(marks.prompts) - len(given.prompts), "that the campaign does not have"),
        *_left_out(len(present.prompts) - len(complete.prompts), "without all its images"),
        *_left_out(
            len(complete.prompts) - len(used.prompts),
            f"with fewer than {chosen[-1]} usable pictures",
        ),
        *_undecided(list(evidence.values())),
    ]
    return MarkedScores(submission, settings, chosen, used, evidence, tuple(warnings))


def _l2_step(l2: float | None) -> int | None:
    """The first step whose threshold is at least that l2, as `is_extracted` compares them."""
    if l2 is None:
        return None
    return int(np.searchsorted(np.arange(1, STEPS + 1) / STEPS, l2)) + 1


def _refuse_none(before: Marks, after: Marks, what: str, campaign_id: str) -> None:
    for kind, given, left in (
        ("control", before.controls, after.controls),
        ("positive", before.positives, after.positives),
    ):
        if not left and (given or kind == "control"):
            raise ConfigError(
                f"None of {count_words(len(given), kind)} {what} {campaign_id}; name others, or "
                "add them to its prompts file and run that again: only what is missing is "
                "generated."
            )


def _left_out(count: int, why: str) -> list[str]:
    return (
        [f"Left out, of those that the files name: {count_words(count, 'prompt')} {why}."]
        if count
        else []
    )


def _undecided(scores: Sequence[PromptScore]) -> list[str]:
    cliques = sum(not all(critical.decided for critical in score.critical) for score in scores)
    parts = sum(not score.parts_proven for score in scores)
    return [
        f"{count_words(count, 'prompt')} may {what}: the search for a {kind} ended at max_steps."
        for count, what, kind in (
            (cliques, "be flagged earlier", "clique"),
            (parts, "repeat a larger part", "part"),
        )
        if count
    ]
