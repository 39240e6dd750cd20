"""What the commands share: their arguments, and how they find store and broker."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from seedsweep.scheduler.printable import shown
from seedsweep.storage.errors import (
    BrokerRefusesError,
    ConfigError,
    SeedsweepError,
    TrainingSetError,
    TransientError,
)

if TYPE_CHECKING:
    from seedsweep.scheduler.campaign.progress import Broker
    from seedsweep.scheduler.environment import Environment
    from seedsweep.storage.store import Store

File = Annotated[Path, typer.Argument(metavar="FILE.toml", help="The campaign file.")]
CampaignId = Annotated[str, typer.Argument(metavar="ID", help="The campaign's id.")]
StoreUrl = Annotated[
    str | None,
    typer.Option(
        "--store",
        metavar="URL",
        help="file:FOLDER, s3://BUCKET/PREFIX?endpoint=URL, gs://BUCKET/PREFIX or "
        "az://CONTAINER/PREFIX; else SEEDSWEEP_STORE_URL, else file:./seedsweep-data.",
    ),
]
Priority = Annotated[
    int | None,
    typer.Option(min=-1000, max=1000, help="Campaigns of a higher one go first; 0 at first."),
]
Weight = Annotated[
    float | None,
    typer.Option(min=0.001, max=1000, help="Its share beside others of its priority; 1 at first."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for scripts.")]
ActorDevice = Annotated[
    Literal["cpu", "cuda"],
    typer.Option("--device", help="Where actors compare images: on their CPU, or on Ray's GPUs."),
]
MetricsHost = Annotated[
    str,
    typer.Option(
        help="The address that metrics are served on, and found at; 0.0.0.0: all of them."
    ),
]
MetricsPort = Annotated[
    int | None,
    typer.Option(min=0, max=65535, help="Their port; the service's first free one, 0 for none."),
]
LogFormat = Annotated[
    Literal["text", "json"],
    typer.Option(help="How to log: for people, or as JSON objects, a line each."),
]


def say(text: str) -> None:
    """Print a line for people: stderr, at once."""
    print(shown(text), file=sys.stderr, flush=True)


def show(text: str) -> None:
    """Print a line of what was asked for: stdout, at once."""
    print(shown(text), flush=True)


def show_json(value: object) -> None:
    """Print a JSON value for scripts: exact, though no character in it can be obeyed."""
    print(json.dumps(value, indent=2, default=dict).replace("\x7f", r"\u007f"), flush=True)


def exit_code(error: SeedsweepError) -> int:
    """What a command that fails so ends with."""
    if isinstance(error, ConfigError | TrainingSetError | BrokerRefusesError):
        return 2
    return 3 if isinstance(error, TransientError) else 1


def find(url: str | None) -> "tuple[Environment, Store]":
    """What the environment says, and the store that a flag or the environment names."""
    from seedsweep.scheduler.environment import Environment
    from seedsweep.storage.stores import open_store

    environment = Environment()
    return environment, open_store(url or environment.store_url)


def find_store(url: str | None) -> "Store":
    """The store that a flag or the environment names."""
    return find(url)[1]


def find_broker(environment: "Environment") -> "Broker | None":
    """The broker that the environment names, if it names one."""
    from seedsweep.scheduler.campaign.progress import Broker

    url = environment.broker_url
    return Broker.at(url.get_secret_value()) if url else None
