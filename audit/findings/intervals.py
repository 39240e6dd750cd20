"""The statistics that results are told with: rates, paired differences and their intervals.

All come from scipy, but for the way in which Newcombe (1998) joins two Wilson intervals. It is
loaded when it is first needed: `scipy.special` takes a third of a second, `scipy.stats` half of
one, and most commands that show results tell no rate.
"""

import math
import warnings
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

CONFIDENCE = 0.95
RESAMPLES = 9_999
SEED = 0
BCA_MOST = 5_000
"""BCa leaves out every value in turn: with more values than this it takes too long."""

MCNEMAR = "exact McNemar test, two-sided"
NEWCOMBE = "Newcombe's method 10 (Wilson), paired"

Side = Literal["both", "lower", "upper"]


@dataclass(frozen=True, slots=True)
class Rate:
    """`count` of `n`, and the interval that holds the true share; 0 to 1 if n is 0."""

    count: int
    n: int
    low: float
    high: float
    confidence: float
    method: str

    @property
    def value(self) -> float | None:
        """The share, None if n is 0."""
        return self.count / self.n if self.n else None

    def __str__(self) -> str:
        if self.value is None:
            return "not shown (n = 0)"
        places = decimals(self.n)
        interval = f"[{self.low:.{places}f}, {self.high:.{places}f}]"
        return f"{self.count}/{self.n} = {self.value:.{places}f} {interval}"


@dataclass(frozen=True, slots=True)
class RateDifference:
    """Of `n` pairs, the mean of the second less the first; the interval is None if unknown."""

    value: float | None
    n: int
    low: float | None
    high: float | None
    confidence: float
    method: str

    def __str__(self) -> str:
        if self.value is None:
            return "not shown (n = 0)"
        places = decimals(self.n)
        if self.low is None or self.high is None:
            return f"{self.value:+.{places}f}, no interval ({self.method})"
        return f"{self.value:+.{places}f} [{self.low:+.{places}f}, {self.high:+.{places}f}]"


@dataclass(frozen=True, slots=True)
class PairedRates:
    """A yes or no about the same prompts twice, `a` and `b`: the four cells add up to n.

    `difference` is b − a. `p`: how often chance alone would split the prompts that changed
    (`only_a` and `only_b`) at least as unevenly; 1 if none did.
    """

    a: Rate
    b: Rate
    both: int
    only_a: int
    only_b: int
    neither: int
    difference: RateDifference
    p: float
    test: str


def decimals(n: int) -> int:
    """As many as a share of n can use, two at least."""
    return max(2, len(str(n)) - 1)


def rate(count: int, n: int, confidence: float = CONFIDENCE, side: Side = "both") -> Rate:
    """A share with its exact interval (Clopper and Pearson 1934).

    `side` "lower": the interval goes up to 1, and only its lower end is uncertain; "upper": it
    begins at 0. The true share is within it with at least `confidence`.
    """
    name = "two-sided" if side == "both" else f"{side} bound"
    method = f"exact (Clopper-Pearson), {name}"
    if n == 0:
        return Rate(0, 0, 0.0, 1.0, confidence, method)
    from scipy.special import betaincinv

    beyond = (1 - confidence) / (2 if side == "both" else 1)
    low = 0.0 if side == "upper" or count == 0 else betaincinv(count, n - count + 1, beyond)
    high = 1.0 if side == "lower" or count == n else betaincinv(count + 1, n - count, 1 - beyond)
    return Rate(count, n, float(low), float(high), confidence, method)


def others_of(count: int, n: int, total: int, confidence: float = CONFIDENCE) -> tuple[int, int]:
    """How many of the others are such at least and at most, if `n` of `total` were drawn by lot and
    `count` of these are such.

    The exact hypergeometric interval, two-sided (Chung and DeLury 1950): these bounds hold with at
    least `confidence`. Those of a share times the number of the others would not: of few, what is
    drawn by lot differs from the share, and a part of one is none.
    """
    if n == total:
        return 0, 0
    from scipy.stats import hypergeom

    others, beyond = range(total - n + 1), (1 - confidence) / 2
    beyond *= 1 - 1e-9  # what is as probable as that is not beyond it, however it is rounded

    def is_enough(such: int) -> bool:
        return bool(hypergeom.sf(count - 1, total, count + such, n) >= beyond)

    def is_too_many(such: int) -> bool:
        return bool(hypergeom.cdf(count, total, count + such, n) < beyond)

    low = bisect_left(others, True, key=is_enough)
    return low, bisect_left(others, True, low, key=is_too_many) - 1


def poisson_bound(count: int, confidence: float = CONFIDENCE) -> float:
    """The largest mean that shows `count` events or fewer with at least 1 - `confidence`: the exact
    one-sided upper bound of a Poisson mean (Garwood 1936)."""
    from scipy.special import gammaincinv

    return float(gammaincinv(count + 1, confidence))


