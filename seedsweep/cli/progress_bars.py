"""What commands draw while they work: one line on a terminal, lines now and then in a log."""

import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext

from rich.console import Console, ConsoleOptions, RenderResult
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from seedsweep.cli.options import say
from seedsweep.cli.streams import can_be_redrawn, columns_of
from seedsweep.scheduler.campaign.plan import ImageCounts
from seedsweep.scheduler.printable import shown
from seedsweep.scheduler.quantities import count_words, duration_words, rate_words
from seedsweep.storage.live_state import LiveCounts

LINE_SECONDS, STEADY_SECONDS, LONGEST_SECONDS = 10.0, 300.0, 600.0
"""A log gets a line every `LINE_SECONDS` for `STEADY_SECONDS`, then less and less often, at last
every `LONGEST_SECONDS`. A terminal is drawn all the time."""

NOTICE_SECONDS = 3.0
"""What takes less gets no line."""

RATE_SECONDS, RATE_CHANGES = 30.0, 5
"""A rate is that of the last so many seconds, or of so many changes if they took longer."""

FORECAST_AFTER = 5
"""Before so many are done, or half of fewer, the time left would be a guess, and is not told."""

BAR_WIDTH, BAR_COLUMNS = 20, 70
"""A bar stands before the words if there are so many columns."""


class GrowthRate:
    """How fast a count has grown lately: steady if it grows in bursts, and slower and slower if it
    stands still."""

    def __init__(self) -> None:
        self._changes: deque[tuple[float, float]] = deque()
        self._first: float | None = None

    def note(self, count: float, now: float) -> None:
        """Note what the count is now."""
        changes = self._changes
        self._first = count if self._first is None else self._first
        if not changes or changes[-1][1] != count:
            changes.append((now, count))
        while len(changes) > RATE_CHANGES + 1 and now - changes[1][0] >= RATE_SECONDS:
            changes.popleft()

    @property
    def grown(self) -> float:
        """By how much the count has grown since the first note."""
        return self._changes[-1][1] - self._first if self._first is not None else 0.0

    def per_second(self, now: float) -> float:
        """The growth per second; 0 before anything grew."""
        if len(self._changes) < 2:
            return 0.0
        (began, before), (ended, after) = self._changes[0], self._changes[-1]
        # Between two changes the next one is not late.
        usual = (ended - began) / (len(self._changes) - 1)
        return max((after - before) / max(ended - began, now - usual - began, 1e-9), 0.0)


def seconds_between_lines(elapsed: float) -> float:
    """How long a log waits for its next line of work that has taken so long."""
    return min(LINE_SECONDS * max(1, elapsed / STEADY_SECONDS), LONGEST_SECONDS)


class ProgressLine:
    """Progress on stderr: one line that is drawn anew on a terminal; in a log a line now and then,
    if anything changed."""

    def __init__(self, first: str) -> None:
        self._began = self._told_at = time.monotonic()
        self._told: tuple[str, ...] = (first,)
        self._parts: Sequence[str] = self._told
        self._share: float | None = None

    @contextmanager
    def shown(self) -> Iterator[None]:
        """Draw for the time of the block."""
        with self._live() if can_be_redrawn(sys.stderr) else nullcontext():
            yield

    def tell(self, share: float | None, counts: tuple[str, ...], pace: Sequence[str] = ()) -> None:
        """Show which share is done, if that is known, what is counted and at what pace; the first
        of the counts matter most, and stay if there is little room."""
        self._share, self._parts = share, (*counts[:1], *pace, *counts[1:])
        now = time.monotonic()
        is_due = now - self._told_at >= seconds_between_lines(now - self._began)
        if counts != self._told and is_due and not can_be_redrawn(sys.stderr):
            self._told, self._told_at = counts, now
            say(", ".join(self._parts))

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        # One column less: a terminal may begin a new line once the last column is full.
        room, parts = min(options.max_width, columns_of(sys.stderr)) - 1, list(self._parts)
        row: list[ProgressBar | Text] = []
        if self._share is not None and room >= BAR_COLUMNS:
            row = [ProgressBar(1, self._share, width=BAR_WIDTH), Text(f"{self._share:4.0%}")]
            room -= BAR_WIDTH + 6
        while len(parts) > 1 and len(", ".join(parts)) > room:
            parts.pop()
        words = Text(shown(", ".join(parts)))
        words.truncate(room, overflow="ellipsis")
        grid = Table.grid(padding=(0, 1, 0, 0), pad_edge=False)
        grid.add_row(*row, words)
        yield grid

    def _live(self) -> Live:
        console = Console(stderr=True, force_terminal=True)
        return Live(self, console=console, transient=True, redirect_stdout=False)


