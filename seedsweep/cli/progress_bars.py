"""What commands draw while they work: a bar on a terminal, plain lines in a log."""

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

from seedsweep.cli.options import say
from seedsweep.scheduler.quantities import duration_words
from seedsweep.storage.live_state import LiveCounts
from seedsweep.workers.monitoring.rate import RecentRate

RATE_SECONDS = 30.0
LINE_SECONDS = 5.0
"""How often a log gets a line; a terminal is drawn all the time."""

NOTICE_SECONDS = 2.0
"""What takes no longer is not worth a line."""


@dataclass(frozen=True, slots=True)
class Moment:
    """One moment of a campaign, in numbers that people read."""

    images: float
    total: int
    per_second: float
    analysed: int
    prompts: int
    flagged: int
    parked: int

    def __str__(self) -> str:
        left = self.total - self.images
        if left <= 0:
            pace = "all generated"
        elif self.per_second > 0:
            pace = f"{self.per_second:.1f} images/s, {duration_words(left / self.per_second)} left"
        else:
            pace = "starting"
        parked = f", {self.parked} units parked" if self.parked else ""
        return (
            f"{self.images:.0f}/{self.total} images, {pace}; "
            f"{self.analysed}/{self.prompts} prompts analysed, {self.flagged} flagged{parked}"
        )


class Display:
    """Progress on stderr: a bar on a terminal, a plain line now and then in a log."""

    def __init__(self, images: int) -> None:
        self._images = images
        self._rate = RecentRate(RATE_SECONDS)
        self._began = time.monotonic()
        self._first: float | None = None
        self._now = 0.0
        self._last_line = self._began - LINE_SECONDS + 1
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TaskProgressColumn(),
            console=Console(stderr=True),
            transient=True,
            disable=not sys.stderr.isatty(),
        )
        self._task = self._bar.add_task("starting", total=images)

    @contextmanager
    def shown(self) -> Iterator["Display"]:
        """Render for the time of the block."""
        with self._bar:
            yield self

    def show(self, counts: LiveCounts) -> None:
        """Render the campaign's counts."""
        images = self._images * counts.done / counts.units
        self._rate.update(images)
        self._now = images
        if self._first is None:
            self._first = images
        step = Moment(
            images=images,
            total=self._images,
            per_second=self._rate.per_second,
            analysed=counts.analysed,
            prompts=counts.prompts,
            flagged=counts.flagged,
            parked=counts.parked,
        )
        self._bar.update(self._task, description=str(step), completed=images)
        if self._bar.disable and time.monotonic() - self._last_line > LINE_SECONDS:
            self._last_line = time.monotonic()
            say(str(step))

    @property
    def summary(self) -> str:
        """What was done since the display began, start-up included."""
        made, seconds = self._now - (self._first or 0), time.monotonic() - self._began
        if not made:
            return "All images were there already."
        return (
            f"{made:.0f} images in {duration_words(seconds)}, {made / seconds:.1f} images/s in all."
        )


@contextmanager
def counted(what: str) -> Iterator["Counter"]:
    """Show how many of a total are done: a bar on a terminal, lines in a log."""
    bar = Progress(console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty())
    with bar:
        yield Counter(bar, what)


class Counter:
    """Progress of one count."""

    def __init__(self, bar: Progress, what: str) -> None:
        self._bar, self._what = bar, what
        self._task = bar.add_task(what, total=None)
        self._last_line = time.monotonic()

    def __call__(self, done: int, total: int) -> None:
        """Show that so many are done."""
        self._bar.update(self._task, completed=done, total=total)
        if self._bar.disable and time.monotonic() - self._last_line > LINE_SECONDS:
            self._last_line = time.monotonic()
            say(f"{self._what}: {done}/{total}")


@contextmanager
def noticed(what: str) -> Iterator[Callable[[int, float], None]]:
    """Show what takes a while, and how many images it has made in how many seconds.

    A terminal shows it at once; a log gets a line where it takes over `NOTICE_SECONDS`, and then
    one now and then.
    """
    if sys.stderr.isatty():
        with Console(stderr=True).status(what) as status:
            yield lambda images, seconds: status.update(_made(what, images, seconds))
        return
    timer = threading.Timer(NOTICE_SECONDS, say, [f"{what} …"])
    timer.daemon = True
    timer.start()
    last_line = time.monotonic()

    def note(images: int, seconds: float) -> None:
        nonlocal last_line
        if time.monotonic() - last_line > LINE_SECONDS:
            last_line = time.monotonic()
            say(_made(what, images, seconds))

    try:
        yield note
    finally:
        timer.cancel()


def _made(what: str, images: int, seconds: float) -> str:
    return f"{what}: {images} images in {duration_words(seconds)}"
