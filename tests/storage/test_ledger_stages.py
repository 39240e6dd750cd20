import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings

from seedsweep.storage.live_state import DROPPED
from tests.support.campaigns import nothing_done
from tests.support.ledger_play import KEY, C, Play, steps

ENDS = (1, 3)
UNITS, PER_PROMPT = 9, 3


@pytest.fixture
def staged(ledger):
    """Three prompts of three units, of which one is open at first."""
    stages = np.ones(UNITS // PER_PROMPT, dtype=np.uint8)
    ledger.restore(C, nothing_done(len(stages), PER_PROMPT, ends=ENDS, stages=stages))
    return ledger


def make(ledger, count=99):
    """Issue, claim and complete units; returns which."""
    token, indexes = ledger.issue(C, count)
    for index in indexes:
        assert ledger.claim(C, index, token).outcome == "granted"
        ledger.complete(C, index)
    return indexes


def test_only_units_of_the_first_stage_are_issued(staged):
    assert staged.counts(C).held == 6
    assert make(staged) == [0, 3, 6]
    assert staged.issue(C, 9)[1] == []
    assert staged.take_ready(C, 9) == [0, 1, 2]
    assert staged.counts(C).pending == 0


def test_what_goes_on_comes_before_what_no_prompt_had(staged):
    assert make(staged, 1) == [0]
    [prompt] = staged.take_ready(C, 1)
    staged.open_stage(C, prompt, 2)
    assert make(staged) == [1, 2, 3, 6]
    assert staged.take_ready(C, 9) == [0, 1, 2]
    assert staged.stages_of(C, [0, 1, 2]) == [2, 1, 1]


def test_a_dropped_prompt_is_analysed_and_its_other_units_are_not_made(staged):
    make(staged, 1)
    staged.take_ready(C, 1)
    staged.analysed(C, 0, flagged=False, dropped_after=1)
    counts = staged.counts(C)
    assert (counts.dropped, counts.held, counts.analysed) == (2, 4, 1)
    assert make(staged) == [3, 6]
    for prompt in staged.take_ready(C, 9):
        staged.analysed(C, prompt, flagged=False, dropped_after=1)
    counts = staged.counts(C)
    assert counts.settled
    assert (counts.done, counts.dropped, counts.remaining) == (3, 6, 0)
    assert staged.stages(C).tolist() == [1 + DROPPED] * 3


def test_a_decision_that_is_told_twice_changes_nothing(staged):
    make(staged, 1)
    staged.take_ready(C, 1)
    for _ in range(2):
        staged.open_stage(C, 0, 2)
    assert staged.issue(C, 9)[1] == [1, 2, 3, 6]
    assert staged.counts(C).held == 4


def test_a_stage_whose_units_are_all_there_is_ready_at_once(ledger):
    done = np.array([True] * 3 + [False] * 6)
    stages = np.ones(3, dtype=np.uint8)
    ledger.restore(C, nothing_done(3, PER_PROMPT, ends=ENDS, stages=stages, done=done, ready=(0,)))
    assert ledger.take_ready(C, 9) == [0]
    ledger.open_stage(C, 0, 2)
    assert ledger.take_ready(C, 9) == [0]
    assert ledger.stages_of(C, [0]) == [2]


def test_an_image_of_a_dropped_prompt_that_is_lost_has_it_decided_anew(staged):
    make(staged, 1)
    staged.take_ready(C, 1)
    staged.analysed(C, 0, flagged=False, dropped_after=1)
    staged.reopen(C, [0])
    counts = staged.counts(C)
    assert (counts.dropped, counts.held, counts.analysed) == (0, 6, 0)
    assert make(staged, 1) == [0]
    assert staged.take_ready(C, 9) == [0]


def test_a_unit_that_was_given_up_and_comes_late_has_a_dropped_prompt_decided_anew(staged):
    token, [index, *_] = staged.issue(C, 1)
    staged.claim(C, index, token)
    staged.park(C, index)
    staged.take_ready(C, 1)
    staged.analysed(C, 0, flagged=False, dropped_after=1)
    staged.complete(C, index)
    counts = staged.counts(C)
    assert (counts.dropped, counts.held, counts.analysed) == (0, 6, 0)
    assert staged.take_ready(C, 1) == [0]
    staged.analysed(C, 0, flagged=False, dropped_after=1)
    counts = staged.counts(C)
    assert (counts.dropped, counts.held, counts.analysed) == (2, 4, 1)


def test_what_a_version_without_stages_left_in_the_broker_goes_on(ledger, broker):
    ledger.restore(C, nothing_done(2, 2))
    broker.hdel(f"{KEY}meta", "held", "dropped", "ends")
    assert ledger.counts(C).pending == 4
    assert make(ledger) == [0, 1, 2, 3]
    for prompt in ledger.take_ready(C, 9):
        ledger.analysed(C, prompt, flagged=False)
    assert ledger.counts(C).settled
    assert ledger.stages(C) is None


@settings(
    max_examples=50,
    derandomize=True,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(steps(UNITS))
def test_whatever_happens_every_unit_is_done_parked_or_dropped_and_every_prompt_is_judged(
    ledger, broker, steps
):
    play = Play(ledger, broker, UNITS, PER_PROMPT, ENDS)
    for step in steps:
        play.step(*step)
    counts = play.settle()
    assert counts.done + counts.parked + counts.dropped == UNITS
