import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from seedsweep.cli.console import print_table
from seedsweep.cli.doctor import print_diagnosis
from seedsweep.cli.fitted_table import FittedTable
from seedsweep.cli.options import explain, say
from seedsweep.cli.status_table import Overview
from seedsweep.cli.streams import LEAST_COLUMNS, UNBOUNDED, columns_of
from seedsweep.cli.tables import print_results
from seedsweep.scheduler.campaign.progress import Progress
from seedsweep.scheduler.doctor.diagnosis import Diagnosis
from seedsweep.storage.prompt_results import Match
from tests.support.results import make_flagged, make_found
from tests.support.terminal import lines_printed, terminal

ID = "emoji-of-the-most-duplicated-0123456789ab"
PICTURE = "a/folder/日本/with a long name/🚀-and-so-on-0123456789.png"
COUNTS = ("done", "2026", 60, 31, 2, 0, 600, 600, 310, 30, 13, 4)
SENTENCE = "Extracted is a match within the threshold, and the score's neighbours count once."


@pytest.fixture(autouse=True)
def _plain(monkeypatch):
    """Nothing is coloured, and nothing but the terminal says how wide it is."""
    for name in ("FORCE_COLOR", "NO_COLOR", "TTY_COMPATIBLE", "COLUMNS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "dumb")


def column(lines, place=0):
    """What stands in a column of the table, line by line, with its header."""
    rows = [line[1:-1].split("│") for line in lines if line.startswith("│")]
    return [row[place].strip() for row in rows]


def headers(lines):
    """The headers of the table, with their words in one line."""
    rows = [line[1:-1].split("┃") for line in lines if line.startswith("┃")]
    return [
        " ".join(word for word in map(str.strip, cells) if word)
        for cells in zip(*rows, strict=True)
    ]


def campaigns():
    return Overview(
        [Progress(ID, "emoji", *COUNTS), Progress("b-0123456789ab", "b", *COUNTS)], None
    )


def flagged():
    match = Match(training_id=PICTURE, l2=0.05, tiled_l2=0.06, adaptive=None, extracted=True)
    return make_found([make_flagged(prompt="a cat and a dog in the snow", match=match)])


ALL = ["campaign", "state", "units", "parked", "images", "prompts analysed", "flagged"]


@pytest.mark.parametrize(
    ("width", "shown"),
    [
        (8, ["camp aign"]),
        (40, ["campaign", "state", "units"]),
        (60, ["campaign", "state", "units", "flagged"]),
        (80, ALL),
    ],
)
def test_a_narrow_terminal_gets_fewer_columns_whole_ids_and_is_told(width, shown):
    lines = lines_printed(width, campaigns().print)
    assert headers(lines) == shown
    assert "".join(column(lines)) == f"{ID}b-0123456789ab"
    assert max(map(cell_len, lines)) <= width
    end = next(number for number, line in enumerate(lines) if line.startswith("└"))
    below = "".join(lines[end + 1 :]).replace(" ", "")
    told = [name for name in ALL if name.replace(" ", "") in below]
    assert told == [name for name in ALL[1:] if name not in shown]
    assert ("Notshown" in below) == bool(told)


@pytest.mark.parametrize("width", [80, 120])
def test_a_training_pictures_name_folds(width):
    lines = lines_printed(width, print_results, flagged())
    place = headers(lines).index("training picture")
    assert "".join(column(lines, place)).replace(" ", "") == PICTURE.replace(" ", "")
    assert max(map(cell_len, lines)) <= width


def test_in_a_pipe_a_row_is_one_line_and_all_is_there(monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "80")
    campaigns().print()
    lines = capsys.readouterr().out.splitlines()
    assert (headers(lines), column(lines)) == (ALL, [ID, "b-0123456789ab"])
    print_results(flagged())
    lines = capsys.readouterr().out.splitlines()
    assert (len(column(lines)), PICTURE in lines[4]) == (1, True)


def test_a_note_stands_below_the_column_that_it_explains_alone():
    table = FittedTable("name", "k", "l2", spared=("k",), notes={"k": "k: copies.", "l2": "l2: l."})
    table.add_row("a", "1000000", "0.5")
    assert lines_printed(30, print_table, table)[-1] == "k: copies. l2: l."
    below = " ".join(lines_printed(20, print_table, table)[5:])
    assert "copies" not in below
    assert "l2: l." in below


@given(
    ids=st.lists(st.text("ab-日🚀", min_size=1, max_size=80), min_size=1, max_size=3),
    figures=st.lists(st.integers(0, 10**9).map(str), min_size=3, max_size=3),
    width=st.integers(LEAST_COLUMNS, 120),
)
def test_of_any_width_no_line_is_longer_and_nothing_shown_is_cut(ids, figures, width):
    table = FittedTable("campaign", "units", "of all images", "state", text=("campaign",))
    for each in ids:
        table.add_row(each, *figures)
    lines = lines_printed(width, print_table, table)
    assert max(map(cell_len, lines)) <= width
    assert "".join(column(lines)) == "".join(ids)
    shown = [name for name in headers(lines) if name in ("units", "of all images", "state")]
    for place in range(1, 1 + len(shown)):
        assert set(column(lines, place)) - {""} <= set(figures)


@pytest.mark.parametrize("width", [8, 20, 40])
@pytest.mark.parametrize("tell", [say, explain])
def test_sentences_end_lines_between_words(tell, width):
    lines = lines_printed(width, tell, SENTENCE)
    assert " ".join(lines) == SENTENCE
    assert all(len(line) <= width or " " not in line for line in lines)


def test_a_diagnosis_goes_on_below_itself():
    lines = lines_printed(
        30, print_diagnosis, Diagnosis("disk", "failure", "It is full.", "Free some of it.")
    )
    assert lines == ["FAILURE  disk: It is full.", "         → Free some of it."]
    lines = lines_printed(
        22, print_diagnosis, Diagnosis("disk", "failure", "It is full.", "Free some of it.")
    )
    assert lines == [
        "FAILURE  disk: It is",
        " " * 9 + "full.",
        " " * 9 + "→ Free some",
        " " * 11 + "of it.",
    ]


class TestColumns:
    @pytest.mark.parametrize(("count", "known"), [(40, 40), (0, 80), (1, LEAST_COLUMNS)])
    def test_a_terminal_knows_its_own(self, count, known):
        with terminal(count):
            assert columns_of(sys.stdout) == known

    @pytest.mark.parametrize("wrong", ["", "0", "-3", "wide", "40.5", "1e3", "9" * 5000, "51"])
    def test_what_it_cannot_have_is_not_believed(self, monkeypatch, wrong):
        monkeypatch.setenv("COLUMNS", wrong)
        with terminal(50):
            assert columns_of(sys.stdout) == 50

    def test_fewer_may_be_wanted(self, monkeypatch):
        monkeypatch.setenv("COLUMNS", "33")
        with terminal(50):
            assert columns_of(sys.stdout) == 33

    @pytest.mark.parametrize("inherited", ["", "80"])
    def test_a_file_has_no_end(self, tmp_path, monkeypatch, inherited):
        monkeypatch.setenv("COLUMNS", inherited)
        with (tmp_path / "log").open("w") as log:
            assert columns_of(log) == UNBOUNDED


@pytest.mark.parametrize(
    ("environment", "in_a_pipe", "on_a_terminal"),
    [
        ({"TERM": "xterm"}, False, True),
        ({"TERM": "xterm", "NO_COLOR": "1"}, False, False),
        ({"TERM": "dumb"}, False, False),
        ({"TERM": "xterm", "FORCE_COLOR": "1"}, True, True),
        ({"TERM": "xterm", "FORCE_COLOR": "1", "NO_COLOR": "1"}, False, False),
        ({"TERM": "dumb", "FORCE_COLOR": "1"}, False, False),
    ],
)
def test_colours_are_as_the_environment_wants_them(
    monkeypatch, capsys, environment, in_a_pipe, on_a_terminal
):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    green = "\x1b[32m"
    campaigns().print()
    assert (green in capsys.readouterr().out) == in_a_pipe
    assert (green in "".join(lines_printed(80, campaigns().print))) == on_a_terminal
