"""The command that chooses thresholds from control prompts and known positives."""

import os
from pathlib import Path
from typing import Annotated

import typer

from seedsweep.cli.calibration_table import for_scripts, print_calibration
from seedsweep.cli.options import (
    AsJson,
    CampaignId,
    StoreUrl,
    find_campaign,
    find_store,
    say,
    show,
    show_json,
)


def calibrate(
    campaign_id: CampaignId,
    controls: Annotated[
        Path,
        typer.Option(metavar="FILE", help="Its prompts that the model was never trained on."),
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            *("-o", "--output"),
            metavar="DIR",
            help="Where to write; ./seedsweep-calibration/ID unless given.",
        ),
    ] = None,
    positives: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Its prompts of which a picture is known to repeat."),
    ] = None,
    column: Annotated[str, typer.Option(help="The files' column of prompts.")] = "prompt",
    group_column: Annotated[
        str | None,
        typer.Option(help="The column of positives that names the training picture."),
    ] = None,
    false_positive_rate: Annotated[
        float,
        typer.Option(min=0.000001, max=0.5, help="The largest share of controls to be flagged."),
    ] = 0.01,
    base_rate: Annotated[
        float | None,
        typer.Option(
            min=0, max=1, help="Your guess which share of all prompts repeat; tells the precision."
        ),
    ] = None,
    min_clique_size: Annotated[
        list[int] | None,
        typer.Option(min=2, help="A size to try; may be repeated. The campaign's unless given."),
    ] = None,
    partial: Annotated[
        bool, typer.Option("--partial", help="Also choose how many tiles make a part.")
    ] = False,
    processes: Annotated[int | None, typer.Option(min=1, help="One per core unless given.")] = None,
    store: StoreUrl = None,
    as_json: AsJson = False,
) -> None:
    """Choose edge threshold and clique size by prompts that are known to repeat, or not to.

    With --partial also how many tiles make a part.

    Writes a page with the curves, and calibrated.toml for a campaign file. The threshold is the
    largest that the controls allow. If the controls are too few to show the rate, none is chosen,
    and calibrated.toml has comments alone. `seedsweep report` shows it the next time it is run.

    Example: seedsweep calibrate emoji-0123456789ab --controls unseen.txt -o calibration
    """
    from seedsweep.audit.findings.calibration import CalibrationOptions
    from seedsweep.audit.findings.calibration import calibrate as decide
    from seedsweep.audit.findings.control_prompts import read_marks
    from seedsweep.audit.findings.marked_scores import score_marked
    from seedsweep.audit.findings.saved import try_to_save
    from seedsweep.audit.report.calibration_page import write_calibration
    from seedsweep.cli.progress_bars import counted

    opened = find_store(store)
    campaign_id = find_campaign(opened, campaign_id)
    marks = read_marks(controls, positives, column, group_column)
    sizes = min_clique_size or []
    with counted("prompts scored") as progress:
        workers = processes or os.cpu_count() or 1
        scored = score_marked(opened, campaign_id, marks, sizes, workers, progress, partial)
    wish = CalibrationOptions(false_positive_rate, base_rate, scored.sizes, partial)
    calibration = decide(scored, scored.marks, wish)
    page = write_calibration(calibration, output or Path("seedsweep-calibration") / campaign_id)
    for warning in calibration.warnings:
        say(warning)
    if problem := try_to_save(opened, calibration):
        say(problem)
    if as_json:
        show_json(for_scripts(calibration))
    else:
        print_calibration(calibration)
        show(str(page))
