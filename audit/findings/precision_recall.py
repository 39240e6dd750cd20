"""How precision, recall and false alarms go with the threshold. Pure: numbers in, lines out."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from seedsweep.audit.findings.intervals import CONFIDENCE, SEED
from seedsweep.audit.findings.operating_point import NEVER, Scores, Steps
from seedsweep.workers.analysis.flag_threshold import STEPS

RESAMPLES = 1_999
LEVELS = 50
BATCH = 50
BAND = (
    f"percentile bootstrap, {CONFIDENCE:.0%} at each recall by itself: controls one by one and "
    f"positives by group, {RESAMPLES} resamples, seed {SEED}"
)


@dataclass(frozen=True, slots=True)
class PrecisionRecall:
    """Precision at each recall, at the strictest threshold that reaches it, with a band around it.

    `recall` ascends to 1. A precision of 0 says that no threshold reaches that recall. The
    precision is that among these very prompts, as many positives to as many controls. `low` and
    `high` are None if there are too few of either to resample.
    """

    recall: tuple[float, ...]
    precision: tuple[float, ...]
    low: tuple[float, ...] | None
    high: tuple[float, ...] | None


def precision_recall(scores: Scores) -> PrecisionRecall | None:
    """The precision-recall curve of the scores; None without controls or without positives."""
    from scipy.stats import bootstrap

    if not len(scores.controls) or not len(scores.positives):
        return None
    levels = min(LEVELS, len(scores.positives))
    recall = np.arange(1, levels + 1) / levels
    groups = sorted(set(scores.groups))
    places = np.array([groups.index(group) for group in scores.groups])
    steps = np.unique(np.concatenate([scores.controls, scores.positives, [STEPS]]))
    steps = steps[steps < NEVER]
    controls = (scores.controls[:, None] <= steps).astype(np.float64)
    found = (scores.positives[:, None] <= steps).astype(np.float64)
    by_group = np.zeros((len(groups), len(steps)))
    np.add.at(by_group, places, found)
    sizes = np.bincount(places, minlength=len(groups)).astype(np.float64)

    def precision(
        drawn: NDArray[np.int64], drawn_controls: NDArray[np.int64], axis: int = -1
    ) -> NDArray[np.float64]:
        times = _times(drawn, len(groups))
        right = times @ by_group
        wrong = _times(drawn_controls, len(controls)) @ controls
        return _at_recall(recall, right, times @ sizes, wrong)

    everyone = (np.arange(len(groups)), np.arange(len(controls)))
    curve = precision(*everyone)
    if min(map(len, everyone)) < 2:
        return PrecisionRecall(_floats(recall), _floats(curve), None, None)
    band = bootstrap(
        everyone,
        precision,
        n_resamples=RESAMPLES,
        batch=BATCH,
        vectorized=True,
        confidence_level=CONFIDENCE,
        method="percentile",
        rng=SEED,
    ).confidence_interval
    return PrecisionRecall(_floats(recall), _floats(curve), _floats(band.low), _floats(band.high))


def flagged_share(scores: Steps, steps: Steps) -> NDArray[np.float64]:
    """The share of prompts that each threshold flags; zeros if there are no prompts."""
    if not len(scores):
        return np.zeros(len(steps))
    return np.asarray(np.searchsorted(np.sort(scores), steps, side="right") / len(scores))


def _times(drawn: NDArray[np.int64], count: int) -> NDArray[np.float64]:
    """How often each of `count` was drawn: (..., drawn) -> (..., count)."""
    rows = drawn.reshape(-1, drawn.shape[-1])
    flat = (rows + count * np.arange(len(rows))[:, None]).ravel()
    times = np.bincount(flat, minlength=count * len(rows)).astype(np.float64)
    return times.reshape(*drawn.shape[:-1], count)


def _at_recall(
    recall: NDArray[np.float64],
    right: NDArray[np.float64],
    total: NDArray[np.float64],
    wrong: NDArray[np.float64],
) -> NDArray[np.float64]:
    """(..., thresholds) -> (levels, ...), as `bootstrap` wants several statistics at once."""
    flagged = right + wrong
    precision = np.divide(right, flagged, out=np.zeros_like(right), where=flagged > 0)
    rows = []
    for level in recall.tolist():
        reached = right >= (level * total)[..., None] - 1e-9
        first = reached.argmax(axis=-1)[..., None]
        at_first = np.take_along_axis(precision, first, axis=-1)[..., 0]
        rows.append(np.where(reached.any(axis=-1), at_first, 0.0))
    return np.stack(rows)


def _floats(values: ArrayLike) -> tuple[float, ...]:
    return tuple(float(value) for value in np.asarray(values))
