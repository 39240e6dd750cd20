"""Thresholds for a campaign from its control prompts and known positives, with their evidence."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np

from seedsweep.audit.findings.comparability import refuse_stages
from seedsweep.audit.findings.control_prompts import Marks, among, captions_among
from seedsweep.audit.findings.operating_point import (
    NEVER,
    OperatingPoint,
    Scores,
    controls_needed,
    operating_point,
)
from seedsweep.audit.findings.part_point import PartPoint, Tiles, part_point
from seedsweep.audit.findings.precision_recall import PrecisionRecall, precision_recall
from seedsweep.scheduler.campaign.current import settings_now
from seedsweep.scheduler.campaign.possible import require_possible, samplings
from seedsweep.scheduler.quantities import count_words
from seedsweep.storage.campaigns import load_campaign, load_prompts, load_settings
from seedsweep.storage.errors import ConfigError
from seedsweep.storage.record import digest
from seedsweep.storage.records import Submission
from seedsweep.storage.settings.analysis import DEFAULT_PART_RULE, WHEREABOUTS, AnalysisSettings
from seedsweep.storage.store import Store
from seedsweep.workers.analysis.flag_threshold import STEPS
from seedsweep.workers.analysts.prompt_score import PromptScore, Scoring, score_prompts

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class CalibrationOptions:
    """What the thresholds have to keep: at most that share of controls is flagged, at one of these
    clique sizes. Precision is told for `base_rate`, the share of all prompts that are repeated.
    `partial`: also choose what makes a part."""

    false_positive_rate: float
    base_rate: float
    min_clique_sizes: tuple[int, ...]
    partial: bool = False


@dataclass(frozen=True, slots=True)
class Scored:
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


@dataclass(frozen=True, slots=True)
class Candidate:
    """One clique size, its best edge threshold, and what all thresholds do with the prompts."""

    min_clique_size: int
    point: OperatingPoint
    scores: Scores
    curve: PrecisionRecall | None


@dataclass(frozen=True, slots=True)
class Calibration:
    """What came of it. `chosen` is one of the `candidates`: of those whose false-positive rate is
    shown, or else of all, the one with the highest lower bound of recall, the smallest of equals.
    `verification` is None if the campaign has no training set: then extraction is not examined;
    `parts` if nobody asked for them.
    `analysis_id` names the campaign's analysis of that time, `scoring_id` as of `scoring_id`.
    """

    campaign_id: str
    analysis_id: str
    scoring_id: str
    tiles: int
    seeds: int
    written_at: str
    wish: CalibrationOptions
    controls: int
    positives: int
    groups: int
    candidates: tuple[Candidate, ...]
    chosen_size: int
    verification: OperatingPoint | None
    warnings: tuple[str, ...]
    parts: PartPoint | None = None

    def __post_init__(self) -> None:
        if self.chosen_size not in [each.min_clique_size for each in self.candidates]:
            raise ValueError(f"no candidate has the chosen clique size {self.chosen_size}")

    @property
    def chosen(self) -> Candidate:
        """The candidate with the chosen clique size."""
        return next(c for c in self.candidates if c.min_clique_size == self.chosen_size)


def scoring_id(settings: AnalysisSettings) -> str:
    """Name how prompts are scored: by all settings but for thresholds, the clique size and the
    least part, which a calibration chooses, and `matrix` and `partial`, which alter no score.

    So a calibration holds for each analysis with the same one.
    """
    analysis = {"edge_threshold", "min_clique_size", "matrix", "partial"}
    parts = settings.analysis.parts.model_copy(update={"least": DEFAULT_PART_RULE.least})
    judged = settings.analysis.model_copy(update={"parts": parts})
    settings = settings.model_copy(update={"analysis": judged})
    verification = {"threshold", *WHEREABOUTS}
    apart = {"analysis": analysis, "verification": verification}
    return digest({"algorithm": settings.algorithm, **settings.model_dump(exclude=apart)})


def score_marked(
    store: Store,
    campaign_id: str,
    marks: Marks,
    sizes: Sequence[int],
    processes: int,
    progress: Progress,
    partial: bool = False,
) -> Scored:
    """Score the marked prompts of a campaign from its stored images; no size means its own.

    It is judged with its present settings, but for the thresholds. Prompts with fewer usable
    pictures than the largest size are left out: they could not be flagged. Raises `ConfigError`
    if a size or parts cannot be, or no control or no positive that was given has all its images,
    or enough that are usable.
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
    present = among(marks, load_prompts(store, campaign_id))
    _refuse_none(marks, present, "is among the prompts of the campaign", campaign_id)
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
        *captions_among(used.controls, settings.verification),
        *_left_out(len(marks.prompts) - len(present.prompts), "that the campaign does not have"),
        *_left_out(len(present.prompts) - len(complete.prompts), "without all its images"),
        *_left_out(
            len(complete.prompts) - len(used.prompts),
            f"with fewer than {chosen[-1]} usable pictures",
        ),
        *_undecided(list(evidence.values())),
    ]
    return Scored(submission, settings, chosen, used, evidence, tuple(warnings))


