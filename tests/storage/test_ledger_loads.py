"""A campaign whose units are of several loads: issued load by load, in one window, one bitmap."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings

from seedsweep.storage.live_state import Lot
from tests.support.campaigns import nothing_done
from tests.support.ledger_campaigns import marked, restored
from tests.support.ledger_play import KEY, C, Play, steps

NUMBERS = (0, 1, 1)
LEFT, RIGHT = Lot(0, NUMBERS), Lot(1, NUMBERS)
ENDS = (2, 3)
UNITS = 9


@pytest.fixture
def mixed(ledger):
    """A ledger with a campaign of three prompts, each with a unit of one load, two of another."""
    ledger.restore(C, restored(9, 3))
    return ledger


def claim(ledger, lot):
    """Issue one unit of the lot and claim it: its index and its token."""
    token, [index] = ledger.issue(C, 1, lot)
    assert ledger.claim(C, index, token).outcome == "granted"
    return index, token


def test_each_load_has_its_units_in_order_whichever_is_issued_first(mixed):
    assert mixed.issue(C, 3, RIGHT)[1] == [1, 2, 4]
    assert mixed.issue(C, 9, LEFT)[1] == [0, 3, 6]
    assert mixed.issue(C, 9, RIGHT)[1] == [5, 7, 8]
    assert mixed.counts(C).queued == 9
    assert mixed.issue(C, 9, LEFT)[1] == mixed.issue(C, 9, RIGHT)[1] == []


def test_what_came_back_is_issued_first_by_its_own_load_in_the_order_in_which_it_came(mixed):
    left = [claim(mixed, LEFT) for _ in range(2)]
    right = [claim(mixed, RIGHT) for _ in range(3)]
    for held in (right[2], left[1], right[0], left[0]):
        mixed.release(C, *held)
    assert mixed.issue(C, 3, LEFT)[1] == [3, 0, 6]
    assert mixed.issue(C, 3, RIGHT)[1] == [4, 1, 5]


def test_what_was_put_aside_for_a_load_that_nobody_makes_is_not_issued_once_it_is_done(mixed):
    held = claim(mixed, RIGHT)
    mixed.release(C, *held)
    assert mixed.issue(C, 1, LEFT)[1] == [0]
    mixed.complete(C, held[0])
    assert mixed.issue(C, 1, RIGHT)[1] == [2]


def test_a_lost_queue_of_one_load_leaves_what_lies_in_the_others(mixed):
    token, _ = mixed.issue(C, 2, LEFT)
    kept, _ = mixed.issue(C, 2, RIGHT)
    assert mixed.claim(C, 0, token).outcome == "granted"
    assert mixed.reissue_queued(C, LEFT) == 1
    assert mixed.window(C).queued == (1, 2)
    assert mixed.window(C).claimed == (0,)
    assert mixed.issue(C, 1, LEFT)[1] == [3]
    assert mixed.claim(C, 3, token).outcome == "stale"
    assert mixed.claim(C, 1, kept).outcome == "granted"


def test_the_cursor_of_a_load_finds_what_a_crash_left_out_while_others_are_under_way(mixed, broker):
    mixed.issue(C, 9, RIGHT)
    token, _ = mixed.issue(C, 9, LEFT)
    broker.hdel(f"{KEY}tokens", 3)
    assert mixed.issue(C, 9, LEFT)[1] == []
    for index in (0, 6):
        mixed.claim(C, index, token)
        mixed.complete(C, index)
    assert mixed.issue(C, 9, LEFT)[1] == [3]
    assert mixed.counts(C).queued == 7


def test_a_campaign_that_is_restored_or_forgotten_has_nothing_put_aside(mixed, broker):
    mixed.release(C, *claim(mixed, RIGHT))
    mixed.issue(C, 1, LEFT)
    assert broker.zcard(f"{KEY}aside") == 1
    mixed.restore(C, restored(done=marked(9, 0, 1), per_prompt=3))
    assert broker.zcard(f"{KEY}aside") == 0
    assert mixed.issue(C, 2, RIGHT)[1] == [2, 4]
    mixed.forget(C)
    assert broker.keys(f"{KEY}*") == []


@pytest.mark.parametrize("state", ["paused", "cancelled"])
def test_no_load_of_a_campaign_that_rests_is_issued_and_what_waits_for_another_stays(mixed, state):
    mixed.release(C, *claim(mixed, RIGHT))
    mixed.issue(C, 1, LEFT)
    mixed.set_state(C, state)
    assert mixed.issue(C, 9, RIGHT)[1] == []
    mixed.set_state(C, "active")
    assert mixed.issue(C, 2, RIGHT)[1] == [1, 2]


@settings(
    max_examples=10,
    derandomize=True,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(steps(UNITS))
def test_whatever_happens_units_of_all_loads_are_done_parked_or_dropped_and_all_prompts_judged(
    ledger, broker, steps
):
    play = Play(ledger, broker, UNITS, 3, ENDS, NUMBERS)
    for step in steps:
        play.step(*step)
    play.settle()


def test_a_campaign_of_one_load_leaves_nothing_of_several_in_the_broker(ledger, broker):
    stages = np.ones(3, dtype=np.uint8)
    ledger.restore(C, nothing_done(3, 3, ends=ENDS, stages=stages))
    for _ in range(3):
        token, indexes = ledger.issue(C, 3)
        for index in indexes:
            ledger.claim(C, index, token)
            ledger.release(C, index, token)
    names = {key.decode().removeprefix(KEY) for key in broker.keys(f"{KEY}*")}
    fields = {field.decode() for field in broker.hkeys(f"{KEY}meta")}
    assert "aside" not in names
    assert fields == {
        *("units", "per_prompt", "cursor", "done", "parked", "held", "dropped", "ends"),
        *("analysed", "state"),
    }
