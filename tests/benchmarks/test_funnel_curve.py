"""The curve of finds against images: its formulas, held against shuffled seeds and by hand."""

import numpy as np
import pytest

from benchmarks.funnel_curve import (
    DEFAULT,
    EMOJI,
    FIRST,
    LEAST,
    Find,
    finds_of,
    found_at,
    images,
    kept,
    kept_in_order,
    passing_of,
    smallest_rate,
    threshold,
)


def test_stages_keep_a_find_as_often_as_shuffled_seeds_show():
    rng = np.random.default_rng(0)
    shows = np.arange(200) < 24
    shuffled = [Find("a", rng.permutation(shows)) for _ in range(4000)]
    for policy in (((4, 2),), FIRST, DEFAULT):
        told = np.mean([kept_in_order(policy, find) for find in shuffled])
        assert kept(policy, 24, 200) == pytest.approx(told, abs=0.03)


def test_images_are_whole_batches_of_those_that_come_to_each_stage():
    assert images((), [], 500) == 512
    assert images(FIRST, [0.0], 500) == 16
    assert images(FIRST, [0.5], 500) == 16 + 0.5 * 496
    assert images(DEFAULT, [0.5, 0.25], 500) == 16 + 0.5 * 48 + 0.25 * 448
    find = Find("a", np.ones(32, dtype=np.bool_))
    assert passing_of(DEFAULT, find, 500) == [1.0, 1.0]


def test_the_full_attack_finds_half_of_what_repeats_as_often_as_it_asks_for():
    assert found_at(0.02, (), 500) == pytest.approx(0.54, abs=0.01)
    assert found_at(0.5, FIRST, 500) > 0.999
    assert found_at(0.05, FIRST, 500) < found_at(0.05, (), 500)
    assert smallest_rate((), 500) < smallest_rate(FIRST, 500)


def test_no_more_clean_prompts_than_wanted_are_above_a_threshold():
    clean = np.array([0.1, 0.4, 0.4, 0.3, 0.2])
    assert (clean > threshold(clean, 0.2)).mean() <= 0.2
    assert (clean > threshold(clean, 0.4)).mean() == 0.4


def test_the_examples_finds_are_those_that_were_measured():
    finds = finds_of(EMOJI / "distances.parquet")
    assert len({find.prompt for find in finds}) == len(finds)
    assert min(find.rate for find in finds) >= LEAST
    assert {len(find.shows) for find in finds} == {32, 250}