def calibrate(scored: Scored, marks: Marks, wish: CalibrationOptions) -> Calibration:
    """Choose thresholds from these of the scored prompts.

    Without positives nothing tells clique sizes apart: raises `ConfigError` if there are several.
    """
    sizes = wish.min_clique_sizes
    if len(sizes) > 1 and not marks.positives:
        raise ConfigError(
            "Clique sizes are chosen by their recall, and no prompt is known to be repeated; "
            "name some with --positives, or give one --min-clique-size."
        )
    candidates = tuple(_candidate(scored.edges(marks, size), size, wish) for size in sizes)
    chosen = _best(candidates)
    verification = None
    if scored.settings.verification:
        scores = scored.extractions(marks, chosen.min_clique_size)
        verification = operating_point(scores, wish.false_positive_rate, wish.base_rate)
    parts = None
    if wish.partial:
        controls, positives = scored.parts(marks, chosen.min_clique_size)
        groups = tuple(positive.group for positive in marks.positives)
        rule, asked = scored.settings.analysis.parts, wish.false_positive_rate
        lowest = rule.least if rule.anywhere else 1
        parts = part_point(rule.grid, controls, positives, groups, asked, len(sizes), lowest)
    return Calibration(
        campaign_id=scored.submission.campaign.campaign_id,
        analysis_id=scored.settings.analysis_id,
        scoring_id=scoring_id(scored.settings),
        tiles=scored.settings.analysis.tiles,
        seeds=scored.submission.campaign.sampling.seeds,
        written_at=datetime.now(UTC).isoformat(timespec="seconds"),
        wish=wish,
        controls=len(marks.controls),
        positives=len(marks.positives),
        groups=len({positive.group for positive in marks.positives}),
        candidates=candidates,
        chosen_size=chosen.min_clique_size,
        verification=verification,
        warnings=(*scored.warnings, *_too_few(len(marks.controls), wish)),
        parts=parts,
    )


def _candidate(scores: Scores, size: int, wish: CalibrationOptions) -> Candidate:
    choices = len(wish.min_clique_sizes)
    point = operating_point(scores, wish.false_positive_rate, wish.base_rate, choices)
    return Candidate(size, point, scores, precision_recall(scores))


def _best(candidates: Sequence[Candidate]) -> Candidate:
    shown = [candidate for candidate in candidates if candidate.point.shown]
    return max(shown or candidates, key=lambda c: (c.point.recall.low, -c.min_clique_size))


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


def _too_few(controls: int, wish: CalibrationOptions) -> list[str]:
    needed = controls_needed(wish.false_positive_rate, len(wish.min_clique_sizes))
    if controls >= needed:
        return []
    return [
        f"{count_words(controls, 'control')} cannot show a false-positive rate of "
        f"{wish.false_positive_rate:g}: that takes {needed:,}, none of them flagged. The "
        "thresholds "
        "are the largest at which no larger share of these few is flagged: a weak choice."
    ]
