"""The tables that commands print."""

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from scheduler.check import Checkup
from scheduler.findings import Finding
from scheduler.progress import Progress, Services
from storage.prompt_results import Match, PromptResult
from storage.workforce import Sign

WATCH_SECONDS = 2.0
LOG_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Overview:
    """What `status` shows: campaigns, in the order given, and who serves them, where known;
    `trouble` says why they are not."""

    campaigns: Sequence[Progress]
    services: Services | None
    trouble: str = ""

    def print(self) -> None:
        """Print it all."""
        console().print(self.drawn())

    def drawn(self) -> RenderableType:
        """The tables, and what is stuck below them."""
        parts: list[RenderableType] = [_campaign_table(self.campaigns)]
        if self.services is None:
            trouble = self.trouble or "No broker is configured."
            parts.append(Text(f"This is what the store knows. {trouble}"))
        elif self.services.signs:
            parts.append(_worker_table(self.services.signs))
        for campaign in self.campaigns:
            parts += [Text(f"{campaign.id}: {sentence}") for sentence in campaign.stuck]
        return Group(*parts)


def watch_overview(look: Callable[[], Overview]) -> None:
    """Show the overview until Ctrl-C: drawn anew on a terminal, in a log again now and then."""
    try:
        if not sys.stdout.isatty():
            while True:
                look().print()
                time.sleep(LOG_SECONDS)
        with Live(look().drawn(), console=console(), auto_refresh=False, screen=True) as live:
            while True:
                time.sleep(WATCH_SECONDS)
                live.update(look().drawn(), refresh=True)
    except KeyboardInterrupt:
        return


def print_workers(services: Services) -> None:
    """Print who serves: scheduler, analysts, and each worker; why some took themselves out."""
    scheduler = "a scheduler leads" if services.led else "no scheduler leads"
    print(f"{scheduler}, {services.analysts} analysts and {services.workers} workers live.")
    if services.signs:
        console().print(_worker_table(services.signs))
    for sign in services.signs:
        if sign.worker.why_out:
            print(sign.worker.why_out)


def print_checkup(checkup: Checkup) -> None:
    """Print what a check found, each corrupt shard and each hole with its unit."""
    for fault in checkup.corrupt:
        print(f"Unit {fault.index}: {fault.key} is corrupt: {fault.reason}")
    for index in checkup.holes:
        print(f"Unit {index}: counted as done, but its shard is not in the store.")
    print(
        f"{checkup.stored} of {checkup.units} units stored, {checkup.images} images as they were "
        f"made; {checkup.receipted} units whose images were not to stay; {len(checkup.corrupt)} "
        f"corrupt, {len(checkup.holes)} holes, {checkup.missing} not made yet, {checkup.parked} "
        f"parked."
    )


def print_finding(finding: Finding) -> None:
    """Print one finding, and below it how to mend what is not fine."""
    mark = {"fine": "ok", "warning": "warning", "failure": "FAILURE"}[finding.verdict]
    print(f"{mark:8} {finding.about}: {finding.says}", flush=True)
    if finding.remedy:
        print(f"{'':8} → {finding.remedy}", flush=True)


def print_results(results: Sequence[PromptResult], limit: int | None = None) -> None:
    """Print flagged prompts as a table, best first, and what the rest came to."""
    flagged = [result for result in results if result.flagged]
    shown = flagged[:limit]
    if shown:
        table = Table(
            title=f"{len(flagged)} of {len(results)} prompts flagged", title_justify="left"
        )
        for name in ("prompt", "clique", "seeds", "mean distance", "training picture", "l2"):
            table.add_column(name, justify="left" if name in _TEXT else "right")
        for header in ("adaptive", "extracted"):
            table.add_column(header, justify="right")
        for result in shown:
            for cells in _result_rows(result):
                table.add_row(*cells)
        console().print(table)
        if len(flagged) > len(shown):
            print(f"… and {len(flagged) - len(shown)} more.")
    else:
        print(f"0 of {len(results)} prompts flagged.")


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
            *map(escape, (worker.name, worker.host, worker.device, worker.model)),
            *(str(worker.images), f"{worker.images_per_second:.2f}", ago),
        )
    return table


_TEXT = {"prompt", "training picture"}
FURTHER = "  another picture"


def _result_rows(result: PromptResult) -> Iterator[list[str]]:
    """One for each clique: of a prompt that repeats several pictures there are more."""
    proven = "" if result.clique_proven else f" (≤ {result.clique_upper_bound})"
    text = escape(result.prompt if len(result.prompt) <= 48 else result.prompt[:47] + "…")
    distance = "" if result.mean_distance is None else f"{result.mean_distance:.3f}"
    size = f"{result.clique_size}{proven}"
    yield [text, size, str(result.seeds), distance, *_match_cells(result.match)]
    for clique in result.further_cliques:
        distance = f"{clique.mean_distance:.3f}"
        yield [FURTHER, f"{clique.clique_size}", "", distance, *_match_cells(clique.match)]


def _match_cells(match: Match | None) -> list[str]:
    if match is None:
        return ["", "", "", ""]
    adaptive = "" if match.adaptive is None else f"{match.adaptive:.2f}"
    extracted = "yes" if match.extracted else "no"
    return [escape(match.training_id), f"{match.l2:.3f}", adaptive, extracted]


def console() -> Console:
    """Tables go to stdout, `:words:` as they are; in a log they get the width they need."""
    return Console(emoji=False, width=None if sys.stdout.isatty() else 160)
