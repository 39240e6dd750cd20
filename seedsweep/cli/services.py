"""The commands that serve: scheduler, worker and analyst, who serves, and what is wrong."""

import dataclasses
from typing import Annotated

import typer

from seedsweep.cli.options import (
    ActorDevice,
    AsJson,
    LogFormat,
    MetricsHost,
    MetricsPort,
    StoreUrl,
    find,
    show_json,
)
from seedsweep.storage.errors import ConfigError

LOOPBACK = "127.0.0.1"


def scheduler(
    store: StoreUrl = None,
    metrics_host: MetricsHost = LOOPBACK,
    metrics_port: MetricsPort = None,
    log_format: LogFormat = "text",
) -> None:
    """Feed the workers with all campaigns of the store, until SIGTERM.

    Several may run: one leads, another takes over when it is gone. The broker is
    SEEDSWEEP_BROKER_URL.

    Example: seedsweep scheduler --store file:/shared/seedsweep-data
    """
    from seedsweep.scheduler.services.log_format import log_to_stderr
    from seedsweep.scheduler.services.serve import MetricsAddress, serve_schedule

    environment, opened = find(store)
    log_to_stderr(log_format, "scheduler")
    serve_schedule(opened, environment.need_broker(), MetricsAddress(metrics_host, metrics_port))


def worker(
    store: StoreUrl = None,
    device: Annotated[
        str | None, typer.Option(help="Serve this one (cpu, cuda:0, …) in this very process.")
    ] = None,
    devices: Annotated[
        str | None,
        typer.Option(
            metavar="LIST",
            show_default="all visible",
            help="The devices that serve, by name: 0,1,3 or cuda:0,cpu.",
        ),
    ] = None,
    processes: Annotated[
        int | None,
        typer.Option(min=1, show_default="1", help="How many workers serve the CPU."),
    ] = None,
    threads: Annotated[
        int, typer.Option(min=1, help="CPU threads of torch; another number may alter pixels.")
    ] = 1,
    name: Annotated[
        str | None,
        typer.Option(
            show_default="host, device and process id", help="The name of a single worker."
        ),
    ] = None,
    metrics_host: MetricsHost = LOOPBACK,
    metrics_port: MetricsPort = None,
    log_format: LogFormat = "text",
) -> None:
    """Generate until SIGTERM, with one process for each visible device; one that dies comes back.

    SIGTERM lets all finish what they have in hand, a second one kills them. With --metrics-port P
    they take P, P+1, and so on. The broker is SEEDSWEEP_BROKER_URL.

    Example: seedsweep worker --devices 0,1
    """
    if device is None:
        options = ["--threads", str(threads), "--metrics-host", metrics_host]
        options += ["--store", store] if store else []
        options += ["--name", name] if name else []
        _supervise(store, devices, processes, options, metrics_port, log_format)
        return
    if devices is not None or processes is not None:
        raise ConfigError(
            "--device is for one worker in this very process; leave it out, or --devices and "
            "--processes."
        )
    from seedsweep.scheduler.services.log_format import log_to_stderr
    from seedsweep.scheduler.services.serve import MetricsAddress, serve_device, worker_name

    environment, opened = find(store)
    address = MetricsAddress(metrics_host, metrics_port)
    name = name or worker_name(device)
    log_to_stderr(log_format, "worker", name, f"{device} %(process)d")
    serve_device(opened, environment.need_broker(), device, threads, name, address)


def _supervise(
    store: str | None,
    names: str | None,
    processes: int | None,
    options: list[str],
    metrics_port: int | None,
    log_format: LogFormat,
) -> None:
    from seedsweep.scheduler.services.log_format import log_to_stderr
    from seedsweep.scheduler.services.supervisor import choose_devices, supervise, worker_commands

    devices = choose_devices(names, processes)
    if "--name" in options and len(devices) > 1:
        raise ConfigError(
            f"--name names one worker, but there would be {len(devices)}; leave it out, or choose "
            "one with --device."
        )
    options += ["--log-format", log_format]
    commands = worker_commands(devices, options, metrics_port)
    # What every worker would refuse is refused once, before there are any.
    find(store)[0].need_broker()
    log_to_stderr(log_format, "supervisor", prefix="supervisor")
    supervise(devices, commands)


def analyst(
    store: StoreUrl = None,
    actors: Annotated[int, typer.Option(min=1, help="Ray actors.")] = 1,
    device: ActorDevice = "cpu",
    metrics_host: MetricsHost = LOOPBACK,
    metrics_port: MetricsPort = None,
    log_format: LogFormat = "text",
) -> None:
    """Analyse the prompts of all campaigns as they become ready, until SIGTERM.

    The broker is SEEDSWEEP_BROKER_URL. If SEEDSWEEP_RAY_ADDRESS names a Ray cluster, the
    analyst works there, else on a Ray of its own on this machine.

    Example: seedsweep analyst --actors 2
    """
    from seedsweep.scheduler.services.log_format import log_to_stderr
    from seedsweep.scheduler.services.serve import MetricsAddress, serve_analysis
    from seedsweep.workers.cluster.ray_cluster import Actors

    environment, opened = find(store)
    log_to_stderr(log_format, "analyst")
    address = MetricsAddress(metrics_host, metrics_port)
    crew = Actors(actors, device, environment.ray_address)
    serve_analysis(opened, environment.need_broker(), crew, address)


def workers(as_json: AsJson = False) -> None:
    """Show the workers of a deployment, when each last showed life, and why one took itself out.

    SEEDSWEEP_BROKER_URL names the deployment's broker; `. FOLDER/env` sets it for one of
    `deploy.local`.

    Example: seedsweep workers --json
    """
    from seedsweep.cli.status_table import print_workers
    from seedsweep.scheduler.campaign.progress import Broker, read_services
    from seedsweep.scheduler.environment import Environment

    environment = Environment()
    services = read_services(Broker.at(environment.need_broker()))
    if as_json:
        shown = [{**dataclasses.asdict(sign), "alive": sign.alive} for sign in services.signs]
        show_json(shown)
    else:
        print_workers(services)
