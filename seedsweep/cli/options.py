"""What the commands share: their arguments, and how they find store and broker."""

import json
import sys
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TextIO

import typer

from seedsweep.cli.streams import columns_of, write
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


def _complete(context: typer.Context, incomplete: str) -> list[str]:
    """The ids that a shell offers: none if the store cannot be read."""
    from seedsweep.scheduler.campaign.lookup import ids_that_begin

    try:
        return ids_that_begin(find_store(context.params.get("store")), incomplete)
    except SeedsweepError:
        return []


def campaign_argument(name: str, help_text: str) -> Any:
    """An argument that names a campaign; shells complete it."""
    return typer.Argument(metavar=name, help=help_text, autocompletion=_complete)


File = Annotated[Path, typer.Argument(metavar="FILE.toml", help="The campaign file.")]

BY_ID = "The campaign's id, a beginning of it that no other has, or its name."
CampaignId = Annotated[str, campaign_argument("ID", BY_ID)]
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
    typer.Option(
        min=-1000, max=1000, help="Campaigns with a higher number go first; a new one has 0."
    ),
]
Weight = Annotated[
    float | None,
    typer.Option(
        min=0.001,
        max=1000,
        help="Its share of the workers among campaigns of equal priority; a new one has 1.",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for scripts.")]
ActorDevice = Annotated[
    Literal["cpu", "cuda"],
    typer.Option("--device", help="Where actors compare images: on their CPU, or on Ray's GPUs."),
]
MetricsHost = Annotated[
    str,
    typer.Option(
        help="The address where metrics are served, and where Prometheus finds them; 0.0.0.0: all."
    ),
]
MetricsPort = Annotated[
    int | None,
    typer.Option(
        min=0,
        max=65535,
        show_default="the first free one",
        help="The port of the metrics; 0: no metrics.",
    ),
]
LogFormat = Annotated[
    Literal["text", "json"],
    typer.Option(help="How to log: for people, or as JSON objects, a line each."),
]


def say(text: str) -> None:
    """Print a sentence for people: stderr, at once."""
    _print_sentence(text, sys.stderr)


def show(text: str) -> None:
    """Print a line of what was asked for: stdout, at once."""
    write(f"{shown(text)}\n", sys.stdout)


def explain(text: str, indent: int = 0) -> None:
    """Print a sentence on what was asked for: stdout, at once."""
    _print_sentence(text, sys.stdout, indent)


def show_json(value: object) -> None:
    """Print a JSON value for scripts: exact, though no character in it can be obeyed."""
    text = json.dumps(value, indent=2, default=dict).replace("\x7f", r"\u007f")
    write(f"{text}\n", sys.stdout)


def exit_code(error: SeedsweepError) -> int:
    """The exit code of a command that failed with this error."""
    if isinstance(error, ConfigError | TrainingSetError | BrokerRefusesError):
        return 2
    return 3 if isinstance(error, TransientError) else 1


def _print_sentence(text: str, stream: TextIO, indent: int = 0) -> None:
    """On a terminal lines end between words; those after the first are indented."""
    lines = textwrap.wrap(
        shown(text),
        columns_of(stream),
        subsequent_indent=" " * indent,
        break_long_words=False,
        break_on_hyphens=False,
    )
    write("\n".join(lines) + "\n", stream)


def find(url: str | None) -> "tuple[Environment, Store]":
    """What the environment says, and the store that a flag or the environment names."""
    from seedsweep.scheduler.environment import Environment
    from seedsweep.storage.stores import open_store

    environment = Environment()
    return environment, open_store(url or environment.store_url)


def find_store(url: str | None) -> "Store":
    """The store that a flag or the environment names."""
    return find(url)[1]


def find_campaign(store: "Store", meant: str) -> str:
    """The id of the campaign that is meant by its id, a beginning of it or its name. Unless it was
    given whole, it is printed."""
    from seedsweep.scheduler.campaign.lookup import find_campaign as looked_up

    campaign_id = looked_up(store, meant)
    if campaign_id != meant:
        say(f"{meant} is the campaign {campaign_id}.")
    return campaign_id


def find_broker(environment: "Environment") -> "Broker | None":
    """The broker that the environment names, if it names one."""
    from seedsweep.scheduler.campaign.progress import Broker

    url = environment.broker_url
    return Broker.at(url.get_secret_value()) if url else None
