"""What `compare` and `duplication` print."""

from collections.abc import Sequence

from seedsweep.audit.findings.comparison import Change, Comparison
from seedsweep.audit.findings.duplication import Bin, Duplication, DuplicationCurve
from seedsweep.audit.findings.rate_words import NOT_EXAMINED, examined_words, side_words
from seedsweep.audit.findings.second_model import second_model_words
from seedsweep.cli.console import print_table, prompt_cell
from seedsweep.cli.fitted_table import FittedTable
from seedsweep.cli.options import explain, show
from seedsweep.scheduler.quantities import count_words

PROMPT_LENGTH = 48


def print_comparison(comparison: Comparison) -> None:
    """Print rates and cells as tables, what changed most, and in what the campaigns differ."""
    left_out = comparison.left_out
    show(f"A: {comparison.a}")
    show(f"B: {comparison.b}")
    explain(
        f"{count_words(comparison.prompts, 'prompt')} analysed in both with the same seeds; left "
        "out: "
        f"{left_out.only_a} in A alone, {left_out.only_b} in B alone, {left_out.other_seeds} with "
        f"other seeds, {left_out.no_evidence} that are no evidence in one of them."
    )
    if comparison.contrasts:
        show("They differ in (A | B):")
    for contrast in comparison.contrasts:
        explain(f"{contrast.label}: {contrast.a} | {contrast.b}")
    print_table(_rates(comparison))
    if comparison.pictures:
        in_a, in_b = (
            str(count) if examined else NOT_EXAMINED
            for count, examined in zip(
                (comparison.pictures.a, comparison.pictures.b), comparison.examined, strict=True
            )
        )
        both = (
            ""
            if comparison.pictures.both is None
            else f", {comparison.pictures.both} of them in both"
        )
        explain(f"Distinct training pictures extracted: {in_a} in A, {in_b} in B{both}.")
    if comparison.second_model:
        for line in second_model_words(comparison.second_model):
            explain(line)
    method = "" if comparison.clique_size.low is None else f" ({comparison.clique_size.method})"
    explain(f"Mean change of clique size: {comparison.clique_size}{method}.")
    if comparison.unproven:
        unproven = count_words(comparison.unproven, "prompt")
        explain(f"Not proven the largest: a clique of {unproven}.")
    for title, changes in (("shrank", comparison.shrunk), ("grew", comparison.grown)):
        if changes:
            print_table(_changes(f"Cliques that {title} most", changes))
    for note in comparison.notes:
        explain(note)


def print_duplication(duplication: Duplication) -> None:
    """Print the curve, and that of the sample."""
    known = count_words(duplication.curve.prompts, "prompt")
    print_table(_curve(f"{known} with known copies", duplication.curve))
    if duplication.sample:
        title = (
            f"a random sample of {duplication.sample.drawn}, "
            f"{duplication.sample.curve.prompts} analysed"
        )
        print_table(_curve(title, duplication.sample.curve))
    if duplication.curve.parts:
        print_table(_shares("Repeat at least so many tiles of the picture", duplication.curve))
    explain(
        f"{100 * duplication.curve.flagged.confidence:g} % intervals: "
        f"{duplication.curve.flagged.method}."
    )
    for note in duplication.notes:
        explain(note)


def _rates(comparison: Comparison) -> FittedTable:
    flagged = comparison.flagged
    table = FittedTable(
        *("", "A", "B", "B - A", "both", "only A", "only B", "neither", "p"),
        text=("", "A", "B", "B - A"),
        spared=("neither", "both", "only A", "only B"),
        notes={
            "A": f"{100 * flagged.a.confidence:g} % intervals; rates: {flagged.a.method}.",
            "B - A": f"Differences: {flagged.difference.method}.",
            "p": f"p: {flagged.test}.",
        },
    )
    parts = ((side_words(part.side), part.rates) for part in comparison.parts)
    rows = (("flagged", comparison.flagged), ("extracted", comparison.extracted), *parts)
    for name, rates in rows:
        if rates is None:
            table.add_row(name, NOT_EXAMINED, NOT_EXAMINED, *[""] * 6)
            continue
        cells = (rates.both, rates.only_a, rates.only_b, rates.neither)
        told = [str(rates.a), str(rates.b), str(rates.difference)]
        if name == "extracted":
            for side, examined in enumerate(comparison.examined):
                told[side] = told[side] if examined else NOT_EXAMINED
        table.add_row(name, *told, *map(str, cells), f"{rates.p:.3g}")
    return table


def _changes(title: str, changes: Sequence[Change]) -> FittedTable:
    table = FittedTable(
        *("prompt", "A", "B", "B - A"), text=("prompt",), spared=("A", "B"), title=title
    )
    for change in changes:
        text = prompt_cell(change.prompt, PROMPT_LENGTH)
        table.add_row(text, str(change.a), str(change.b), f"{change.b - change.a:+d}")
    return table


def _curve(title: str, curve: DuplicationCurve) -> FittedTable:
    columns = ("copies", "flagged", "extracted")
    table = FittedTable(*columns, text=columns, title=title)
    rows: list[Bin | DuplicationCurve] = [*curve.bins, curve]
    for item in rows:
        name = str(item) if isinstance(item, Bin) else "all"
        told = examined_words(item.extracted)
        table.add_row(name, str(item.flagged), told)
    return table


def _shares(title: str, curve: DuplicationCurve) -> FittedTable:
    columns = ("copies", *(side_words(part.side) for part in curve.parts))
    table = FittedTable(*columns, text=columns, title=title)
    rows: list[Bin | DuplicationCurve] = [*curve.bins, curve]
    for item in rows:
        name = str(item) if isinstance(item, Bin) else "all"
        table.add_row(name, *(str(part.prompts) for part in item.parts))
    return table
