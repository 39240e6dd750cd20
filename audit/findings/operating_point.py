"""A threshold from controls and known positives, and what it can be said to do. Pure: numbers in.

A score is the smallest step of a threshold at which a prompt is flagged, `NEVER` if none is; a
threshold of s steps flags the prompts whose score is at most s.
"""

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Final, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, PlainSerializer, PlainValidator, TypeAdapter

from seedsweep.audit.findings.intervals import RESAMPLES, SEED, Rate, Side, rate
from seedsweep.workers.analysis.flag_threshold import STEPS, threshold_of

NEVER = STEPS + 1
ERROR = 0.05
"""The allowed error of what is shown; it is divided among the candidates of a choice."""

BY_GROUP = (
    f"percentile bootstrap by group ({RESAMPLES} resamples, seed {SEED}), never narrower than "
    "exact (Clopper-Pearson)"
)
OVER_GROUPS = "exact (Clopper-Pearson) over groups, since all prompts agree"

_ALTERNATIVES: Final[dict[Side, Literal["two-sided", "greater", "less"]]] = {
    "both": "two-sided",
    "lower": "greater",
    "upper": "less",
}

_LISTED: TypeAdapter[list[int]] = TypeAdapter(list[Annotated[int, Field(ge=0, le=NEVER)]])


def _listed(steps: NDArray[np.int64]) -> list[int]:
    return [int(step) for step in steps]


def _from_list(steps: object) -> NDArray[np.int64]:
    return np.array(_LISTED.validate_python(steps), dtype=np.int64)


Steps = Annotated[NDArray[np.int64], PlainValidator(_from_list), PlainSerializer(_listed)]
"""An array of steps, (n,) int64; pydantic keeps it as a list."""


@dataclass(frozen=True, slots=True)
class Scores:
    """The scores of controls and of known positives for one clique size, and each positive's group:
    the prompts of one group are drawn together when prompts are resampled."""

    controls: Steps
    positives: Steps
    groups: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class OperatingPoint:
    """A threshold, the flags that it raises, and the precision that follows at a base rate.

    `threshold` is None if already the smallest one flags too many controls. `false_positives`
    ends in a one-sided upper bound, `recall` begins with a lower one; `shown`: that upper bound is
    within the rate asked for. `precision` is that of the recall found and the rate asked for;
    `precision_worst` holds with 95 % of confidence: a recall and a false-positive rate as bad as
    their bounds, each of which has half of the error. Both are None without positives or a base
    rate.
    """

    threshold: float | None
    false_positives: Rate
    shown: bool
    recall: Rate
    precision: float | None
    precision_worst: float | None

    @property
    def chosen(self) -> float | None:
        """The threshold, if the controls show the rate: no other one is to be used."""
        return self.threshold if self.shown else None

    @property
    def is_bounded(self) -> bool:
        """True if there is a threshold, and the controls bound it."""
        return self.threshold is not None and self.threshold < 1

    @property
    def summary(self) -> str:
        """Whether the controls show the rate, in a few words."""
        return "shown" if self.shown else f"not shown (n = {self.false_positives.n})"


def operating_point(
    scores: Scores, false_positive_rate: float, base_rate: float | None, choices: int = 1
) -> OperatingPoint:
    """The largest threshold that the controls allow at that false-positive rate.

    How many controls may be flagged is fixed by their number alone, before any is looked at, so the
    bound holds for the threshold that this leads to, and not only for one chosen elsewhere. Where
    not even 0 may be, it is the largest threshold whose share of them is within the rate. Each of
    so many `choices` gets its part of the error (Bonferroni). Without a base rate no precision is
    told.
    """
    confidence = 1 - ERROR / choices
    allowed = allowed_false_positives(len(scores.controls), false_positive_rate, confidence)
    shown = allowed is not None
    if allowed is None:
        allowed = math.floor(false_positive_rate * len(scores.controls) + 1e-9)
    step = largest_step(scores.controls, allowed)
    flagged = int(np.count_nonzero(scores.controls <= step))
    found = scores.positives <= step
    halved = 1 - ERROR / choices / 2
    recall = grouped_rate(found, scores.groups, confidence, "lower")
    expected = worst = None
    if recall.n and base_rate is not None:
        expected = precision_at(recall.value or 0.0, false_positive_rate, base_rate)
        worst = precision_at(
            grouped_rate(found, scores.groups, halved, "lower").low,
            rate(flagged, len(scores.controls), halved, "upper").high,
            base_rate,
        )
    return OperatingPoint(
        threshold=threshold_of(step) if step else None,
        false_positives=rate(flagged, len(scores.controls), confidence, "upper"),
        shown=shown and step > 0,
        recall=recall,
        precision=expected,
        precision_worst=worst,
    )


