"""Whatever is killed, cut off or delivered twice: the campaign ends as an undisturbed one does.

`python -m tests.chaos` plays more rounds than the few of these seeds.
"""

from functools import cache

import pytest

from tests.chaos.rounds import UNITS, Chaos
from tests.chaos.schedule import EVENTS, draw_schedule

SEEDS = (82, pytest.param(83, marks=pytest.mark.nightly))
"""Of a round with stages of pictures, and of one with a screen."""


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    folder = tmp_path_factory.mktemp("chaos")
    with pytest.MonkeyPatch.context() as environment, Chaos(folder, seed=0) as chaos:
        for name, value in chaos.deployment.s3.environment.items():
            environment.setenv(name, value)
        yield chaos


@pytest.fixture
def chaos(shared):
    """All services run, whatever the tests before have ended."""
    shared.deployment.start_again()
    return shared


@pytest.fixture(scope="module")
def undisturbed(shared):
    return cache(shared.run_undisturbed)


def test_a_seed_fixes_the_events_of_its_round():
    assert draw_schedule(3, UNITS) == draw_schedule(3, UNITS) != draw_schedule(4, UNITS)
    assert all(len(draw_schedule(seed, UNITS)) == EVENTS for seed in range(100))


@pytest.mark.parametrize("seed", SEEDS)
def test_nothing_is_lost_doubled_or_different_whatever_happens(chaos, undisturbed, seed):
    played = chaos.play(seed, undisturbed(seed))
    print(played)
    assert played.fine, f"{played}\n{chaos.deployment.logs()}"


def test_afterwards_all_services_end_in_good_order(chaos):
    codes = chaos.stop()
    assert set(codes.values()) == {0}, f"{codes}\n{chaos.deployment.logs()}"
    assert chaos.tracebacks() == []
