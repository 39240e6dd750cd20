import pytest

from seedsweep.workers.generation.failure_streak import MAX_FAILED_PROMPTS, Streak
from tests.support.campaigns import make_campaign


@pytest.fixture
def add(make_unit):
    """Add a failure of a unit, by its prompt and its index, to a streak."""
    campaign = make_campaign()

    def add(streak, prompt, index=0):
        return streak.add(make_unit(campaign, prompt=str(prompt), index=index))

    return add


def test_a_streak_of_different_prompts_is_told_once(add):
    streak = Streak()
    told = [add(streak, prompt) for prompt in range(MAX_FAILED_PROMPTS + 2)]
    assert told.index(True) == MAX_FAILED_PROMPTS - 1
    assert told.count(True) == 1


def test_one_broken_prompt_makes_no_streak_however_many_units_of_it_fail(add):
    streak = Streak()
    for index in range(20):
        assert not add(streak, "broken", index)


def test_a_success_ends_a_streak(add):
    streak = Streak()
    for prompt in range(MAX_FAILED_PROMPTS - 1):
        assert not add(streak, prompt)
    streak.end()
    assert not add(streak, "another")
    assert streak.repeated() == []


def test_repetitions_are_counted_for_each_unit(add):
    streak = Streak()
    for prompt, index in [("a", 0), ("a", 0), ("b", 1), ("a", 0), ("a", 2)]:
        add(streak, prompt, index)
    assert [(index, count) for _, index, count in streak.repeated()] == [(0, 2)]
