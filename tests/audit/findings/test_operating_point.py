"""Thresholds from controls: what their number shows, and what follows for precision."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom

from seedsweep.audit.findings.intervals import rate
from seedsweep.audit.findings.operating_point import (
    BY_GROUP,
    NEVER,
    OVER_GROUPS,
    Scores,
    allowed_false_positives,
    controls_needed,
    grouped_rate,
    largest_step,
    operating_point,
    precision_at,
)
from seedsweep.audit.findings.precision_recall import flagged_share, precision_recall

modest = settings(max_examples=40, derandomize=True, deadline=None)
steps = st.integers(1, 1000) | st.integers(100, 110) | st.just(NEVER)


def scores(controls, positives=(), groups=None):
    names = tuple(map(str, range(len(positives)))) if groups is None else tuple(groups)
    return Scores(np.array(controls, np.int64), np.array(positives, np.int64), names)


def flagged(found, point):
    step = round((point.threshold or 0) * 1000)
    return int((found.controls <= step).sum()), int((found.positives <= step).sum())


@modest
@given(st.lists(steps, min_size=1, max_size=120), st.sampled_from([0.03, 0.05, 0.1, 0.3]))
def test_the_threshold_is_the_largest_whose_bound_is_within_the_rate(controls, wanted):
    point = operating_point(scores(controls), wanted, 0.0003)

    def bound(step):
        return rate(int((np.array(controls) <= step).sum()), len(controls), side="upper").high

    step = round((point.threshold or 0) * 1000)
    if point.shown:
        assert bound(step) <= wanted
        assert step == 1000 or bound(step + 1) > wanted
    elif step:
        assert bound(0) > wanted
        assert (np.array(controls) <= step).mean() <= wanted
        assert step == 1000 or (np.array(controls) <= step + 1).mean() > wanted


@modest
@given(st.lists(steps, min_size=60, max_size=90), st.integers(0, 89))
def test_a_control_that_is_flagged_later_lowers_no_threshold(controls, place):
    later = list(controls)
    later[place % len(later)] = NEVER
    before, after = (operating_point(scores(c), 0.1, 0.1).threshold or 0 for c in (controls, later))
    assert after >= before


@modest
@given(st.lists(steps, min_size=20, max_size=60), st.lists(steps, min_size=1, max_size=40))
def test_a_laxer_rate_flags_no_fewer(controls, positives):
    found = scores(controls, positives)
    counts = [flagged(found, operating_point(found, r, 0.1)) for r in (0.2, 0.3, 0.4)]
    assert counts == sorted(counts)


def test_the_bound_holds_for_the_threshold_that_the_controls_chose():
    # Scores are uniform, so the true rate at a threshold is that threshold.
    generator = np.random.default_rng(0)
    points = [
        operating_point(scores(generator.integers(1, 1001, 100)), 0.05, 0) for _ in range(300)
    ]
    exceed = sum((point.threshold or 0) > 0.05 for point in points)
    assert binom.sf(exceed - 1, 300, 0.05) > 0.001


@pytest.mark.parametrize(("wanted", "needed"), [(0.01, 299), (0.05, 59), (0.1, 29)])
def test_so_many_controls_are_needed_and_no_fewer(wanted, needed):
    assert controls_needed(wanted) == needed
    assert allowed_false_positives(needed, wanted, 0.95) == 0
    assert allowed_false_positives(needed - 1, wanted, 0.95) is None


def test_too_few_controls_give_a_threshold_that_says_what_it_does_not_show():
    point = operating_point(scores([200] * 20, [100, 300]), 0.01, 0.0003)
    assert point.threshold == 0.199
    assert not point.shown
    assert point.summary == "not shown (n = 20)"


def test_enough_controls_allow_some_to_be_flagged():
    controls = [10 * k for k in range(1, 101)]
    point = operating_point(scores(controls), 0.1, 0.0003)
    allowed = allowed_false_positives(100, 0.1, 0.95)
    assert (allowed, point.false_positives.count, point.threshold) == (4, 4, 0.049)
    assert rate(4, 100, side="upper").high <= 0.1 < rate(5, 100, side="upper").high


def test_controls_alike_already_at_the_smallest_threshold_leave_none():
    point = operating_point(scores([1] * 100, [1, 2]), 0.1, 0.0003)
    assert point.threshold is None
    assert not point.shown
    assert point.recall.count == 0


def test_each_of_several_choices_gets_its_part_of_the_error():
    one, of_three = (operating_point(scores([500] * 400), 0.01, 0.1, n) for n in (1, 3))
    assert one.shown
    assert not of_three.shown
    assert controls_needed(0.01, 3) == 408
    assert of_three.false_positives.confidence == pytest.approx(1 - 0.05 / 3)


def test_the_papers_recall_and_rate_mean_three_percent_precision_at_its_base_rate():
    assert precision_at(0.98, 0.01, 0.0003) == pytest.approx(0.0286, abs=0.00005)
    assert precision_at(1.0, 0.0, 0.5) == 1.0
    assert precision_at(0.0, 0.0, 0.5) is None


def test_precision_at_worst_takes_both_bounds_each_with_half_of_the_error():
    point = operating_point(scores([500] * 400, [100] * 49 + [900]), 0.01, 0.0003)
    assert (point.recall.count, point.false_positives.count) == (49, 0)
    low, high = rate(49, 50, 0.975, "lower").low, rate(0, 400, 0.975, "upper").high
    assert point.precision == pytest.approx(precision_at(0.98, 0.01, 0.0003))
    assert point.precision_worst == pytest.approx(precision_at(low, high, 0.0003))


def test_without_positives_neither_recall_nor_precision_is_made_up():
    point = operating_point(scores([500] * 400), 0.01, 0.0003)
    assert str(point.recall) == "not shown (n = 0)"
    assert point.precision is None
    assert point.precision_worst is None


def test_nothing_is_flagged_beyond_the_controls_allowed():
    assert largest_step(np.array([5, 5, 9]), 0) == 4
    assert largest_step(np.array([5, 5, 9]), 1) == 4
    assert largest_step(np.array([5, 5, 9]), 2) == 8
    assert largest_step(np.array([5, 5, 9]), 3) == 1000
    assert largest_step(np.array([NEVER]), 0) == 1000


def test_prompts_of_one_picture_widen_the_interval():
    found = np.array([True] * 30 + [False] * 30)
    alone = grouped_rate(found, [str(i) for i in range(60)], 0.95)
    together = grouped_rate(found, [str(i // 10) for i in range(60)], 0.95)
    assert alone == rate(30, 60)
    assert together.method == BY_GROUP
    assert (together.count, together.n) == (30, 60)
    assert together.low < alone.low
    assert together.high > alone.high


def test_prompts_of_one_picture_that_differ_freely_keep_the_exact_interval_at_least():
    found = np.array([True, False] * 30)
    together = grouped_rate(found, [str(i // 2) for i in range(60)], 0.95)
    exact = rate(30, 60)
    assert together.low <= exact.low
    assert together.high >= exact.high


def test_where_all_agree_each_picture_counts_once():
    found = grouped_rate(np.ones(40, bool), [str(i // 10) for i in range(40)], 0.95, "lower")
    assert found.method == OVER_GROUPS
    assert found.low == rate(4, 4, side="lower").low
    assert (found.count, found.n) == (40, 40)


def test_one_picture_that_is_found_now_and_then_says_nothing():
    found = grouped_rate(np.array([True, False, True]), ["a"] * 3, 0.95)
    assert (found.low, found.high) == (0.0, 1.0)


def counted_curve(controls, positives, levels):
    """Precision at each recall, by trying every threshold from the strictest on."""
    curve = []
    for level in levels:
        precision = 0.0
        for step in range(1, 1001):
            right = sum(p <= step for p in positives)
            if right >= level * len(positives) - 1e-9:
                precision = right / (right + sum(c <= step for c in controls))
                break
        curve.append(precision)
    return curve


def test_the_curve_is_what_counting_at_every_threshold_gives():
    generator = np.random.default_rng(1)
    controls = generator.integers(200, 700, 30).tolist()
    positives = [*generator.integers(100, 500, 12).tolist(), NEVER]
    curve = precision_recall(scores(controls, positives))
    assert curve.precision == pytest.approx(counted_curve(controls, positives, curve.recall))
    assert curve.precision[-1] == 0.0, "no threshold finds the last one"
    assert all(low <= high for low, high in zip(curve.low, curve.high, strict=True))


def test_pictures_with_many_prompts_widen_the_band():
    generator = np.random.default_rng(2)
    controls = generator.integers(200, 700, 40)
    positives = np.repeat(generator.integers(100, 600, 8), 5)
    alone = precision_recall(scores(controls, positives))
    together = precision_recall(scores(controls, positives, [str(i // 5) for i in range(40)]))
    assert alone.precision == together.precision
    width = [sum(c.high) - sum(c.low) for c in (alone, together)]
    assert width[1] > 1.2 * width[0]


def test_a_single_picture_has_a_curve_but_no_band():
    curve = precision_recall(scores([500, 600], [100, 200], ["a", "a"]))
    assert curve.precision == (1.0, 1.0)
    assert curve.low is None


def test_without_positives_there_is_no_curve():
    assert precision_recall(scores([500, 600])) is None


def test_the_share_flagged_is_counted():
    assert flagged_share(np.array([5, 9, NEVER]), np.array([4, 5, 9, 1000])).tolist() == [
        *(0.0, 1 / 3, 2 / 3, 2 / 3)
    ]
