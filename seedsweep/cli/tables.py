"""The tables that commands print."""

from collections.abc import Iterator, Sequence

from rich.table import Table

from seedsweep.audit.findings.match_words import score_words
from seedsweep.cli.console import console, prompt_cell
from seedsweep.cli.options import show
from seedsweep.scheduler.campaign.integrity import Checkup
from seedsweep.storage.prompt_results import Match, PromptResult

PROMPT_LENGTH = 48


def print_checkup(checkup: Checkup) -> None:
    """Print what a check found, each corrupt shard and each hole with its unit."""
    for fault in checkup.corrupt:
        show(f"Unit {fault.index}: {fault.key} is corrupt: {fault.reason}")
    for index in checkup.holes:
        show(f"Unit {index}: counted as done, but its shard is not in the store.")
    show(
        f"{checkup.stored} of {checkup.units} units stored, {checkup.images} images as they were "
        f"made; {checkup.receipted} units whose images were not to stay; {len(checkup.corrupt)} "
        f"corrupt, {len(checkup.holes)} holes, {checkup.missing} not made yet, {checkup.parked} "
        f"parked."
    )


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
            show(f"… and {len(flagged) - len(shown)} more.")
    else:
        show(f"0 of {len(results)} prompts flagged.")


_TEXT = {"prompt", "training picture"}
FURTHER = "  another picture"


def _result_rows(result: PromptResult) -> Iterator[list[str]]:
    """One for each clique: of a prompt that repeats several pictures there are more."""
    proven = "" if result.clique_proven else f" (≤ {result.clique_upper_bound})"
    text = prompt_cell(result.prompt, PROMPT_LENGTH)
    distance = "" if result.mean_distance is None else f"{result.mean_distance:.3f}"
    size = f"{result.clique_size}{proven}"
    yield [text, size, str(result.seeds), distance, *_match_cells(result.match)]
    for clique in result.further_cliques:
        distance = f"{clique.mean_distance:.3f}"
        yield [FURTHER, f"{clique.clique_size}", "", distance, *_match_cells(clique.match)]


def _match_cells(match: Match | None) -> list[str]:
    if match is None:
        return ["", "", "", ""]
    adaptive = score_words(match.adaptive)
    extracted = "yes" if match.extracted else "no"
    return [match.training_id, f"{match.l2:.3f}", adaptive, extracted]
