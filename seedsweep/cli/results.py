"""The commands that show what a campaign found, analyse it again and check what it stored."""

import dataclasses
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from seedsweep.cli.options import (
    ActorDevice,
    AsJson,
    CampaignId,
    StoreUrl,
    find,
    find_broker,
    find_campaign,
    find_store,
    say,
    show,
    show_json,
)
from seedsweep.scheduler.quantities import count_words

if TYPE_CHECKING:
    from collections.abc import Sequence

    from seedsweep.audit.findings.people import Reviewer
    from seedsweep.audit.findings.present import Found
    from seedsweep.storage.prompt_results import PromptResult
    from seedsweep.storage.store import Store


def results(
    campaign_id: CampaignId,
    store: StoreUrl = None,
    as_json: AsJson = False,
    to_csv: Annotated[
        Path | None, typer.Option("--csv", metavar="FILE", help="Write all prompts as CSV.")
    ] = None,
) -> None:
    """Show what was found: a table of the flagged prompts, or all prompts as data.

    They are ordered by how alike the generations of a prompt are, not by how sure a memory is.
    docs/results.md says what each field means.

    Example: seedsweep results emoji-0123456789ab --json
    """
    from seedsweep.audit.report.csv_export import write_csv

    opened = find_store(store)
    found = find_present(opened, find_campaign(opened, campaign_id))
    if to_csv is not None:
        write_csv(found, to_csv)
    if print_found(found, as_json):
        raise typer.Exit(1)


def report(
    campaign_id: CampaignId,
    output: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--output",
            metavar="DIR",
            help="Where to write; ./seedsweep-reports/ID unless given.",
        ),
    ] = None,
    labels: Annotated[
        list[Path] | None,
        typer.Option(metavar="CSV", help="What a reviewer said: a labels-NAME.csv."),
    ] = None,
    store: StoreUrl = None,
) -> None:
    """Write the report: one HTML file with the pictures.

    It shows what `verify`, `calibrate`, `compare` and `duplication` found, too, and with --labels
    which prompts, parts and extracted training pictures people confirmed.

    Example: seedsweep report emoji-0123456789ab -o report
    """
    from seedsweep.audit.evidence.labels import open_labels

    reviewers = [open_labels(path).person for path in labels or ()]
    opened = find_store(store)
    campaign_id = find_campaign(opened, campaign_id)
    show(str(render_report(opened, campaign_id, output, reviewers)))


