"""How far two people agree who labelled the same items, beyond what chance would give.

scipy and scikit-learn tell it, and are loaded when they are first needed.
"""

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from seedsweep.audit.findings.intervals import CONFIDENCE, SEED

KAPPA_RESAMPLES = 999
KAPPA_LEAST = 30
"""With fewer items the bootstrap of kappa covers far less than its level."""


@dataclass(frozen=True, slots=True)
class Kappa:
    """Cohen's kappa (1960) of two people who each gave `n` items one label: 1 is full agreement, 0
    what chance would give. It is None if it is undefined. The interval is None then, and if it
    cannot be told; `method` says why."""

    value: float | None
    n: int
    low: float | None
    high: float | None
    confidence: float
    method: str

    def __str__(self) -> str:
        if self.value is None:
            return f"not shown (n = {self.n}; {self.method})"
        if self.low is None or self.high is None:
            return f"{self.value:.2f}, no interval ({self.method})"
        return f"{self.value:.2f} [{self.low:.2f}, {self.high:.2f}], {self.method}"


def cohen_kappa(
    a: Sequence[str], b: Sequence[str], labels: Sequence[str], confidence: float = CONFIDENCE
) -> Kappa:
    """The kappa of two people's labels of the same items, each one of `labels`, with its interval.

    Items are resampled; resamples in which it is undefined are left out, and counted.
    """
    from scipy.stats import bootstrap
    from sklearn.metrics import cohen_kappa_score

    first, second = (np.array([labels.index(label) for label in given], int) for given in (a, b))
    n, everyone = len(first), np.arange(len(first))

    def kappa(chosen: NDArray[np.int64]) -> float:
        return float(cohen_kappa_score(first[chosen], second[chosen], labels=range(len(labels))))

    with warnings.catch_warnings():
        # It warns if it is undefined, and gives nan.
        warnings.simplefilter("ignore")
        value = kappa(everyone) if n else math.nan
        if math.isnan(value):
            why = "undefined: both gave one label alone" if n else "they labelled nothing in common"
            return Kappa(None, n, None, None, confidence, why)
        if n < KAPPA_LEAST:
            why = f"{n} in common, a bootstrap wants {KAPPA_LEAST}"
            return Kappa(value, n, None, None, confidence, why)
        resampled = bootstrap(
            (everyone,), kappa, n_resamples=KAPPA_RESAMPLES, vectorized=False, rng=SEED,
            method="percentile",
        ).bootstrap_distribution  # fmt: skip
    defined = resampled[~np.isnan(resampled)]
    if np.ptp(defined) < 1e-12:
        return Kappa(value, n, None, None, confidence, "resampling shows no spread")
    low, high = np.quantile(defined, [(1 - confidence) / 2, (1 + confidence) / 2])
    left_out = len(resampled) - len(defined)
    method = f"percentile bootstrap over items, {len(resampled)} resamples, seed {SEED}" + (
        f", {left_out} of them undefined and left out" if left_out else ""
    )
    return Kappa(value, n, float(low), float(high), confidence, method)
