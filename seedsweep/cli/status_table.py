"""The tables of `status` and `workers`."""

import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rich.console import Group, RenderableType
from rich.live import Live
from rich.table import Table

from seedsweep.cli.console import console
from seedsweep.cli.options import show
from seedsweep.scheduler.campaign.progress import Progress, Services
from seedsweep.storage.workforce import Sign

WATCH_SECONDS = 2.0


LOG_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Overview:
    """What `status` shows: campaigns, in the order given, and who serves them, where known;
    `trouble` says why they are not. `broken`: what is wrong with campaigns that cannot be read;
    `empty`: what to do where there is none."""

    campaigns: Sequence[Progress]
    services: Services | None
    trouble: str = ""
    broken: tuple[str, ...] = ()
    empty: str = ""

    def print(self) -> None:
        """Print it all."""
        console().print(self.rendered())

    def rendered(self) -> RenderableType:
        """The tables, and what is stuck below them."""
        parts: list[RenderableType] = [self.empty or _campaign_table(self.campaigns)]
        if self.services is None and not self.empty:
            trouble = self.trouble or "No broker is configured."
            parts.append(f"This is what the store knows. {trouble}")
        elif self.services and self.services.signs:
            parts.append(_worker_table(self.services.signs))
        for campaign in self.campaigns:
            parts += [f"{campaign.id}: {sentence}" for sentence in campaign.stuck]
        return Group(*parts)


def watch_overview(look: Callable[[], Overview]) -> None:
    """Show the overview until Ctrl-C: rendered anew on a terminal, in a log again now and then."""
    try:
        if not sys.stdout.isatty():
            while True:
                look().print()
                time.sleep(LOG_SECONDS)
        with Live(look().rendered(), console=console(), auto_refresh=False, screen=True) as live:
            while True:
                time.sleep(WATCH_SECONDS)
                live.update(look().rendered(), refresh=True)
    except KeyboardInterrupt:
        return


def print_workers(services: Services) -> None:
    """Print who serves: scheduler, analysts, and each worker; why some took themselves out."""
    scheduler = "a scheduler leads" if services.led else "no scheduler leads"
    show(f"{scheduler}, {services.analysts} analysts and {services.workers} workers live.")
    if services.signs:
        console().print(_worker_table(services.signs))
    for sign in services.signs:
        if sign.worker.why_out:
            show(sign.worker.why_out)


def _campaign_table(campaigns: Sequence[Progress]) -> Table:
    table = Table(*("campaign", "state"))
    for name in ("units", "parked", "images", "prompts analysed", "flagged"):
        table.add_column(name, justify="right")
    for item in campaigns:
        table.add_row(
            item.id,
            item.state,
            f"{item.units_done}/{item.units}",
            str(item.units_parked),
            f"{item.images_done}/{item.images}",
            f"{item.prompts_analysed}/{item.prompts}",
            str(item.flagged),
        )
    return table


def _worker_table(signs: Sequence[Sign]) -> Table:
    table = Table(*("worker", "host", "device", "model"))
    for name in ("images", "images/s", "last sign of life"):
        table.add_column(name, justify="right")
    for sign in signs:
        worker = sign.worker
        end = ", out" if worker.why_out else "" if sign.alive else ", lost"
        ago = f"{sign.seconds_ago:.0f} s ago{end}"
        table.add_row(
            *(worker.name, worker.host, worker.device, worker.model),
            *(str(worker.images), f"{worker.images_per_second:.2f}", ago),
        )
    return table
