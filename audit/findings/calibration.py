"""Thresholds for a campaign from its control prompts and known positives, with their evidence."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np

from seedsweep.audit.findings.control_prompts import Marks
from seedsweep.audit.findings.intervals import Rate, rate
from seedsweep.audit.findings.marked_scores import MarkedScores
from seedsweep.audit.findings.operating_point import (
    OperatingPoint,
    Scores,
    controls_needed,
    grouped_rate,
    operating_point,
)
from seedsweep.audit.findings.part_point import PartPoint, part_point
from seedsweep.audit.findings.precision_recall import PrecisionRecall, precision_recall
from seedsweep.scheduler.quantities import count_words
from seedsweep.storage.errors import ConfigError
from seedsweep.storage.record import digest
from seedsweep.storage.settings.analysis import DEFAULT_PART_RULE, WHEREABOUTS, AnalysisSettings
from seedsweep.workers.analysis.flag_threshold import STEPS


@dataclass(frozen=True, slots=True)
class CalibrationOptions:
    """What the thresholds have to keep: at most that share of controls is flagged, at one of these
    clique sizes. Precision is told for `base_rate`, the share of all prompts that are repeated, and
    not at all if it is None. `partial`: also choose what makes a part."""

    false_positive_rate: float
    base_rate: float | None
    min_clique_sizes: tuple[int, ...]
    partial: bool = False


@dataclass(frozen=True, slots=True)
class Candidate:
    """One clique size, its best edge threshold, and what all thresholds do with the prompts."""

    min_clique_size: int
    point: OperatingPoint
    scores: Scores
    curve: PrecisionRecall | None

    def alarms_at(self, edge_threshold: float) -> Rate:
        """The share of controls that this edge threshold flags, with its upper bound."""
        return _alarms_at(self.scores, edge_threshold, self.point.false_positives.confidence)

    def recall_at(self, edge_threshold: float) -> Rate:
        """The share of known positives that this edge threshold flags, with its lower bound."""
        found = self.scores.positives <= _step(edge_threshold)
        confidence = self.point.recall.confidence
        return grouped_rate(found, self.scores.groups, confidence, "lower")


@dataclass(frozen=True, slots=True)
class OwnThresholds:
    """The thresholds that held for the campaign before; they stay where none is chosen.

    `l2` and `extracted`, the share of controls that it extracts, are None without a training set.
    `least`: how many tiles make a part.
    """

    edge_threshold: float
    min_clique_size: int
    l2: float | None
    extracted: Rate | None
    least: int


@dataclass(frozen=True, slots=True)
class Calibration:
    """What came of it. `chosen` is one of the `candidates`: of those whose false-positive rate is
    shown, or else of all, the one with the highest lower bound of recall, the smallest of equals.
    `verification` is None if the campaign has no training set: then extraction is not examined;
    `parts` if nobody asked for them. Only a shown point is to be used. `own`: what to keep where
    none is; None in calibrations of an earlier version.
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
    own: OwnThresholds | None = None

    def __post_init__(self) -> None:
        if self.chosen_size not in [each.min_clique_size for each in self.candidates]:
            raise ValueError(f"no candidate has the chosen clique size {self.chosen_size}")

    @property
    def chosen(self) -> Candidate:
        """The candidate with the chosen clique size."""
        return next(c for c in self.candidates if c.min_clique_size == self.chosen_size)

    def alarms(self, candidate: Candidate) -> Rate:
        """The share of controls flagged: at its threshold, or if none is chosen at the campaign's
        own."""
        if candidate.point.chosen is not None or self.own is None:
            return candidate.point.false_positives
        return candidate.alarms_at(self.own.edge_threshold)

    def recall(self, candidate: Candidate) -> Rate:
        """The share of known positives flagged, at the same threshold."""
        if candidate.point.chosen is not None or self.own is None:
            return candidate.point.recall
        return candidate.recall_at(self.own.edge_threshold)


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


def calibrate(scored: MarkedScores, marks: Marks, wish: CalibrationOptions) -> Calibration:
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
    verification, l2, extracted = None, None, None
    if scored.settings.verification:
        scores = scored.extractions(marks, chosen.min_clique_size)
        verification = operating_point(scores, wish.false_positive_rate, wish.base_rate)
        l2 = scored.settings.verification.threshold
        extracted = _alarms_at(scores, l2, verification.false_positives.confidence)
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
        own=OwnThresholds(
            scored.settings.analysis.edge_threshold,
            scored.settings.analysis.min_clique_size,
            l2,
            extracted,
            scored.settings.analysis.parts.least,
        ),
    )


def _candidate(scores: Scores, size: int, wish: CalibrationOptions) -> Candidate:
    choices = len(wish.min_clique_sizes)
    point = operating_point(scores, wish.false_positive_rate, wish.base_rate, choices)
    return Candidate(size, point, scores, precision_recall(scores))


def _step(threshold: float) -> int:
    """The last step that is within a threshold."""
    return math.floor(threshold * STEPS + 1e-9)


def _alarms_at(scores: Scores, threshold: float, confidence: float) -> Rate:
    """The share of controls that a threshold flags, with its upper bound."""
    flagged = int(np.count_nonzero(scores.controls <= _step(threshold)))
    return rate(flagged, len(scores.controls), confidence, "upper")


def _best(candidates: Sequence[Candidate]) -> Candidate:
    shown = [candidate for candidate in candidates if candidate.point.shown]
    return max(shown or candidates, key=lambda c: (c.point.recall.low, -c.min_clique_size))


def _too_few(controls: int, wish: CalibrationOptions) -> list[str]:
    needed = controls_needed(wish.false_positive_rate, len(wish.min_clique_sizes))
    if controls >= needed:
        return []
    return [
        f"{count_words(controls, 'control')} cannot show a false-positive rate of "
        f"{wish.false_positive_rate:g}: that takes {needed:,}, none of them flagged. So no "
        "threshold is chosen."
    ]