class Display:
    """The progress of a campaign that runs on so many workers. How long it takes is told once each
    may have finished two units: before, loading the model would count."""

    def __init__(self, workers: int = 1) -> None:
        self._told_from = 2 * workers
        self._line, self._pace, self._score_pace = (
            ProgressLine("starting"),
            GrowthRate(),
            GrowthRate(),
        )
        self._began = time.monotonic()
        self._first: int | None = None
        self._now = self._wanted = self._shared = self._first_shared = 0
        self._first_units = 0

    @contextmanager
    def shown(self) -> Iterator["Display"]:
        """Draw for the time of the block."""
        with self._line.shown():
            yield self

    def show(self, counts: LiveCounts, images: ImageCounts) -> None:
        """Draw the campaign's counts, and those of its images; until the first one is made, at the
        pace of the scores that screens give, if there are any."""
        made, to_make = images.done - images.shared, images.wanted - images.to_share
        if self._first is None:
            self._first, self._first_shared = made, images.shared
            self._first_units = counts.done
        self._now, self._wanted = made, to_make
        self._shared = images.shared - self._first_shared
        units = counts.done - self._first_units
        spared = images.full - images.wanted
        dropped = (f"{count_words(spared, 'image')} spared",) if spared else ()
        is_screened = images.scored < images.to_score
        scores = (f"{images.scored}/{images.to_score} scores",) if is_screened else ()
        parked = (f"{count_words(counts.parked, 'unit')} parked",) if counts.parked else ()
        told = (
            *scores,
            f"{images.done}/{images.wanted} images",
            f"{counts.analysed}/{counts.prompts} prompts analysed",
            f"{counts.flagged} flagged",
            *dropped,
            *parked,
        )
        what, pace, done, total = " images", self._pace, made, to_make
        if is_screened and made == self._first:
            what, pace, done, total = " scores", self._score_pace, images.scored, images.to_score
        paced = pace_words(pace, done, total, what) if units else ()
        is_told = units >= self._told_from
        self._line.tell(done / total if total else None, told, paced if is_told else ())

    @property
    def summary(self) -> str:
        """What was done since the display began, start-up included."""
        made, seconds = self._now - (self._first or 0), time.monotonic() - self._began
        if not made and self._shared:
            return (
                f"{count_words(self._shared, 'image')} taken over from earlier prompts, none made."
            )
        if not made:
            there = 0 < self._wanted == self._now
            return "All images were there already." if there else "No image was made."
        rate = rate_words(made / seconds, " images")
        same = "are of prompts that are the same to the model as an earlier one"
        shared = f"; {self._shared:,} more {same}" if self._shared else ""
        return f"{count_words(made, 'image')} in {duration_words(seconds)}, {rate} in all{shared}."


def pace_words(pace: GrowthRate, done: float, total: float, what: str = "") -> tuple[str, ...]:
    """How long it takes and how fast it goes, as far as that is known: nothing of the first few."""
    now = time.monotonic()
    pace.note(done, now)
    per_second = pace.per_second(now)
    if done >= total or per_second <= 0 or pace.grown < min(FORECAST_AFTER, total / 2):
        return ()
    left = f"{duration_words((total - done) / per_second)} left"
    return left, rate_words(per_second, what)


@contextmanager
def counted(what: str) -> Iterator[Callable[[int, int], None]]:
    """Show how many of a total are done, and at what pace."""
    line, pace = ProgressLine(what), GrowthRate()

    def show(done: int, total: int) -> None:
        words = pace_words(pace, done, total)
        line.tell(done / max(total, 1), (f"{what}: {done}/{total}",), words)

    with line.shown():
        yield show


@contextmanager
def counted_in_turn() -> Iterator[Callable[[str, int, int], None]]:
    """As `counted`, for one thing after another: each name starts a line of its own."""
    with ExitStack() as stack:
        told: list[str] = []
        shown: list[Callable[[int, int], None]] = []

        def show(what: str, done: int, total: int) -> None:
            if told != [what]:
                stack.close()
                told[:], shown[:] = [what], [stack.enter_context(counted(what))]
            shown[0](done, total)

        yield show


@contextmanager
def noticed(what: str) -> Iterator[Callable[[int, float], None]]:
    """Show what takes a while, and how many images it has made in how many seconds.

    A terminal shows it at once; a log gets a line if it takes over `NOTICE_SECONDS`, and then one
    now and then.
    """
    line = ProgressLine(f"{what} …")
    timer = threading.Timer(NOTICE_SECONDS, say, [f"{what} …"])
    timer.daemon = True
    if not can_be_redrawn(sys.stderr):
        timer.start()
    try:
        with line.shown():
            yield lambda images, seconds: line.tell(
                None, (f"{what}: {count_words(images, 'image')} in {duration_words(seconds)}",)
            )
    finally:
        timer.cancel()
