"""Intervals against values from the literature, brute force, and simulation."""

import math
from fractions import Fraction
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seedsweep.audit.findings.intervals import (
    BCA_MOST,
    RateDifference,
    mcnemar,
    mean_difference,
    others_of,
    paired_rates,
    poisson_bound,
    rate,
    rate_difference,
)

SMALL = st.integers(0, 40)


def tail(k, n, p):
    """P(X ≥ k) of a binomial, summed term by term."""
    return math.fsum(math.comb(n, i) * p**i * (1 - p) ** (n - i) for i in range(k, n + 1))


def root(rising, target):
    low, high = 0.0, 1.0
    for _ in range(80):
        middle = (low + high) / 2
        low, high = (middle, high) if rising(middle) < target else (low, middle)
    return low


def clopper_pearson(k, n, alpha):
    """The shares at which k or more, and k or fewer, are as rare as alpha."""
    low = root(lambda p: tail(k, n, p), alpha) if k else 0.0
    high = root(lambda p: tail(k + 1, n, p), 1 - alpha) if k < n else 1.0
    return low, high


class TestRate:
    @pytest.mark.parametrize("n", [1, 2, 7, 20])
    def test_the_interval_inverts_the_binomial_tails(self, n):
        for k in range(n + 1):
            found = rate(k, n)
            assert (found.low, found.high) == pytest.approx(clopper_pearson(k, n, 0.025), abs=1e-6)

    def test_a_one_sided_bound_leaves_the_whole_error_on_its_side(self):
        low, high = clopper_pearson(3, 11, 0.05)
        assert rate(3, 11, side="lower").low == pytest.approx(low, abs=1e-6)
        assert rate(3, 11, side="lower").high == 1
        assert rate(3, 11, side="upper").high == pytest.approx(high, abs=1e-6)
        assert rate(3, 11, side="upper").low == 0

    def test_none_of_n_is_bounded_by_the_rule_of_three(self):
        assert rate(0, 1000, side="upper").high == pytest.approx(1 - 0.05 ** (1 / 1000))
        assert rate(0, 1000, side="upper").high == pytest.approx(3 / 1000, rel=0.01)

    def test_a_published_value(self):
        # Newcombe 1998, "Two-sided confidence intervals for the single proportion", table I.
        found = rate(81, 263)
        assert (found.low, found.high) == pytest.approx((0.2527, 0.3676), abs=5e-5)

    def test_it_covers_at_least_as_often_as_it_says(self):
        rng = np.random.default_rng(0)
        for p in (0.02, 0.2, 0.5):
            draws = rng.binomial(30, p, 2000)
            intervals = {k: rate(int(k), 30) for k in set(draws)}
            held = np.mean([intervals[k].low <= p <= intervals[k].high for k in draws])
            assert held >= 0.95 - 0.01

    def test_it_prints_count_share_and_interval(self):
        assert str(rate(3, 7)) == "3/7 = 0.43 [0.10, 0.82]"
        assert str(rate(0, 0)) == "not shown (n = 0)"
        assert str(rate(5, 35000)).startswith("5/35000 = 0.0001 [")

    def test_the_method_is_named(self):
        assert "Clopper-Pearson" in rate(3, 7).method
        assert "upper bound" in rate(3, 7, side="upper").method

    @given(SMALL, SMALL, st.sampled_from([0.5, 0.9, 0.99]))
    @settings(max_examples=50)
    def test_no_mirror_alters_it_and_more_confidence_widens_it(self, k, others, confidence):
        n = k + others
        found, mirrored = rate(k, n, confidence), rate(others, n, confidence)
        assert 0 <= found.low <= (found.value or 0) <= found.high <= 1
        assert mirrored.low == pytest.approx(1 - found.high, abs=1e-9)
        wider = rate(k, n, 0.999)
        assert wider.low <= found.low
        assert found.high <= wider.high


class TestMcNemar:
    @pytest.mark.parametrize("changed", [1, 2, 5, 9])
    def test_it_is_the_share_of_coin_tosses_at_least_as_uneven(self, changed):
        tosses = [sum(toss) for toss in product((0, 1), repeat=changed)]
        for only_a in range(changed + 1):
            off = abs(2 * only_a - changed)
            expected = np.mean([abs(2 * toss - changed) >= off for toss in tosses])
            assert mcnemar(only_a, changed - only_a) == pytest.approx(expected)

    def test_where_nothing_changed_nothing_is_shown(self):
        assert mcnemar(0, 0) == 1

    @given(SMALL, SMALL)
    @settings(max_examples=50)
    def test_it_does_not_matter_which_comes_first(self, a, b):
        assert mcnemar(a, b) == pytest.approx(mcnemar(b, a))
        assert 0 <= mcnemar(a, b) <= 1


