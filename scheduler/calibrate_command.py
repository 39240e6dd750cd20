"""The command that chooses thresholds from control prompts and known positives."""

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from scheduler.options import AsJson, CampaignId, StoreUrl, find_store, say

if TYPE_CHECKING:
    from scheduler.calibration import Calibration


def calibrate(
    campaign_id: CampaignId,
    controls: Annotated[
        Path,
        typer.Option(metavar="FILE", help="Prompts of it that the model was never trained on."),
    ],
    output: Annotated[Path, typer.Option("-o", "--output", metavar="DIR", help="Where to write.")],
    positives: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Prompts of it whose picture is known to be repeated."),
    ] = None,
    column: Annotated[str, typer.Option(help="The files' column of prompts.")] = "prompt",
    group_column: Annotated[
        str | None,
        typer.Option(help="The column of positives (.csv) that names the training picture."),
    ] = None,
    false_positive_rate: Annotated[
        float, typer.Option(min=0.000001, max=0.5, help="So many controls may be flagged at most.")
    ] = 0.01,
    base_rate: Annotated[
        float, typer.Option(min=0, max=1, help="The share of prompts that are repeated; a guess.")
    ] = 0.0003,
    min_clique_size: Annotated[
        list[int] | None,
        typer.Option(min=2, help="Try this size; may be given again. The campaign's, if not."),
    ] = None,
    processes: Annotated[int | None, typer.Option(min=1, help="One per core.")] = None,
    store: StoreUrl = None,
    as_json: AsJson = False,
) -> None:
    """Choose edge threshold and clique size from stored images of prompts whose truth is known.

    Writes a page with the curves, and calibrated.toml for a campaign file. The threshold is the
    largest that the controls allow; what they are too few to show is said. The campaign's report
    shows it from then on.

    Example: seedsweep calibrate emoji-0123456789ab --controls unseen.txt -o calibration
    """
    from scheduler.calibration import Wish, score_marked
    from scheduler.calibration import calibrate as decide
    from scheduler.calibration_page import write_calibration
    from scheduler.display import counted
    from scheduler.kept import try_to_keep
    from scheduler.marks import read_marks

    opened = find_store(store)
    marks = read_marks(controls, positives, column, group_column)
    sizes = min_clique_size or []
    with counted("prompts scored") as progress:
        workers = processes or os.cpu_count() or 1
        scored = score_marked(opened, campaign_id, marks, sizes, workers, progress)
    wish = Wish(false_positive_rate, base_rate, scored.sizes)
    calibration = decide(scored, scored.marks, wish)
    page = write_calibration(calibration, output)
    for warning in calibration.warnings:
        say(warning)
    if problem := try_to_keep(opened, calibration):
        say(problem)
    if as_json:
        print(json.dumps(as_data(calibration), indent=2))
    else:
        _print(calibration)
        print(page)


def as_data(calibration: "Calibration") -> dict[str, object]:
    """The calibration for scripts: all but the single scores."""
    import dataclasses

    from scheduler.calibration import Candidate

    def candidate(each: Candidate) -> dict[str, object]:
        point = dataclasses.asdict(each.point)
        curve = dataclasses.asdict(each.curve) if each.curve else None
        return {"min_clique_size": each.min_clique_size, **point, "curve": curve}

    chosen, verification = calibration.chosen, calibration.verification
    return {
        "campaign_id": calibration.campaign_id,
        "analysis_id": calibration.analysis_id,
        "written_at": calibration.written_at,
        "tiles": calibration.tiles,
        "seeds": calibration.seeds,
        "controls": calibration.controls,
        "positives": calibration.positives,
        "groups": calibration.groups,
        "false_positive_rate": calibration.wish.false_positive_rate,
        "base_rate": calibration.wish.base_rate,
        "edge_threshold": chosen.point.threshold,
        "min_clique_size": chosen.min_clique_size,
        "candidates": [candidate(each) for each in calibration.candidates],
        "verification": dataclasses.asdict(verification) if verification else None,
        "warnings": list(calibration.warnings),
    }


def _print(calibration: "Calibration") -> None:
    from rich.console import Console
    from rich.table import Table

    from scheduler.calibration_page import percent_words, share_words

    base = f"at {100 * calibration.wish.base_rate:g} %"
    table = Table(title=f"False-positive rate {calibration.wish.false_positive_rate:g}")
    for name in ("clique", "edge threshold", "controls flagged", "the rate", "recall"):
        table.add_column(name)
    table.add_column(f"precision {base}")
    table.add_column("at worst")
    for each in calibration.candidates:
        point = each.point
        table.add_row(
            f"{each.min_clique_size}{' chosen' if each is calibration.chosen else ''}",
            "none" if point.threshold is None else f"{point.threshold:g}",
            share_words(point.false_positives),
            point.summary,
            share_words(point.recall),
            percent_words(point.precision),
            percent_words(point.precision_worst),
        )
    # In a log it gets the width it needs.
    Console(width=None if sys.stdout.isatty() else 160).print(table)
