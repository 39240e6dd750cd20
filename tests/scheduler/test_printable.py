import logging
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seedsweep.audit.evidence import verify_bundle
from seedsweep.scheduler.printable import ShownFormatter, shown, shown_lines
from tests.support.hostile import obeyed

ANY_TEXT = st.text(st.characters(exclude_categories=()))
"""Of all code points, unpaired surrogates among them."""


@given(ANY_TEXT)
def test_nothing_is_obeyed_and_all_else_is_as_it_was(text):
    result = shown(text)
    assert not obeyed(result)
    assert shown(result) == result
    kept = [character for character in text if not obeyed(character)]
    assert [character for character in kept if character not in result] == []
    if not obeyed(text):
        assert result == text


@given(ANY_TEXT)
def test_what_is_shown_can_be_written_and_says_what_was_there(text):
    written = shown(text).encode("utf-8")
    if "\\" not in text:
        escaped = written.decode().encode("ascii", "backslashreplace")
        assert escaped.decode("unicode_escape") == text


@given(ANY_TEXT)
def test_lines_stay_lines(text):
    lines = shown_lines(text).split("\n")
    assert lines == [shown(line) for line in text.split("\n")]


@pytest.mark.parametrize("module_shows", [shown, verify_bundle.shown])
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("\x1b[31mred\x1b]0;title\x07", r"\x1b[31mred\x1b]0;title\x07"),
        ("two\r\nlines\ttab", r"two\r\nlines\ttab"),
        ("\x9b31m \x85 \x7f", r"\x9b31m \x85 \x7f"),
        ("\u202egnp.exe\u2069\u200f", r"\u202egnp.exe\u2069\u200f"),
        ("a\u2028b\ufeff\u00ad", r"a\u2028b\ufeff\xad"),
        ("\U000e0041", r"\U000e0041"),
        ("\ud800", r"\ud800"),
        ("Zoë à 日本 🦊 עברית عربي", "Zoë à 日本 🦊 עברית عربي"),
    ],
)
def test_each_kind_is_written_as_python_writes_it(module_shows, text, expected):
    assert module_shows(text) == expected


@pytest.mark.parametrize("text", ["👩\u200d🚒", "\u0645\u06cc\u200c\u062e", "a\u00a0b\u3000c"])
def test_joiners_and_spaces_that_words_are_written_with_stay(text):
    assert shown(text) == text


def test_every_character_of_the_categories_is_seen():
    escaped = [c for c in map(chr, range(0x110000)) if shown(c) != c]
    categories = {unicodedata.category(character) for character in escaped}
    assert categories == {"Cc", "Cf", "Cs", "Zl", "Zp"}
    assert len(escaped) > 2048 + 65


def test_no_text_in_a_log_ends_a_line_or_is_obeyed():
    try:
        raise ValueError("\x1b[2J\nERROR all is lost")
    except ValueError as error:
        about = (type(error), error, error.__traceback__)
    message = "The prompt %s", ("a\nERROR forged\x1b[2J\u202e",), about
    record = logging.LogRecord("a", logging.INFO, "", 0, *message)
    first, *rest = ShownFormatter("%(levelname)s %(message)s").format(record).split("\n")
    assert first == r"INFO The prompt a\nERROR forged\x1b[2J\u202e"
    assert not obeyed("".join(rest))
    assert rest[0].startswith("Traceback")