class TestRateDifference:
    @pytest.mark.parametrize(
        ("cells", "low", "high"),
        [  # worked through by hand with z = 1.959964 from Newcombe's formulas
            ((0, 0, 0, 50), -0.0713, 0.0713),
            ((20, 0, 0, 0), -0.1611, 0.1611),
        ],
    )
    def test_where_nothing_changed_there_is_doubt_left(self, cells, low, high):
        found = rate_difference(*cells)
        assert found.value == 0
        assert (found.low, found.high) == pytest.approx((low, high), abs=5e-5)

    def test_answers_that_do_not_hang_together_are_as_two_groups(self):
        # φ = 0 for 8, 12, 12, 18: the interval is Newcombe's method for unpaired groups of 20/50.
        found = rate_difference(8, 12, 12, 18)
        z2, p, n = 1.959964**2, 0.4, 50
        half = math.sqrt(z2 * (p * (1 - p) / n + z2 / (4 * n * n))) / (1 + z2 / n)
        middle = (p + z2 / (2 * n)) / (1 + z2 / n)
        reach = math.hypot(p - (middle - half), middle + half - p)
        assert (found.low, found.high) == pytest.approx((-reach, reach), abs=1e-6)

    @pytest.mark.parametrize(
        "shares", [(0.05, 0.1, 0.02, 0.83), (0.02, 0.01, 0.01, 0.96), (0.05, 0.05, 0.0, 0.9)]
    )
    def test_it_covers_rare_changes_too(self, shares):
        rng = np.random.default_rng(1)
        true = shares[2] - shares[1]
        found = [rate_difference(*map(int, cells)) for cells in rng.multinomial(64, shares, 1000)]
        assert np.mean([f.low <= true <= f.high for f in found]) >= 0.94

    @given(SMALL, SMALL, SMALL, SMALL)
    @settings(max_examples=80)
    def test_it_holds_the_difference_and_turns_with_the_order(self, both, a, b, neither):
        found, turned = (rate_difference(both, *one, neither) for one in ((a, b), (b, a)))
        if both + a + b + neither == 0:
            assert found.value is None
            return
        assert -1 <= found.low <= found.value <= found.high <= 1
        assert (turned.low, turned.high) == pytest.approx((-found.high, -found.low))


class TestMeanDifference:
    def test_it_is_the_second_less_the_first(self):
        found = mean_difference([4, 0, 9, 5], [0, 0, 8, 5])
        assert found.value == pytest.approx(-5 / 4)
        assert found.low < found.value <= found.high
        assert "BCa" in found.method

    def test_it_covers_about_as_often_as_it_says(self, monkeypatch):
        monkeypatch.setattr("seedsweep.audit.findings.intervals.RESAMPLES", 499)
        rng = np.random.default_rng(2)
        rows = rng.poisson(3, (200, 50))
        found = [mean_difference([0.0] * 50, row) for row in rows]
        assert np.mean([f.low <= 3 <= f.high for f in found]) >= 0.90

    def test_equal_values_give_an_equal_interval(self):
        values = [1.0, 5.0, 2.0, 8.0]
        assert mean_difference([0] * 4, values) == mean_difference([0] * 4, values)

    def test_many_pairs_are_resampled_without_leaving_each_out(self):
        n = BCA_MOST + 1
        found = mean_difference([0] * n, list(range(n)))
        assert "percentile" in found.method
        assert found.low < (n - 1) / 2 < found.high

    @pytest.mark.parametrize("n", [1, 2, 7])
    def test_differences_that_are_all_equal_have_no_interval(self, n):
        found = mean_difference([3] * n, [5] * n)
        assert (found.value, found.low, found.high) == (2, None, None)
        assert str(found).startswith("+2.00, no interval (")

    def test_nothing_to_compare_is_not_shown(self):
        assert str(mean_difference([], [])) == "not shown (n = 0)"


def test_the_four_cells_add_up_and_tell_both_rates():
    answers = [(True, True)] * 2 + [(True, False)] * 3 + [(False, True)] + [(False, False)] * 4
    found = paired_rates(answers)
    assert (found.both, found.only_a, found.only_b, found.neither) == (2, 3, 1, 4)
    assert (found.a.count, found.b.count, found.a.n) == (5, 3, 10)
    assert found.difference.value == pytest.approx(-0.2)
    assert found.p == pytest.approx(2 * (1 + 4) / 16)


def test_a_difference_prints_its_sign():
    assert str(RateDifference(-0.125, 10, -0.25, 0.5, 0.95, "m")) == "-0.12 [-0.25, +0.50]"


@pytest.mark.parametrize("count", [0, 1, 5, 40])
def test_the_bound_of_a_poisson_mean_shows_no_more_with_that_probability(count):
    mean = poisson_bound(count)
    likely = sum(math.exp(-mean) * mean**k / math.factorial(k) for k in range(count + 1))
    assert likely == pytest.approx(0.05)


def shares_of_draws(such, n, total):
    """How probable each number of such things is among n of the total, exactly."""
    ways = [math.comb(such, k) * math.comb(total - such, n - k) for k in range(n + 1)]
    return [Fraction(each, math.comb(total, n)) for each in ways]


@given(st.integers(0, 25).flatmap(lambda total: st.tuples(st.just(total), st.integers(0, total))))
@settings(max_examples=60, deadline=None)
def test_how_many_others_are_such_is_what_makes_neither_more_nor_fewer_drawn_too_rare(drawn):
    total, n = drawn
    for count in range(n + 1):
        likely = []
        for others in range(total - n + 1):
            shares = shares_of_draws(count + others, n, total)
            if min(sum(shares[: count + 1]), sum(shares[count:])) >= Fraction(1, 40):
                likely.append(others)
        assert others_of(count, n, total) == (likely[0], likely[-1])


@pytest.mark.parametrize(("total", "n"), [(3, 2), (10, 5), (40, 36), (12, 0), (7, 7)])
def test_how_many_others_are_such_is_within_its_bounds_as_often_as_it_says(total, n):
    """A share times the number of the others covers 2 % of one such thing in 40 of which 36 are
    drawn."""
    for such in range(total + 1):
        bounds = [others_of(count, n, total) for count in range(n + 1)]
        shares = shares_of_draws(such, n, total)
        covered = [
            share
            for count, (share, (low, high)) in enumerate(zip(shares, bounds, strict=True))
            if low <= such - count <= high
        ]
        assert sum(covered) >= Fraction(19, 20)
