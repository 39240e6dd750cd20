"""The command that compares what was found with a list of labelled prompts."""

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from seedsweep.cli.options import (
    AsJson,
    CampaignId,
    StoreUrl,
    explain,
    find_campaign,
    find_store,
    show_json,
)
from seedsweep.cli.results import find_present
from seedsweep.scheduler.quantities import count_words

if TYPE_CHECKING:
    from seedsweep.audit.findings.label_scores import LabelScores


def score(
    campaign_id: CampaignId,
    labels: Annotated[
        Path, typer.Option(metavar="FILE", help="A table of prompts with a label each.")
    ],
    label_column: Annotated[str, typer.Option(help="The column of labels.")] = "type",
    column: Annotated[str, typer.Option(help="The column of prompts.")] = "prompt",
    delimiter: Annotated[
        str | None, typer.Option(help="What stands between cells, if it is not a comma or a tab.")
    ] = None,
    store: StoreUrl = None,
    as_json: AsJson = False,
) -> None:
    """Compare what was found with prompts that somebody labelled, label by label.

    For lists of prompts that a model is known to repeat, whole (VM) or in part (TM): how many of
    each were found, with intervals.

    Example: seedsweep score emoji-0123456789ab --labels truth.csv --label-column group
    """
    from seedsweep.audit.findings.control_prompts import read_labels
    from seedsweep.audit.findings.label_scores import score_labels
    from seedsweep.scheduler.campaign.current import settings_now
    from seedsweep.storage.campaigns import load_campaign

    opened = find_store(store)
    campaign_id = find_campaign(opened, campaign_id)
    known = read_labels(labels, column, label_column, delimiter)
    partial = settings_now(opened, load_campaign(opened, campaign_id)).analysis.partial
    scores = score_labels(find_present(opened, campaign_id), known, partial)
    if as_json:
        show_json(dataclasses.asdict(scores))
    else:
        _print(scores)


def _print(scores: "LabelScores") -> None:
    from seedsweep.audit.findings.rate_words import NOT_EXAMINED, share_words
    from seedsweep.cli.console import print_table, prompt_cell
    from seedsweep.cli.fitted_table import FittedTable

    columns = ("label", "prompts", "flagged", "a part alone", "either", "extracted")
    table = FittedTable(*columns, text=("label",), spared=("either", "extracted"))
    for each in scores.scores:
        table.add_row(
            prompt_cell(each.label, 40),
            f"{each.flagged.n:,}",
            share_words(each.flagged),
            share_words(each.part_alone) if scores.partial else "not looked for",
            share_words(each.either),
            share_words(each.extracted) if each.extracted else NOT_EXAMINED,
        )
    print_table(table)
    for count, what in (
        (scores.no_evidence, "No evidence, and in no rate"),
        (scores.same, "The same to the model as another of their label, and in no rate"),
        (scores.absent, "With a label, but not analysed"),
        (scores.unlabelled, "Analysed, but without a label"),
    ):
        if count:
            explain(f"{what}: {count_words(count, 'prompt')}.")
    explain(
        "Every share is of the label's prompts that could have been flagged; one that repeats "
        "nothing extracts nothing."
    )
    if not scores.partial:
        explain("Parts were not looked for; `seedsweep analyse ID --partial` does that.")