def analyse(
    campaign_id: CampaignId,
    store: StoreUrl = None,
    edge_threshold: Annotated[
        float | None, typer.Option(help="The largest tiled l2 of an edge.")
    ] = None,
    min_clique_size: Annotated[
        int | None, typer.Option(help="The smallest clique that makes a flag.")
    ] = None,
    tiles: Annotated[int | None, typer.Option(help="Tiles along each side.")] = None,
    verification_threshold: Annotated[
        float | None, typer.Option(help="The largest l2 of an extraction.")
    ] = None,
    matrix: Annotated[
        Literal["pruned", "full"] | None,
        typer.Option(help="Prune by descriptors, or compare all pixels."),
    ] = None,
    partial: Annotated[
        bool | None,
        typer.Option(help="Also find parts of the picture that repeat, or do not."),
    ] = None,
    part_shift: Annotated[
        float | None,
        typer.Option(help="How far a part may move between pictures, as a share of their side."),
    ] = None,
    part_mirror: Annotated[
        bool | None, typer.Option(help="Also find parts that are mirrored, or do not.")
    ] = None,
    part_scale: Annotated[
        float | None,
        typer.Option(help="How much larger or smaller a part may be, as a share of its size."),
    ] = None,
    device: ActorDevice = "cpu",
    actors: Annotated[
        int | None, typer.Option(min=1, help="Ray actors; one per core unless given.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Analyse stored images again; options that you leave out are those of the campaign file.

    Options of an earlier `analyse` are not kept. From then on all commands use this analysis:
    `results`, `report`, `status`, `verify`, `evidence`, `calibrate`, `compare`, `duplication` and
    `score`; labels are of its pictures. `seedsweep analyse ID` without options goes back to the
    campaign's own. Older results stay in the store, and are shown at once if you ask for them
    again. A search of the training set belongs to one analysis: after another one, run `verify`
    again. If some prompts need images that the campaign did not keep, the others are judged and
    shown, and `results` shows what it did before.

    Example: seedsweep analyse emoji-0123456789ab --edge-threshold 0.08
    """
    from seedsweep.audit.findings.present import gather_found
    from seedsweep.cli.progress_bars import counted
    from seedsweep.scheduler.analysing.reanalysis import AnalysisOptions, analyse_again
    from seedsweep.storage.campaigns import load_campaign
    from seedsweep.workers.cluster.ray_cluster import Actors

    environment, opened = find(store)
    campaign_id = find_campaign(opened, campaign_id)
    changes = AnalysisOptions(
        edge_threshold,
        min_clique_size,
        tiles,
        verification_threshold,
        matrix,
        partial,
        part_shift,
        part_mirror,
        part_scale,
    )
    crew = Actors(actors or os.cpu_count() or 1, device, environment.ray_address)
    with counted("prompts analysed") as progress:
        ended = analyse_again(opened, campaign_id, changes, crew, progress)
    found = gather_found(opened, load_campaign(opened, campaign_id), ended.settings)
    in_vain = print_found(found, as_json)
    if not ended.refused:
        say("All commands use this analysis from now on.")
    if ended.refused:
        say(
            f"{ended.refused} of {count_words(ended.prompts, 'prompt')} could not be judged: "
            f"{ended.reason}"
        )
    if ended.refused or in_vain:
        raise typer.Exit(1)


def check(
    campaign_id: CampaignId,
    store: StoreUrl = None,
    repair: Annotated[
        bool, typer.Option("--repair", help="Have what is corrupt or lost made again.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Read every shard of a campaign, and hold its images against their hashes.

    What stages decided of cohorts is held against the stored scores.

    Example: seedsweep check emoji-0123456789ab --repair
    """
    from seedsweep.cli.progress_bars import counted
    from seedsweep.cli.tables import print_checkup
    from seedsweep.scheduler.campaign.integrity import check_campaign
    from seedsweep.scheduler.campaign.integrity import repair as mend

    environment, opened = find(store)
    campaign_id = find_campaign(opened, campaign_id)
    broker = find_broker(environment)
    ledger = broker.ledger if broker else None
    with counted("shards read") as progress:
        checkup = check_campaign(opened, campaign_id, ledger, progress)
    if as_json:
        show_json(dataclasses.asdict(checkup))
    else:
        print_checkup(checkup)
    if checkup.is_sound:
        return
    if not repair:
        say(f"`seedsweep check {campaign_id} --repair` has them made again.")
        raise typer.Exit(1)
    units = mend(opened, campaign_id, ledger, checkup)
    if units or not checkup.decisions:
        how = "by the running workers" if ledger else "when the campaign is run again"
        are = "is" if units == 1 else "are"
        say(f"{count_words(units, 'unit')} {are} made again {how}.")
    if checkup.decisions:
        how = "by the running analysts" if ledger else "when the campaign is run again"
        say(f"What was wrongly decided is decided anew {how}, and its prompts are judged by that.")


def print_found(found: "Found", as_json: bool, flagged_only: bool = False) -> bool:
    """Print what an analysis found: for people a table and what to know of it, for scripts JSON of
    all prompts or of the flagged ones. What is no evidence goes to stderr; True if all of it is."""
    from seedsweep.cli.tables import print_results

    if as_json:
        chosen = [result for result in found.results if result.flagged or not flagged_only]
        show_json([_element(found, result) for result in chosen])
    else:
        print_results(found)
    for sentence in (found.no_evidence, found.trouble):
        if sentence:
            say(sentence)
    return found.nothing_is_evidence


def _element(found: "Found", result: "PromptResult") -> dict[str, object]:
    """What JSON says of one prompt."""
    repeated = found.memories_of(result)
    parts = [m.extracted for m in repeated if m.kind != "whole" and m.extracted is not None]
    told = {
        "memories": [memory.model_dump(mode="json") for memory in repeated],
        "flagged_partial": result.flagged_partial,
        "extracted_partial": any(parts) if parts else None,
        "cut": None if found.cut is None else result.prompt in found.cut,
        "same_as": found.same_as.get(result.prompt),
        "extractions": found.extractions and found.extractions.model_dump(mode="json"),
    }
    if result.prompt in found.added:
        told["added_seeds"] = found.added[result.prompt]
    return result.model_dump(mode="json") | told


def render_report(
    store: "Store",
    campaign_id: str,
    folder: Path | None,
    reviewers: "Sequence[Reviewer]" = (),
) -> Path:
    """Render the report of a campaign's present analysis, in ./seedsweep-reports/ID unless told
    where; returns the page's path."""
    from seedsweep.audit.report.report import write_report
    from seedsweep.cli.progress_bars import counted
    from seedsweep.scheduler.campaign.current import settings_now
    from seedsweep.storage.campaigns import load_campaign

    settings = settings_now(store, load_campaign(store, campaign_id))
    with counted("flagged prompts drawn") as progress:
        folder = folder or Path("seedsweep-reports") / campaign_id
        analysis_id = settings.analysis_id
        return write_report(store, campaign_id, analysis_id, folder, progress, reviewers)


def find_present(store: "Store", campaign_id: str) -> "Found":
    """Read what the campaign's present analysis found."""
    from seedsweep.audit.findings.present import gather_found
    from seedsweep.scheduler.campaign.current import settings_now
    from seedsweep.storage.campaigns import load_campaign

    submission = load_campaign(store, campaign_id)
    return gather_found(store, submission, settings_now(store, submission))
