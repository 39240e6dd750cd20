"""The least part that controls allow: held against trying every number of tiles."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter

from seedsweep.audit.findings.operating_point import allowed_false_positives
from seedsweep.audit.findings.part_point import PartPoint, part_point

few = settings(max_examples=60, derandomize=True, deadline=None)


def point(controls, positives=(), rate=0.01, grid=8):
    groups = tuple(map(str, range(len(positives))))
    return part_point(grid, np.array(controls, int), np.array(positives, int), groups, rate)


@few
@given(
    controls=st.lists(st.integers(0, 16), min_size=1, max_size=60),
    positives=st.lists(st.integers(0, 16), max_size=30),
    rate=st.sampled_from([0.05, 0.1, 0.3]),
)
def test_it_is_the_smallest_number_that_so_few_controls_repeat(controls, positives, rate):
    found = point(controls, positives, rate, grid=4)
    allowed = allowed_false_positives(len(controls), rate, 0.95)
    shown = allowed is not None
    if allowed is None:
        allowed = int(rate * len(controls) + 1e-9)

    def repeat(prompts, least):
        return sum(tiles >= least for tiles in prompts)

    fits = [least for least in range(1, 17) if repeat(controls, least) <= allowed]
    assert found.least == min(fits, default=None)
    assert found.shown == (shown and bool(fits))
    assert found.recall.n == len(positives)
    if found.least is not None:
        assert found.false_positives.count == repeat(controls, found.least)
        assert found.recall.count == repeat(positives, found.least)


def test_what_is_shown_is_said_with_how_many_controls():
    assert point([0] * 299).summary == "shown"
    assert point([3] * 298).summary == "not shown (n = 298)"


def test_one_control_in_300_with_a_part_has_to_be_beyond_it():
    found = point([0] * 298 + [9, 3], [64, 9, 10])
    assert (found.least, found.shown) == (10, True)
    assert (found.recall.count, found.recall.n) == (2, 3)
    assert found.false_positives.count == 0


@pytest.mark.parametrize("grid", [2, 8, 32])
def test_where_all_controls_repeat_everything_there_is_none(grid):
    found = point([grid**2] * 10, [grid**2], grid=grid)
    assert (found.least, found.shown, found.recall.count) == (None, False, 0)


def test_it_is_kept_and_read_as_it_was():
    kept = TypeAdapter(PartPoint)
    found = point([0, 3, 1] * 100, [20, 30])
    assert kept.dump_json(kept.validate_json(kept.dump_json(found))) == kept.dump_json(found)


def test_it_is_not_below_the_least_of_which_is_known_who_repeats_it():
    controls, positives = np.array([0, 3, 5, 7]), np.array([4, 9])
    found = part_point(4, controls, positives, ("a", "b"), 0.5, lowest=6)
    assert found.least == 6
    assert (found.false_positives.count, found.recall.count) == (1, 1)
