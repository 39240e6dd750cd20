"""The commands that make a campaign, follow it, steer it and show what it found."""

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from scheduler.options import (
    AsJson,
    CampaignId,
    File,
    StoreUrl,
    find,
    find_broker,
    find_store,
    say,
)
from storage.errors import ConfigError

if TYPE_CHECKING:
    from scheduler.plan import Plan
    from scheduler.steering import State
    from storage.store import Store


def run(
    file: File,
    store: StoreUrl = None,
    workers: Annotated[
        int | None,
        typer.Option(min=1, help="Worker processes; one per device, else per core, unless given."),
    ] = None,
    report: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Where the report goes; ./seedsweep-reports/ID if unset."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Run a whole campaign on this machine, or go on with it where it stopped.

    Example: seedsweep run examples/emoji/campaign.toml --workers 2
    """
    from scheduler.display import Display
    from scheduler.run import Crew, log_folder, run_campaign

    opened = find_store(store)
    plan = _submit(opened, _plan(opened, file))
    campaign_id = plan.campaign.campaign_id
    say(f"{_outline(plan)}; logs in {log_folder(opened, campaign_id)}.")
    images = sum(map(len, plan.cuts)) * len(plan.prompts)
    try:
        with Display(images).shown() as display:
            run_campaign(opened, plan, Crew.for_this_machine(workers), display.show)
    except KeyboardInterrupt:
        say("Stopped; the same command goes on from here.")
        raise typer.Exit(130) from None
    say(display.summary)
    _print_results(opened, campaign_id, as_json, flagged_only=True)
    page = _report(opened, campaign_id, report or Path("seedsweep-reports") / campaign_id)
    say(f"Report: {page}")
    failed = _explain_failures(opened, plan)
    print(campaign_id)
    if failed:
        raise typer.Exit(1)


def plan(
    file: File,
    store: StoreUrl = None,
    images_per_second: Annotated[
        float | None, typer.Option(min=1e-6, help="A measured rate, to reckon hours with.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Say what a campaign would make, and what of it is there already; writes nothing.

    Example: seedsweep plan examples/emoji/campaign.toml --images-per-second 8
    """
    from scheduler.estimate import estimate

    opened = find_store(store)
    reckoned = estimate(opened, _plan(opened, file), images_per_second)
    if as_json:
        print(json.dumps(dataclasses.asdict(reckoned), indent=2))
    else:
        print(reckoned)


def submit(
    file: File,
    store: StoreUrl = None,
    stage_model: Annotated[
        bool, typer.Option(help="Copy the model's folder to the store, for workers on other hosts.")
    ] = False,
) -> None:
    """Hand a campaign to a running deployment; the same file twice is the same campaign.

    Example: seedsweep submit examples/emoji/campaign.toml --stage-model
    """
    from storage.campaigns import load_control
    from workers.model_files import stage_model as stage

    opened = find_store(store)
    planned = _plan(opened, file)
    if stage_model:
        uploaded = stage(opened, planned.campaign.model)
        say(f"The model is in the store; {uploaded / 1e6:.1f} MB of it were copied.")
    planned = _submit(opened, planned)
    campaign_id = planned.campaign.campaign_id
    say(f"{_outline(planned)}; a scheduler takes it up within seconds.")
    state = load_control(opened, campaign_id).state
    if state != "active":
        say(f"It is {state}; `seedsweep resume {campaign_id}` lets it go on.")
    print(campaign_id)


def status(
    campaign_id: Annotated[str | None, typer.Argument(metavar="[ID]")] = None,
    store: StoreUrl = None,
    watch: Annotated[bool, typer.Option("--watch", help="Keep showing, until Ctrl-C.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show how far campaigns are, newest first, who works on them, and what is stuck.

    Example: seedsweep status --watch
    """
    from scheduler.progress import read_progress, read_services
    from scheduler.tables import Overview, watch_overview
    from storage.campaigns import list_campaigns

    if watch and as_json:
        raise ConfigError("--watch draws for people; for scripts call `status --json` repeatedly.")
    environment, opened = find(store)
    broker = find_broker(environment)

    def look() -> Overview:
        services = read_services(broker)
        names = [campaign_id] if campaign_id else list_campaigns(opened)
        campaigns = [read_progress(opened, name, broker, services) for name in names]
        return Overview(campaigns, services)

    if watch:
        watch_overview(look)
        return
    overview = look()
    if as_json:
        print(json.dumps([dataclasses.asdict(item) for item in overview.campaigns], indent=2))
    else:
        overview.print()


def pause(campaign_id: CampaignId, store: StoreUrl = None) -> None:
    """Let a campaign rest: no unit of it is begun any more, those under way are finished.

    Example: seedsweep pause emoji-0123456789ab
    """
    _steer(campaign_id, store, "paused")


def resume(campaign_id: CampaignId, store: StoreUrl = None) -> None:
    """Let a paused or cancelled campaign go on.

    Example: seedsweep resume emoji-0123456789ab
    """
    _steer(campaign_id, store, "active")


def cancel(campaign_id: CampaignId, store: StoreUrl = None) -> None:
    """Give a campaign up; what it has made stays in the store.

    Example: seedsweep cancel emoji-0123456789ab
    """
    _steer(campaign_id, store, "cancelled")


def results(
    campaign_id: CampaignId,
    store: StoreUrl = None,
    as_json: AsJson = False,
    to_csv: Annotated[
        Path | None, typer.Option("--csv", metavar="FILE", help="Write all prompts as CSV.")
    ] = None,
) -> None:
    """Show what was found, best first: a table of the flagged prompts, or all prompts as data.

    Example: seedsweep results emoji-0123456789ab --json
    """
    from scheduler.audit import results_now
    from scheduler.export import write_csv

    opened = find_store(store)
    if to_csv is not None:
        write_csv(results_now(opened, campaign_id), to_csv)
    _print_results(opened, campaign_id, as_json)


def report(
    campaign_id: CampaignId,
    output: Annotated[Path, typer.Option("-o", "--output", metavar="DIR", help="Where to write.")],
    store: StoreUrl = None,
) -> None:
    """Write the report: one HTML file with the pictures.

    Example: seedsweep report emoji-0123456789ab -o report
    """
    print(_report(find_store(store), campaign_id, output))


def analyse(
    campaign_id: CampaignId,
    store: StoreUrl = None,
    edge_threshold: Annotated[float | None, typer.Option(help="Tiled l2 of an edge.")] = None,
    min_clique_size: Annotated[int | None, typer.Option(help="Clique that makes a flag.")] = None,
    tiles: Annotated[int | None, typer.Option(help="Tiles along each side.")] = None,
    verification_threshold: Annotated[float | None, typer.Option(help="l2 of a match.")] = None,
    actors: Annotated[int | None, typer.Option(min=1, help="Ray actors; one per core.")] = None,
    as_json: AsJson = False,
) -> None:
    """Analyse stored images again; what is not given is as the campaign has it.

    From then on `results`, `report` and `status` show this analysis. Older results stay in the
    store, and come back at once when they are asked for again.

    Example: seedsweep analyse emoji-0123456789ab --edge-threshold 0.08
    """
    from scheduler.reanalysis import Changes, analyse_again

    environment, opened = find(store)
    changes = Changes(edge_threshold, min_clique_size, tiles, verification_threshold)
    analyse_again(opened, campaign_id, changes, actors, environment.ray_address)
    _print_results(opened, campaign_id, as_json)


def check(
    campaign_id: CampaignId,
    store: StoreUrl = None,
    repair: Annotated[
        bool, typer.Option("--repair", help="Have what is corrupt or lost made again.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Read every shard of a campaign and hold its images against their hashes.

    Example: seedsweep check emoji-0123456789ab --repair
    """
    from scheduler.check import check_campaign
    from scheduler.check import repair as mend
    from scheduler.display import counted
    from scheduler.tables import print_checkup

    environment, opened = find(store)
    broker = find_broker(environment)
    ledger = broker.ledger if broker else None
    with counted("shards read") as progress:
        checkup = check_campaign(opened, campaign_id, ledger, progress)
    if as_json:
        print(json.dumps(dataclasses.asdict(checkup), indent=2))
    else:
        print_checkup(checkup)
    flawed = bool(checkup.corrupt or checkup.holes)
    if flawed and not repair:
        say(f"`seedsweep check {campaign_id} --repair` has them made again.")
        raise typer.Exit(1)
    if flawed:
        units = mend(opened, campaign_id, ledger, checkup)
        how = "by the running workers" if ledger else "when the campaign is run again"
        say(f"{units} units are made again {how}.")


def _plan(store: "Store", file: Path) -> "Plan":
    from scheduler.campaign import read_campaign
    from scheduler.submission import plan_campaign

    campaign, prompts = read_campaign(file)
    return plan_campaign(store, campaign, prompts)


def _submit(store: "Store", plan: "Plan") -> "Plan":
    from scheduler.restoring import load_plan
    from scheduler.submission import submit_campaign

    return load_plan(store, submit_campaign(store, plan))


def _outline(plan: "Plan") -> str:
    images = sum(map(len, plan.cuts)) * len(plan.prompts)
    return (
        f"Campaign {plan.campaign.campaign_id}: {len(plan.prompts)} prompts, {images} images, "
        f"{len(plan)} units"
    )


def _steer(campaign_id: str, url: str | None, state: "State") -> None:
    from scheduler.steering import steer

    environment, opened = find(url)
    broker = find_broker(environment)
    told = steer(opened, campaign_id, state, broker.ledger if broker else None)
    when = "now" if told else "as soon as a scheduler reads it from the store"
    say(f"The campaign {campaign_id} is {state} {when}.")


def _print_results(
    store: "Store", campaign_id: str, as_json: bool, flagged_only: bool = False
) -> None:
    from scheduler.audit import results_now
    from scheduler.tables import print_results

    found = results_now(store, campaign_id)
    if as_json:
        chosen = [result for result in found if result.flagged or not flagged_only]
        print(json.dumps([result.model_dump(mode="json") for result in chosen], indent=2))
    else:
        print_results(found)


def _report(store: "Store", campaign_id: str, folder: Path) -> Path:
    from scheduler.audit import settings_now
    from scheduler.display import counted
    from scheduler.report import write_report
    from storage.campaigns import load_campaign

    settings = settings_now(store, load_campaign(store, campaign_id))
    with counted("flagged prompts drawn") as progress:
        return write_report(store, campaign_id, settings.analysis_id, folder, progress)


def _explain_failures(store: "Store", plan: "Plan") -> bool:
    """Say which units were parked and which shards are corrupt; True if there are any."""
    from scheduler.progress import failures

    found = failures(store, plan)
    for sentence in found:
        say(sentence)
    return bool(found)
