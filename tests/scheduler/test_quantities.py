from hypothesis import given
from hypothesis import strategies as st
from rich import filesize

from seedsweep.scheduler.quantities import size_words


@given(st.integers(0, 10**18 - 1))
def test_sizes_are_said_as_other_programs_say_them(size):
    assert size_words(size) == filesize.decimal(size)


def test_sizes_are_said_with_one_digit_after_the_point():
    assert [*map(size_words, (0, 1, 999.4, 1000, 1_649_000, 5e12))] == [
        *("0 bytes", "1 byte", "999 bytes", "1.0 kB", "1.6 MB", "5.0 TB")
    ]
