"""The command that searches a training set for what flagged prompts repeat."""

import os
from pathlib import Path
from typing import Annotated, Literal

import typer

from seedsweep.cli.options import AsJson, CampaignId, StoreUrl, find, find_campaign, show_json


def verify(
    campaign_id: CampaignId,
    training_set: Annotated[
        Path | None,
        typer.Option(
            metavar="PATH", help="Parquet, tar, array or folder; the campaign's unless given."
        ),
    ] = None,
    controls: Annotated[
        Path | None,
        typer.Option(
            metavar="PATH", help="Pictures never trained on; the campaign's unless given."
        ),
    ] = None,
    threshold: Annotated[
        float | None,
        typer.Option(help="The largest l2 of an extraction; the campaign's unless given."),
    ] = None,
    neighbours_of: Annotated[
        Literal["training", "generation"] | None,
        typer.Option(help="Whose neighbours make the adaptive score; the campaign's unless given."),
    ] = None,
    flip: Annotated[
        bool | None,
        typer.Option(help="Also compare mirrored pictures; the campaign's unless given."),
    ] = None,
    actors: Annotated[
        int | None, typer.Option(min=1, help="Ray actors; one per core unless given.")
    ] = None,
    device: Annotated[
        Literal["cpu", "cuda"],
        typer.Option(help="Where actors compare parts: on their CPU, or on Ray's GPUs."),
    ] = "cpu",
    store: StoreUrl = None,
    as_json: AsJson = False,
) -> None:
    """Search a training set of any size for the pictures that prompts repeat, whole or in part.

    Ray actors read the set slice by slice, twice, and once more for parts; it is never in memory as
    a whole. What could not be read is counted and named. What is found is stored with the campaign.

    Example: seedsweep verify emoji-0123456789ab --training-set train.parquet

    Example: seedsweep verify emoji-0123456789ab --training-set tars --controls never-trained-on
    """
    from seedsweep.audit.findings.same_prompts import stored_first_ones
    from seedsweep.audit.findings.verification import SearchOptions, verify_campaign
    from seedsweep.cli.progress_bars import counted
    from seedsweep.cli.verification_table import for_scripts, print_verification
    from seedsweep.scheduler.campaign.current import settings_now
    from seedsweep.storage.campaigns import load_campaign
    from seedsweep.storage.results import results_by
    from seedsweep.workers.cluster.ray_cluster import Actors

    environment, opened = find(store)
    campaign_id = find_campaign(opened, campaign_id)
    options = SearchOptions(training_set, controls, threshold, neighbours_of, flip)
    crew = Actors(actors or os.cpu_count() or 1, device, environment.ray_address)
    with counted("slices searched") as progress:
        verification = verify_campaign(opened, campaign_id, options, crew, progress)
    submission = load_campaign(opened, campaign_id)
    first = stored_first_ones(opened, submission)
    if as_json:
        show_json(for_scripts(verification, first))
    else:
        results = results_by(opened, settings_now(opened, submission), campaign_id)
        print_verification(verification, results, first)
