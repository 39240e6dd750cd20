"""The commands that make a campaign: run it here, say what it would take, hand it over."""

import dataclasses
import os
import time
from pathlib import Path
from signal import SIGINT, SIGTERM
from typing import TYPE_CHECKING, Annotated

import typer

from seedsweep.cli.options import (
    AsJson,
    File,
    Priority,
    StoreUrl,
    Weight,
    exit_code,
    explain,
    find,
    find_broker,
    find_store,
    say,
    show,
    show_json,
)
from seedsweep.cli.plans import (
    announced_plan,
    outline,
    read_plan,
    say_notes,
    say_size_remark,
    submitted,
)
from seedsweep.cli.results import find_present, print_found, render_report
from seedsweep.scheduler.quantities import duration_words
from seedsweep.storage.errors import BrokerUnavailableError, ConfigError, SeedsweepError

if TYPE_CHECKING:
    from seedsweep.scheduler.campaign.plan import Plan
    from seedsweep.scheduler.campaign.progress import Broker
    from seedsweep.storage.store import Store


def run(
    file: File,
    store: StoreUrl = None,
    workers: Annotated[
        int | None,
        typer.Option(
            min=1,
            show_default="one per visible GPU; without one, one per core",
            help="How many worker processes make pictures.",
        ),
    ] = None,
    report: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", show_default="./seedsweep-reports/ID", help="Where the report goes."
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Run a whole campaign on this machine, or go on with it where it stopped.

    With --json stdout is the JSON of the flagged prompts, and the campaign's id on the last line.

    Example: seedsweep run examples/emoji/campaign.toml --workers 2
    """
    from seedsweep.cli.progress_bars import Display
    from seedsweep.cli.store_notice import StoreNotice
    from seedsweep.scheduler.campaign.submission import require_packages
    from seedsweep.scheduler.services.local_run import Crew, Listeners, log_folder, run_campaign
    from seedsweep.scheduler.services.signals import sigterm_as_ctrl_c

    began = time.monotonic()
    environment, opened = find(store)
    planned = announced_plan(opened, file)
    require_packages(planned)
    say_notes(planned)
    plan = submitted(opened, planned)
    campaign_id = plan.campaign.campaign_id
    say(f"{outline(plan)}; logs in {log_folder(opened, campaign_id)}.")
    crew = Crew.for_this_machine(workers, environment.ray_address)
    code = 0
    try:
        with sigterm_as_ctrl_c() as terminated, Display(crew.workers).shown() as display:
            listeners = Listeners(display.show, StoreNotice(), say)
            run_campaign(opened, plan, crew, listeners)
    except KeyboardInterrupt:
        say("Stopped; the same command goes on from here.")
        raise typer.Exit(128 + (SIGTERM if terminated.is_set() else SIGINT)) from None
    except ConfigError:
        raise
    except SeedsweepError as error:
        say(f"{error} The same command goes on from here; this is what is there now.")
        code = exit_code(error)
    say(display.summary)
    if not code:
        _verify(opened, campaign_id, environment.ray_address)
    in_vain = print_found(find_present(opened, campaign_id), as_json, flagged_only=True)
    page = render_report(opened, campaign_id, report)
    say(f"All of it took {duration_words(time.monotonic() - began)}.")
    say(f"Report: {page}")
    failed = _explain_failures(opened, plan)
    show(campaign_id)
    if code or failed or in_vain:
        raise typer.Exit(code or 1)


def _verify(store: "Store", campaign_id: str, ray_address: str | None) -> None:
    """Search the campaign's training set for what it flagged, unless that is done; what stands in
    the way is said, and spares the results."""
    from seedsweep.audit.findings.verification import SearchOptions, is_verified, verify_campaign
    from seedsweep.cli.progress_bars import counted
    from seedsweep.workers.cluster.ray_cluster import Actors

    try:
        if is_verified(store, campaign_id):
            return
        say("Searching the training set for what is flagged …")
        crew = Actors(os.cpu_count() or 1, address=ray_address)
        with counted("slices searched") as progress:
            verify_campaign(store, campaign_id, SearchOptions(), crew, progress)
    except SeedsweepError as error:
        say(f"The training set was not searched: {error}")


def plan(
    file: File,
    store: StoreUrl = None,
    images_per_second: Annotated[
        float | None,
        typer.Option(
            min=1e-6, max=1_000_000, help="One device's rate, taken as given: nothing is measured."
        ),
    ] = None,
    device: Annotated[
        str | None, typer.Option(show_default="the first visible", help="Measure on cpu, cuda:0, …")
    ] = None,
    devices: Annotated[
        int | None,
        typer.Option(
            min=1,
            show_default="as many as `run` would start here; 1 with --images-per-second",
            help="How many devices will work at a time (their number, not their names), for the "
            "wall time. On a CPU, a device is one worker with one thread.",
        ),
    ] = None,
    price: Annotated[
        float | None,
        typer.Option(min=0, max=1_000_000_000, help="What a device-hour costs, in any currency."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Say what a campaign would make and take, and what of it is there already.

    Unless a rate is given, the model is loaded and makes a few images, to measure rate and bytes;
    nothing is written to the store.

    Example: seedsweep plan examples/emoji/campaign.toml --devices 100 --price 2.5
    """
    from seedsweep.cli.progress_bars import noticed
    from seedsweep.scheduler.campaign.submission import require_packages
    from seedsweep.scheduler.costs.reckoning import reckon, usual_sizes
    from seedsweep.scheduler.costs.stock import take_stock
    from seedsweep.scheduler.prompt_lists.row_counts import RowCounts
    from seedsweep.scheduler.services.local_run import Crew
    from seedsweep.workers.devices import choose_device
    from seedsweep.workers.generation.throughput import SIZED_ROUNDS, Throughput, measure

    chosen = choose_device(device)
    opened, rows = find_store(store), RowCounts()
    stock = take_stock(opened, read_plan(opened, file, rows))
    campaign, missing = stock.plan.campaign, stock.missing(SIZED_ROUNDS)
    say_size_remark(stock.plan)
    rate, sizes = None, usual_sizes(campaign.sampling, stock.plan.settings)
    if images_per_second is not None:
        rate = Throughput.given(chosen, images_per_second)
    elif missing:
        require_packages(stock.plan)
        with noticed(f"The model is loaded and measured on {chosen}") as notice:
            rate, sizes = measure(opened, campaign, missing, chosen, notice)
    here = 1 if images_per_second is not None else Crew.for_this_machine(None, None).workers
    reckoned = reckon(stock, rate, sizes, devices or here, price, rows)
    if as_json:
        show_json(dataclasses.asdict(reckoned))
    else:
        for line in reckoned.lines:
            explain(line, indent=11)


def submit(
    file: File,
    store: StoreUrl = None,
    stage_model: Annotated[
        bool, typer.Option(help="Copy the model's folder to the store, for workers on other hosts.")
    ] = False,
    priority: Priority = None,
    weight: Weight = None,
) -> None:
    """Hand a campaign to a running deployment; the same file twice is the same campaign.

    The campaign is saved in the store, where a scheduler finds it. SEEDSWEEP_STORE_URL and
    SEEDSWEEP_BROKER_URL name the deployment; `. FOLDER/env` sets them for one of `deploy.local`.

    Example: seedsweep submit examples/emoji/campaign.toml --stage-model --priority 1
    """
    from seedsweep.scheduler.campaign.control import prioritise as prioritised
    from seedsweep.storage.campaigns import load_control
    from seedsweep.workers.models.staging import stage_model as stage

    environment, opened = find(store)
    broker = find_broker(environment)
    planned = announced_plan(opened, file)
    if stage_model:
        uploaded = stage(opened, planned.campaign.model)
        say(f"The model is in the store; {uploaded / 1e6:.1f} MB of it were copied.")
    say_notes(planned)
    planned = submitted(opened, planned)
    campaign_id = planned.campaign.campaign_id
    if priority is not None or weight is not None:
        prioritised(opened, campaign_id, priority, weight)
    state = load_control(opened, campaign_id).state
    if state == "active":
        say(f"{outline(planned)}; {_who_takes_it_up(broker, opened)}")
    else:
        say(
            f"{outline(planned)}; it is {state}, and `seedsweep resume {campaign_id}` lets it go "
            "on."
        )
    show(campaign_id)


def _who_takes_it_up(broker: "Broker | None", store: "Store") -> str:
    """What happens to a campaign that was just submitted, as far as the broker tells."""
    if broker is None:
        return (
            f"it is saved in {store.url}. No scheduler is known, since SEEDSWEEP_BROKER_URL is not "
            "set: set it to ask a deployment, with `. FOLDER/env` for one of `deploy.local`. "
            "`seedsweep run` makes the pictures here."
        )
    try:
        if broker.workforce.is_led():
            return "a scheduler takes it up within seconds."
    except BrokerUnavailableError as error:
        return f"it is saved, and a scheduler takes it up once the broker answers. {error}"
    return (
        "it is saved, but no scheduler leads now; start one the way you deployed, or `seedsweep "
        "scheduler`, and it takes the campaign up."
    )


def _explain_failures(store: "Store", plan: "Plan") -> bool:
    """Say which units were parked and which shards are corrupt; True if there are any."""
    from seedsweep.scheduler.campaign.progress import failures

    sentences = failures(store, plan)
    for sentence in sentences:
        say(sentence)
    return bool(sentences)
