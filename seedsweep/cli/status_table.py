"""The tables of `status` and `workers`."""

import contextlib
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NoReturn

from rich.console import Group, RenderableType
from rich.live import Live

from seedsweep.cli.console import coloured, console, print_table
from seedsweep.cli.fitted_table import FittedTable
from seedsweep.cli.options import explain, show
from seedsweep.cli.streams import can_be_redrawn, is_left
from seedsweep.scheduler.campaign.progress import Progress, Services
from seedsweep.scheduler.quantities import count_words, duration_words
from seedsweep.storage.life_signs import Sign

WATCH_SECONDS = 2.0


LOG_SECONDS = 10.0

PACE = "images/s, last 60 s"


@dataclass(frozen=True, slots=True)
class Overview:
    """What `status` shows: campaigns, in the order given, and who serves them, if known;
    `trouble` says why they are not. `broken`: what is wrong with campaigns that cannot be read;
    `empty`: what to do if there is none."""

    campaigns: Sequence[Progress]
    services: Services | None
    trouble: str = ""
    broken: tuple[str, ...] = ()
    empty: str = ""

    def print(self) -> None:
        """Print it all."""
        print_table(self.rendered())

    def rendered(self) -> RenderableType:
        """The tables, and what is stuck below them."""
        parts: list[RenderableType] = [self.empty or _campaign_table(self.campaigns)]
        if self.services is None and not self.empty:
            asked = self.trouble or (
                "No service was asked, since SEEDSWEEP_BROKER_URL is not set; `run` needs none."
            )
            parts.append(f"This is what the store knows. {asked}")
        elif self.services and self.services.signs:
            parts.append(_worker_table(self.services.signs))
        for campaign in self.campaigns:
            parts += [f"{campaign.id}: {sentence}" for sentence in campaign.stuck]
        return Group(*parts)

    def watched(self) -> RenderableType:
        """The same, and below it what cannot be read."""
        return Group(self.rendered(), *self.broken)

    @property
    def news(self) -> object:
        """What differs once anything else than time has gone on."""
        services = self.services
        signs = [(sign.worker, sign.alive) for sign in services.signs] if services else []
        served = (services.led, services.analysts, signs) if services else None
        return self.campaigns, served, self.trouble, self.broken


def watch_overview(look: Callable[[], Overview]) -> None:
    """Show the overview until Ctrl-C: drawn anew on a terminal; in a log again when it changed, as
    long as anybody reads it."""
    with contextlib.suppress(KeyboardInterrupt):
        if can_be_redrawn(sys.stdout):
            _draw(look)
        else:
            _print_changes(look)


def _draw(look: Callable[[], Overview]) -> NoReturn:
    where = console()
    with Live(look().watched(), console=where, auto_refresh=False, screen=True) as live:
        while True:
            time.sleep(WATCH_SECONDS)
            where.size = console().size
            live.update(look().watched(), refresh=True)


def _print_changes(look: Callable[[], Overview]) -> None:
    before = None
    while True:
        overview = look()
        if overview.news != before:
            before = overview.news
            if not print_table(overview.watched()):
                return
        if is_left(sys.stdout, within=LOG_SECONDS):
            return


def print_workers(services: Services) -> None:
    """Print who serves: scheduler, analysts, workers; and what is wrong with one or the store."""
    scheduler = "a scheduler leads" if services.led else "no scheduler leads"
    analysts = count_words(services.analysts, "analyst")
    workers = count_words(services.workers, "worker")
    show(f"{scheduler}; {analysts} and {workers} live.")
    if services.signs:
        print_table(_worker_table(services.signs))
    for sign in services.signs:
        if sign.worker.why_out:
            explain(sign.worker.why_out)
    for sentence in services.trouble:
        explain(sentence)


_STATE_COLOURS = {
    **{"done": "green", "failed": "red", "running": "cyan"},
    **dict.fromkeys(("paused", "cancelled", "stopped"), "yellow"),
}


def _campaign_table(campaigns: Sequence[Progress]) -> FittedTable:
    dropped = ("dropped",) if any(item.units_dropped for item in campaigns) else ()
    shared = ("shared",) if any(item.images_shared for item in campaigns) else ()
    table = FittedTable(
        *("campaign", "state", "units", "parked", *dropped, "images", *shared),
        *("prompts analysed", "flagged"),
        text=("campaign", "state"),
        spared=(*shared, "images", "parked", *dropped, "prompts analysed", "flagged"),
    )
    for item in campaigns:
        table.add_row(
            item.id,
            coloured(item.state, _STATE_COLOURS.get(item.state, "")),
            f"{item.units_done}/{item.units - item.units_dropped}",
            coloured(str(item.units_parked), "red" if item.units_parked else ""),
            *(str(item.units_dropped) for _ in dropped),
            f"{item.images_done}/{item.images}",
            *(str(item.images_shared) for _ in shared),
            f"{item.prompts_analysed}/{item.prompts}",
            str(item.flagged),
        )
    return table


def _worker_table(signs: Sequence[Sign]) -> FittedTable:
    table = FittedTable(
        *("worker", "host", "device", "model", "images", PACE, "last sign of life"),
        text=("worker", "host", "device", "model", "last sign of life"),
        spared=("model", "host", "images", "device", PACE),
    )
    for sign in signs:
        worker = sign.worker
        end = ", out" if worker.why_out else "" if sign.alive else ", lost"
        table.add_row(
            *(worker.name, worker.host, worker.device, worker.model or "none yet"),
            *(str(worker.images), f"{worker.images_per_second:.2f}" if sign.alive else "-"),
            coloured(f"{duration_words(round(sign.seconds_ago))} ago{end}", "red" if end else ""),
        )
    return table
