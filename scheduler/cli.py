"""The command line. Heavy libraries are imported where a command needs them, so help is instant."""

import dataclasses
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from storage.errors import ConfigError, SeedsweepError, TransientError

if TYPE_CHECKING:
    from scheduler.environment import Environment
    from scheduler.plan import Plan
    from storage.store import Store

app = typer.Typer(
    name="seedsweep",
    help="Find the training images that an image-generation model has memorised.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

File = Annotated[Path, typer.Argument(metavar="FILE.toml", help="The campaign file.")]
CampaignId = Annotated[str, typer.Argument(metavar="ID", help="The campaign's id.")]
StoreUrl = Annotated[
    str | None,
    typer.Option(
        "--store",
        metavar="URL",
        help="The store, file:FOLDER; else SEEDSWEEP_STORE_URL, else file:./seedsweep-data.",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for scripts.")]


@app.command()
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

    opened, plan = _plan(file, store)
    plan = _submit(opened, plan)
    campaign_id = plan.campaign.campaign_id
    images = sum(map(len, plan.cuts)) * len(plan.prompts)
    _say(
        f"Campaign {campaign_id}: {len(plan.prompts)} prompts, {images} images, "
        f"{len(plan)} units; logs in {log_folder(opened, campaign_id)}."
    )
    try:
        with Display(images).shown() as display:
            run_campaign(opened, plan, Crew.for_this_machine(workers), display.show)
    except KeyboardInterrupt:
        _say("Stopped; the same command goes on from here.")
        raise typer.Exit(130) from None
    _say(display.summary)
    _print_results(opened, campaign_id, as_json, flagged_only=True)
    page = _report(opened, campaign_id, report or Path("seedsweep-reports") / campaign_id)
    _say(f"Report: {page}")
    failed = _explain_failures(opened, plan)
    print(campaign_id)
    if failed:
        raise typer.Exit(1)


@app.command()
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

    opened, planned = _plan(file, store)
    reckoned = estimate(opened, planned, images_per_second)
    if as_json:
        print(json.dumps(dataclasses.asdict(reckoned), indent=2))
    else:
        print(reckoned)


@app.command()
def status(
    campaign_id: Annotated[str | None, typer.Argument(metavar="[ID]")] = None,
    store: StoreUrl = None,
    as_json: AsJson = False,
) -> None:
    """Show how far campaigns are, newest first.

    Example: seedsweep status --json
    """
    from scheduler.display import print_campaigns
    from scheduler.progress import read_progress
    from storage.campaigns import list_campaigns
    from storage.ledger import Ledger

    environment, opened = _open(store)
    broker = environment.broker_url
    ledger = Ledger(broker.get_secret_value()) if broker else None
    names = [campaign_id] if campaign_id else list_campaigns(opened)
    campaigns = [read_progress(opened, name, ledger) for name in names]
    if as_json:
        print(json.dumps([dataclasses.asdict(item) for item in campaigns], indent=2))
    else:
        print_campaigns(campaigns)


@app.command()
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

    _, opened = _open(store)
    if to_csv is not None:
        write_csv(results_now(opened, campaign_id), to_csv)
    _print_results(opened, campaign_id, as_json)


@app.command()
def report(
    campaign_id: CampaignId,
    output: Annotated[Path, typer.Option("-o", "--output", metavar="DIR", help="Where to write.")],
    store: StoreUrl = None,
) -> None:
    """Write the report: one HTML file with the pictures.

    Example: seedsweep report emoji-0123456789ab -o report
    """
    _, opened = _open(store)
    print(_report(opened, campaign_id, output))


@app.command()
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

    _, opened = _open(store)
    changes = Changes(edge_threshold, min_clique_size, tiles, verification_threshold)
    analyse_again(opened, campaign_id, changes, actors)
    _print_results(opened, campaign_id, as_json)


@app.command()
def worker(
    store: StoreUrl = None,
    device: Annotated[str, typer.Option(help="cpu, cuda:0, …")] = "cpu",
    threads: Annotated[
        int, typer.Option(min=1, help="CPU threads of torch; part of what fixes pixels.")
    ] = 1,
    name: Annotated[str, typer.Option(help="What the worker is called.")] = "worker",
) -> None:
    """Serve the queue on one device until SIGTERM; the broker is SEEDSWEEP_BROKER_URL.

    Example: seedsweep worker --device cuda:0
    """
    from scheduler.services import serve_device

    environment, opened = _open(store)
    serve_device(opened, environment.need_broker(), device, threads, name)


@app.command()
def analyst(
    campaign_id: CampaignId,
    store: StoreUrl = None,
    actors: Annotated[int, typer.Option(min=1, help="Ray actors.")] = 1,
) -> None:
    """Analyse a campaign's prompts as they become ready, until it is complete or SIGTERM.

    Example: seedsweep analyst emoji-0123456789ab --actors 2
    """
    from scheduler.services import serve_analysis

    environment, opened = _open(store)
    serve_analysis(opened, environment.need_broker(), campaign_id, actors)


def main() -> None:
    """Run the command line: bad input ends in one sentence and an exit code, never a traceback."""
    try:
        app()
    except ConfigError as error:
        _fail(error, 2)
    except TransientError as error:
        _fail(error, 3)
    except SeedsweepError as error:
        _fail(error, 1)


def _fail(error: SeedsweepError, code: int) -> None:
    _say(str(error))
    sys.exit(code)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _open(url: str | None) -> "tuple[Environment, Store]":
    from scheduler.environment import Environment
    from storage.store import open_store

    environment = Environment()
    return environment, open_store(url or environment.store_url)


def _plan(file: Path, store: str | None) -> "tuple[Store, Plan]":
    from scheduler.campaign import read_campaign
    from scheduler.submission import plan_campaign

    _, opened = _open(store)
    campaign, prompts = read_campaign(file)
    return opened, plan_campaign(opened, campaign, prompts)


def _submit(store: "Store", plan: "Plan") -> "Plan":
    from scheduler.dispatch import load_plan
    from scheduler.submission import submit_campaign

    return load_plan(store, submit_campaign(store, plan))


def _print_results(
    store: "Store", campaign_id: str, as_json: bool, flagged_only: bool = False
) -> None:
    from scheduler.audit import results_now
    from scheduler.display import print_results

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
        _say(sentence)
    return bool(found)


if __name__ == "__main__":
    main()