def allowed_false_positives(controls: int, at_most: float, confidence: float) -> int | None:
    """The most controls that may be flagged with the bound on their rate within `at_most`; None
    if so few controls show nothing."""
    if rate(0, controls, confidence, "upper").high > at_most:
        return None
    allowed, beyond = 0, controls
    while beyond - allowed > 1:
        middle = (allowed + beyond) // 2
        if rate(middle, controls, confidence, "upper").high <= at_most:
            allowed = middle
        else:
            beyond = middle
    return allowed


def controls_needed(at_most: float, choices: int = 1) -> int:
    """How few controls, none of them flagged, show a rate of `at_most`."""
    # (1 - rate)^n is the chance that none of n is flagged.
    return math.ceil(math.log(ERROR / choices) / math.log1p(-at_most))


def largest_step(controls: Steps, allowed: int) -> int:
    """The largest step that flags at most so many controls, 0 to `STEPS`; 0 flags nothing."""
    if len(controls) <= allowed:
        return STEPS
    return min(int(np.sort(controls)[allowed]) - 1, STEPS)


def precision_at(recall: float, false_positive_rate: float, base_rate: float) -> float | None:
    """The share of flags that are right if that share of prompts deserves one (Bayes); None
    if nothing is flagged."""
    right = recall * base_rate
    wrong = false_positive_rate * (1 - base_rate)
    return right / (right + wrong) if right + wrong else None


def grouped_rate(
    found: NDArray[np.bool_], groups: Sequence[str], confidence: float, side: Side = "both"
) -> Rate:
    """The share of prompts that are found, and its interval, whose method it names.

    Prompts of one group hang together, as those of one training picture do: if a group has
    several, whole groups are resampled. If all prompts agree that would show no spread, and each
    group counts once.
    """
    count, n = int(np.count_nonzero(found)), len(found)
    exact = rate(count, n, confidence, side)
    names = sorted(set(groups))
    if len(names) == n:
        return exact
    if count in (0, n) or len(names) < 2:
        once = rate(len(names) if count else 0, len(names), confidence, side)
        low, high = (0.0, 1.0) if count not in (0, n) else (once.low, once.high)
        return Rate(count, n, low, high, confidence, OVER_GROUPS)
    low, high = _resampled(found, groups, confidence, side)
    return Rate(count, n, min(low, exact.low), max(high, exact.high), confidence, BY_GROUP)


def _resampled(
    found: NDArray[np.bool_], groups: Sequence[str], confidence: float, side: Side
) -> tuple[float, float]:
    from scipy.stats import bootstrap

    cells: dict[str, list[bool]] = defaultdict(list)
    for group, is_found in zip(groups, found.tolist(), strict=True):
        cells[group].append(is_found)
    hits = np.array([sum(cell) for cell in cells.values()])
    sizes = np.array([len(cell) for cell in cells.values()])

    def share(drawn: NDArray[np.int64], axis: int = -1) -> NDArray[np.float64]:
        return np.asarray(hits[drawn].sum(axis=axis) / sizes[drawn].sum(axis=axis))

    interval = bootstrap(
        (np.arange(len(cells)),),
        share,
        n_resamples=RESAMPLES,
        batch=max(1, 2_000_000 // len(cells)),
        vectorized=True,
        confidence_level=confidence,
        alternative=_ALTERNATIVES[side],
        method="percentile",
        rng=SEED,
    ).confidence_interval
    return max(0.0, float(interval.low)), min(1.0, float(interval.high))
