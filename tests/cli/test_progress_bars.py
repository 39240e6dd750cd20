import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from seedsweep.cli import progress_bars
from seedsweep.cli.progress_bars import Display, GrowthRate, counted, noticed, seconds_between_lines
from seedsweep.scheduler.campaign.plan import ImageCounts
from seedsweep.scheduler.quantities import rate_words
from seedsweep.storage.live_state import LiveCounts
from tests.support.terminal import lines_printed

TICK = 0.1


def counts(done, **changes):
    """Of ninety units of thirty prompts so many are done."""
    usual = {
        "parked": 0,
        "queued": 0,
        "claimed": 0,
        "failing": 0,
        "ready": 0,
        "analysed": done // 3,
    }
    told = {"flagged": done // 9, "state": "active", "trouble": "", "per_prompt": 3}
    return LiveCounts(units=90, done=done, **usual | told | changes)


def images(done):
    """The images of so many of 90 units, 5000 in all."""
    return ImageCounts(round(5000 * done / 90), 5000, 5000)


def rates(step, seconds, until):
    """What is told each tenth of a second of a count that grows by a step every so many seconds."""
    pace = GrowthRate()
    for tick in range(round(until / TICK)):
        now = tick * TICK
        pace.note(step * int(now / seconds + 1e-9), now)
        yield now, pace.per_second(now)


@given(step=st.integers(1, 500), seconds=st.sampled_from([0.1, 0.7, 3.0, 25.0, 60.0, 200.0]))
def test_the_rate_of_what_comes_in_bursts_is_steady(step, seconds):
    told = [rate for now, rate in rates(step, seconds, 8 * seconds + 5) if now > 2 * seconds + 1]
    assert min(told) == pytest.approx(step / seconds, rel=0.15)
    assert max(told) == pytest.approx(step / seconds, rel=0.15)


def test_the_rate_is_that_of_late_and_falls_while_nothing_grows():
    pace = GrowthRate()
    for second in range(100):
        pace.note(second, second)
    for second in range(100, 160):
        pace.note(100 + 10 * (second - 100), second)
    assert pace.per_second(159) == pytest.approx(10, rel=0.1)
    stalled = [pace.per_second(now) for now in (170, 300, 3000)]
    assert stalled == sorted(stalled, reverse=True)
    assert stalled[-1] < 0.2


@pytest.mark.parametrize("seen", [[], [(0, 3)], [(0, 3), (1, 3)], [(0, 3), (0, 2)]])
def test_of_what_has_not_grown_no_rate_is_known(seen):
    pace = GrowthRate()
    for now, count in seen:
        pace.note(count, now)
    assert pace.per_second(5) == 0


@pytest.mark.parametrize(
    ("per_second", "words"),
    [
        (1234.5, "1,234 images/s"),
        (1, "1 images/s"),
        (0.5, "30 images/min"),
        (1 / 60, "1 images/min"),
        (0.001, "3.6 images/h"),
    ],
)
def test_a_rate_is_told_by_the_unit_that_suits_it(per_second, words):
    assert rate_words(per_second, " images") == words


def test_a_log_of_days_is_no_wall_of_lines():
    now, lines = 0.0, 0
    while now < 3 * 86_400:
        assert 10 <= seconds_between_lines(now) <= 600
        now += seconds_between_lines(now)
        lines += 1
    assert lines < 600


def work():
    display = Display()
    with display.shown():
        for done in (1, 1, 2, 45, 90):
            display.show(counts(done, parked=2), images(done))
    with counted("slices searched") as show:
        for done in (0, 6, 6, 12):
            show(done, 12)
    with noticed("The model is loaded") as notice:
        notice(4, 2.0)
        notice(4, 2.0)


def test_a_log_has_a_line_for_each_change_alone(monkeypatch, capsys):
    monkeypatch.setattr(progress_bars, "LINE_SECONDS", 0.0)
    monkeypatch.setattr(progress_bars, "NOTICE_SECONDS", 600.0)
    work()
    lines = capsys.readouterr().err.splitlines()
    assert [line.split(",")[0] for line in lines] == [
        *("56/5000 images", "111/5000 images", "2500/5000 images", "5000/5000 images"),
        *("slices searched: 0/12", "slices searched: 6/12", "slices searched: 12/12"),
        "The model is loaded: 4 images in 2 s",
    ]
    assert re.search(r" left, .* images/s, 15/30 prompts analysed, 5 flagged, 2 units", lines[2])
    assert re.search(r" left, .*/s$", lines[5])


def test_how_long_it_takes_is_not_told_of_the_first_few(monkeypatch, capsys):
    monkeypatch.setattr(progress_bars, "LINE_SECONDS", 0.0)
    with counted("prompts analysed") as show:
        for done in (2, 3, 6, 7, 20):
            show(done, 64)
    lines = capsys.readouterr().err.splitlines()
    assert [" left" in line for line in lines] == [False, False, False, True, True]


def test_no_time_left_is_told_until_each_worker_may_have_finished_two_units(monkeypatch, capsys):
    monkeypatch.setattr(progress_bars, "LINE_SECONDS", 0.0)
    clock = iter(range(1000))
    monkeypatch.setattr(progress_bars.time, "monotonic", lambda: float(next(clock)))
    display = Display(workers=2)
    with display.shown():
        for done in (0, 0, 0, 0, 1, 2, 3, 4, 5):
            display.show(counts(done), images(done))
    lines = capsys.readouterr().err.splitlines()
    assert [line.split(" ")[0] for line in lines if " left" in line] == ["222/5000", "278/5000"]
    (rate, _) = (re.search(r" left, (.*?) images/s", line) for line in lines if " left" in line)
    # A unit takes the two looks at the clock that each frame takes; the start is not counted.
    assert float(rate[1]) == pytest.approx(5000 / 90 / 2, rel=0.1)


def test_a_log_has_no_line_of_what_is_soon_done(capsys):
    work()
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("columns", [8, 20, 40, 80, 120])
def test_a_terminal_has_one_line_that_fits_and_goes(monkeypatch, columns):
    monkeypatch.setenv("TERM", "xterm")
    drawn = "\n".join(lines_printed(columns, work))
    frames = re.split(r"[\r\n]+", re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", drawn))
    assert "images" in drawn or columns < 20
    assert max(map(cell_len, frames)) < columns
    assert ("━" in drawn) == (columns > 70)


def test_a_dumb_terminal_has_the_lines_of_a_log(monkeypatch):
    monkeypatch.setenv("TERM", "dumb")
    monkeypatch.delenv("COLUMNS", raising=False)
    monkeypatch.setattr(progress_bars, "LINE_SECONDS", 0.0)
    monkeypatch.setattr(progress_bars, "NOTICE_SECONDS", 600.0)
    printed = lines_printed(200, work)
    assert len(printed) == 8
    assert "\x1b" not in "".join(printed)


def test_what_was_done_is_summed_up_with_its_rate():
    display = Display()
    display.show(counts(0), images(0))
    assert display.summary == "No image was made."
    display.show(counts(90), images(90))
    assert re.fullmatch(r"5,000 images in .* s, .* images/s in all\.", display.summary)


def test_what_is_shared_is_in_no_rate():
    display = Display()
    display.show(counts(0), ImageCounts(10, 300, 300, shared=10, to_share=100))
    display.show(counts(9), ImageCounts(160, 300, 300, shared=60, to_share=100))
    assert display.summary.startswith("100 images in ")
    assert display.summary.endswith(
        " in all; 50 more are of prompts that are the same to the model as an earlier one."
    )


def test_only_images_that_were_there_are_said_to_have_been():
    display = Display()
    display.show(counts(90), images(90))
    assert display.summary == "All images were there already."
    display = Display()
    display.show(counts(0, parked=90), images(0))
    assert display.summary == "No image was made."


def test_before_the_first_image_the_pace_is_that_of_the_scores(monkeypatch, capsys):
    monkeypatch.setattr(progress_bars, "LINE_SECONDS", 0.0)
    monkeypatch.setattr(progress_bars, "NOTICE_SECONDS", 600.0)
    clock = iter(range(1000))
    monkeypatch.setattr(progress_bars.time, "monotonic", lambda: float(next(clock)))
    display = Display()
    with display.shown():
        for scored in range(0, 60, 6):
            display.show(counts(scored), ImageCounts(0, 5000, 5000, scored=scored, to_score=90))
        display.show(counts(61), ImageCounts(20, 5000, 5000, scored=60, to_score=90))
    *screening, making = capsys.readouterr().err.splitlines()
    assert " left, " in screening[-1]
    assert " scores/s" in screening[-1]
    assert making.startswith("60/90 scores, ")
    assert "scores/s" not in making


def test_scores_are_counted_before_images_and_all_prompts_may_be_dropped(monkeypatch, capsys):
    monkeypatch.setattr(progress_bars, "LINE_SECONDS", 0.0)
    monkeypatch.setattr(progress_bars, "NOTICE_SECONDS", 600.0)
    display = Display()
    with display.shown():
        display.show(counts(10), ImageCounts(0, 5000, 5000, scored=10, to_score=30))
        display.show(counts(30), ImageCounts(0, 0, 5000, scored=30, to_score=30))
    assert display.summary == "No image was made."
    first, last = capsys.readouterr().err.splitlines()
    assert first.startswith("10/30 scores, 0/5000 images, ")
    assert last.startswith("0/0 images, ")
    assert "5,000 images spared" in last
