"""The commands that set results side by side: two campaigns, and numbers of copies."""

import dataclasses
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated

import typer

from seedsweep.cli.options import (
    AsJson,
    CampaignId,
    StoreUrl,
    campaign_argument,
    find_campaign,
    find_store,
    say,
    show_json,
)

Output = Annotated[
    Path | None,
    typer.Option("-o", "--output", metavar="DIR", help="Write one HTML page there as well."),
]


def _silent(done: int, total: int) -> None:
    """Show nothing of what takes no time."""


def compare(
    a: Annotated[str, campaign_argument("A", "The campaign before, by id or name.")],
    b: Annotated[str, campaign_argument("B", "The campaign after.")],
    unseen: Annotated[
        bool,
        typer.Option(
            "--unseen", help="B's model never saw the training pictures: what B shows is common."
        ),
    ] = False,
    store: StoreUrl = None,
    output: Output = None,
    as_json: AsJson = False,
) -> None:
    """Compare two campaigns over the same prompts and seeds: before and after deduplication, say.

    Prompts are paired; differences are B − A, with intervals and an exact test. These cover the
    choice of prompts; they do not say how far another training run would differ.
    `seedsweep report` of either shows it the next time it is run. With --unseen, parts that are
    extracted of A are looked for in B's pictures of the same prompts: those that B shows too are
    common, and not extracted.

    Example: seedsweep compare base-0123456789ab tuned-ab0123456789 -o comparison
    """
    from seedsweep.audit.findings.comparison import compare_campaigns
    from seedsweep.audit.findings.saved import try_to_save
    from seedsweep.audit.report.comparison_page import render_comparison
    from seedsweep.audit.report.html import write_page
    from seedsweep.cli.comparison_tables import print_comparison
    from seedsweep.cli.progress_bars import counted

    opened = find_store(store)
    a, b = find_campaign(opened, a), find_campaign(opened, b)
    with counted("prompts with parts asked for") if unseen else nullcontext(_silent) as progress:
        comparison = compare_campaigns(opened, a, b, unseen, progress)
    if problem := try_to_save(opened, comparison):
        say(problem)
    if as_json:
        show_json(dataclasses.asdict(comparison))
    else:
        print_comparison(comparison)
    if output is not None:
        say(f"{write_page(render_comparison(comparison), output)}")


def duplication(
    campaign_id: CampaignId,
    copies: Annotated[
        Path,
        typer.Option(
            metavar="FILE",
            help="A .csv or .parquet with prompts and a column `copies`, as `select` writes.",
        ),
    ],
    column: Annotated[
        str | None,
        typer.Option(
            show_default="the one that the campaign file names, else `prompt`, as of `select`",
            help="FILE's column of prompts.",
        ),
    ] = None,
    sample: Annotated[
        int | None,
        typer.Option(min=1, help="Also show N prompts of FILE that are drawn at random."),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Another seed draws another sample.")] = 0,
    store: StoreUrl = None,
    output: Output = None,
    as_json: AsJson = False,
) -> None:
    """Show how many prompts are flagged and extracted by the copies of their training picture.

    If a prompt stands in FILE more than once, its most copied picture counts.
    `seedsweep report` shows the curve the next time it is run.

    Example: seedsweep duplication emoji-0123456789ab --copies prompts.csv --sample 50
    """
    from seedsweep.audit.findings.duplication import measure_duplication
    from seedsweep.audit.findings.saved import try_to_save
    from seedsweep.audit.report.duplication_page import render_duplication
    from seedsweep.audit.report.html import write_page
    from seedsweep.cli.comparison_tables import print_duplication

    opened = find_store(store)
    campaign_id = find_campaign(opened, campaign_id)
    curves = measure_duplication(opened, campaign_id, copies, column, sample, seed)
    if problem := try_to_save(opened, curves):
        say(problem)
    if as_json:
        show_json(dataclasses.asdict(curves))
    else:
        print_duplication(curves)
    if output is not None:
        say(f"{write_page(render_duplication(curves), output)}")
