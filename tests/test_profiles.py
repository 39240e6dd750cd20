import subprocess
import sys

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.profiles import TIMES, deepen, drawing

EXAMPLES = 5


def test_at_night_a_test_draws_twenty_times_as_many_examples_of_its_own():
    drawn = []

    @settings(max_examples=EXAMPLES, derandomize=True, database=None)
    @given(st.integers())
    def test(number):
        drawn.append(number)

    test()
    assert len(drawn) == EXAMPLES
    by_day, drawn[:] = drawn[:], []
    deepen(test)
    test()
    assert len(drawn) == TIMES * EXAMPLES
    assert drawn[:EXAMPLES] != by_day


def test_at_night_a_method_of_a_class_draws_more_as_well():
    drawn = []

    class Case:
        @settings(max_examples=EXAMPLES, database=None)
        @given(st.integers())
        def test(self, number):
            drawn.append(number)

    [function] = drawing([Case().test, Case().test, Case, None])
    deepen(function)
    Case().test()
    assert len(drawn) == TIMES * EXAMPLES


def test_by_day_the_examples_are_always_the_same_and_no_clock_fails_them():
    ci = settings.get_profile("ci")
    assert (ci.derandomize, ci.deadline, ci.max_examples) == (True, None, 100)


def test_while_fuzzing_a_process_that_wants_a_gigabyte_more_does_not_get_it():
    code = (
        "from hypothesis import settings; from tests.support import profiles; "
        "profiles.register(); settings.load_profile('{}'); profiles.confine(); bytes(3 << 29)"
    )
    ends = {
        name: subprocess.run([sys.executable, "-c", code.format(name)], stderr=subprocess.PIPE)
        for name in ("ci", "fuzz")
    }
    assert ends["ci"].returncode == 0
    assert b"MemoryError" in ends["fuzz"].stderr