def paired_rates(pairs: Sequence[tuple[bool, bool]], confidence: float = CONFIDENCE) -> PairedRates:
    """Compare two answers about each prompt, the first's and the second's."""
    n = len(pairs)
    both = sum(a and b for a, b in pairs)
    only_a = sum(a and not b for a, b in pairs)
    only_b = sum(b and not a for a, b in pairs)
    neither = n - both - only_a - only_b
    return PairedRates(
        a=rate(both + only_a, n, confidence),
        b=rate(both + only_b, n, confidence),
        both=both,
        only_a=only_a,
        only_b=only_b,
        neither=neither,
        difference=rate_difference(both, only_a, only_b, neither, confidence),
        p=mcnemar(only_a, only_b),
        test=MCNEMAR,
    )


def mcnemar(only_a: int, only_b: int) -> float:
    """The exact two-sided p of McNemar's test on the pairs that changed; 1 if none did."""
    from scipy.stats import binomtest

    changed = only_a + only_b
    return float(binomtest(only_a, changed, 0.5).pvalue) if changed else 1.0


def rate_difference(
    both: int, only_a: int, only_b: int, neither: int, confidence: float = CONFIDENCE
) -> RateDifference:
    """The share of b less that of a, of the same prompts, with its interval.

    Newcombe 1998, "Improved confidence intervals for the difference between binomial proportions
    based on paired data", method 10 without its correction of φ. A bootstrap would give [0, 0]
    if no prompt changed, and covers far too little if few do.
    """
    n = both + only_a + only_b + neither
    if n == 0:
        return RateDifference(None, 0, None, None, confidence, NEWCOMBE)
    (p_a, low_a, high_a), (p_b, low_b, high_b) = (
        _wilson(both + only, n, confidence) for only in (only_a, only_b)
    )
    phi = _phi(both, only_a, only_b, neither)
    below = _joined(p_b - low_b, high_a - p_a, phi)
    above = _joined(high_b - p_b, p_a - low_a, phi)
    value = (only_b - only_a) / n
    return RateDifference(
        value, n, max(-1.0, value - below), min(1.0, value + above), confidence, NEWCOMBE
    )


def mean_difference(
    a: Sequence[float], b: Sequence[float], confidence: float = CONFIDENCE
) -> RateDifference:
    """The mean of b − a over pairs, with a bootstrap interval over the pairs: BCa, or percentiles
    if there are more than `BCA_MOST`. Equal values give an equal interval.

    There is no interval if all differences are equal: resampling them shows no spread.
    """
    from scipy.stats import DegenerateDataWarning, bootstrap

    differences = np.asarray(b, dtype=np.float64) - np.asarray(a, dtype=np.float64)
    n = len(differences)
    if n == 0:
        return RateDifference(None, 0, None, None, confidence, "bootstrap")
    value = float(differences.mean())
    if np.ptp(differences) == 0:
        reason = "there is one pair" if n == 1 else "all differences are equal"
        return RateDifference(value, n, None, None, confidence, reason)
    method: Literal["BCa", "percentile"] = "BCa" if n <= BCA_MOST else "percentile"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DegenerateDataWarning)
        interval = bootstrap(
            (differences,),
            _mean,
            n_resamples=RESAMPLES if method == "BCa" else RESAMPLES // 5,
            batch=max(1, 2_000_000 // n),
            confidence_level=confidence,
            method=method,
            rng=SEED,
        ).confidence_interval
    low, high = float(interval.low), float(interval.high)
    if math.isnan(low) or math.isnan(high):
        return RateDifference(value, n, None, None, confidence, "too few differ")
    return RateDifference(value, n, low, high, confidence, f"{method} bootstrap over pairs")


def _mean(values: NDArray[np.float64], axis: int) -> NDArray[np.float64]:
    return np.asarray(values.mean(axis=axis))


def _wilson(count: int, n: int, confidence: float) -> tuple[float, float, float]:
    from scipy.stats import binomtest

    interval = binomtest(count, n).proportion_ci(confidence, method="wilson")
    return count / n, float(interval.low), float(interval.high)


def _phi(both: int, only_a: int, only_b: int, neither: int) -> float:
    """The correlation of the two answers, 0 if one of them never varies."""
    margins = (both + only_a) * (only_b + neither) * (both + only_b) * (only_a + neither)
    return (both * neither - only_a * only_b) / math.sqrt(margins) if margins else 0.0


def _joined(one: float, other: float, phi: float) -> float:
    # The maximum guards against rounding below 0 if φ is 1.
    return math.sqrt(max(0.0, one * one - 2 * phi * one * other + other * other))
