"""Run the whole deployment on this machine: Valkey, an S3 server, Ray, Prometheus, our services.

    python -m deploy.local up deployment --workers 2
    . deployment/env
    seedsweep submit examples/emoji/campaign.toml
    python -m deploy.local status deployment
    python -m deploy.local down deployment

FOLDER is any folder; the first `up` makes it. It holds all of the deployment: its pictures and
results, its logs (FOLDER/log), and its random passwords (FOLDER/env). `. FOLDER/env` tells the
`seedsweep` of a shell where the deployment is. All listens on 127.0.0.1 only.
"""

import argparse
import dataclasses
import json
import shutil
import sys
from pathlib import Path

from deploy.local import settings
from deploy.local.deployment import PATIENCE, State, down, status, up
from deploy.local.part import Layout
from deploy.local.servers import find_weed
from deploy.local.settings import Options, Settings, StoreKind
from seedsweep.scheduler.printable import shown
from seedsweep.storage.errors import ConfigError, SeedsweepError

FOLDER = "The deployment's folder; the first `up` makes it."


def main(words: list[str]) -> int:
    """Run the command; returns its exit code: 0 fine, 1 a part fails, 2 your input is wrong."""
    arguments = make_parser().parse_args(words)
    try:
        code: int = arguments.run(arguments)
        return code
    except KeyboardInterrupt:
        say("Broken off; what runs goes on, and the same command takes up where it was.")
        return 1
    except ConfigError as error:
        say(str(error))
        return 2
    except SeedsweepError as error:
        say(str(error))
        return 1


def say(text: str) -> None:
    """Print for people: stderr, at once."""
    print(shown(text), file=sys.stderr, flush=True)


def _up(arguments: argparse.Namespace) -> int:
    kept = up(arguments.folder, _options(arguments), say)
    print(_what_next(Layout(arguments.folder), kept))
    return 0


def _down(arguments: argparse.Namespace) -> int:
    down(arguments.folder, arguments.patience, say)
    return 0


def _status(arguments: argparse.Namespace) -> int:
    states = status(arguments.folder)
    if arguments.json:
        print(json.dumps([dataclasses.asdict(state) for state in states], indent=2))
    else:
        print(f"{'part':<11}{'state':<16}{'process':<9}{'minutes':<9}address")
        print("\n".join(map(_line, states)))
        _advise(arguments.folder, states)
    return 0 if all(state.answers for state in states) else 1


def _line(state: State) -> str:
    pid, minutes = state.pid or "-", "-" if state.seconds is None else f"{state.seconds / 60:.0f}"
    return f"{state.name:<11}{_how(state):<16}{pid:<9}{minutes:<9}{state.address}"


def _how(state: State) -> str:
    if state.answers:
        return "answers"
    if state.waits_for:
        return "waits"
    if state.left_over:
        return "unsupervised"
    return "does not answer" if state.running else "does not run"


def _advise(folder: Path, states: list[State]) -> None:
    """Say what each part waits for, and how to start what does not run."""
    for state in states:
        if state.waits_for:
            say(f"{state.name}: {state.waits_for}")
        if state.left_over:
            say(f"{state.name}: {_left_over(state)}")
    if not all(state.running for state in states):
        say(f"Start what does not run: python -m deploy.local up {folder}")


def _left_over(state: State) -> str:
    left = f"its supervisor died, and left {state.left_over} running"
    if state.name == "worker":
        return f"{left}, to finish what is in hand; `up` waits for that, and starts it again."
    return f"{left}; `up` ends that, and starts it again."


def _options(arguments: argparse.Namespace) -> Options:
    """The options of the last time, but for those given now."""
    kept = settings.load(Layout(arguments.folder).settings)
    last = kept.options if kept else Options(store=_default_store())
    if kept and arguments.store not in (None, last.store):
        raise ConfigError(
            f"The data of {arguments.folder} are in {last.store}; take another folder for "
            f"{arguments.store}."
        )
    if arguments.devices:
        # Their number was about other devices.
        last = last.model_copy(update={"workers": None})
    given = {name: getattr(arguments, name) for name in Options.model_fields}
    return last.model_copy(update={k: v for k, v in given.items() if v is not None})


def _default_store() -> StoreKind:
    return "minio" if find_weed() is None and shutil.which("minio") else "weed"


def _what_next(layout: Layout, kept: Settings) -> str:
    shown = ", ".join(str(path) for path in (layout.logs, layout.data("ray")))
    watched = f"http://127.0.0.1:{kept.ports.prometheus}"
    return "\n".join(
        [
            "",
            "In a shell that is to use it:",
            f"    . {layout.environment}",
            "    seedsweep submit CAMPAIGN.toml",
            "    seedsweep status --watch",
            *([f"Prometheus: {watched}"] if kept.options.prometheus else []),
            f"Logs:       {shown}",
            f"Stop it:    python -m deploy.local down {layout.folder}",
        ]
    )


def make_parser() -> argparse.ArgumentParser:
    """What the command line takes."""
    parser = argparse.ArgumentParser(
        prog="python -m deploy.local",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(required=True, metavar="up | status | down")
    _add_up(commands)
    stop = _add(
        commands,
        "down",
        "Stop everything, in order.",
        "Data and passwords stay, and the next `up` takes them up: a campaign that is not done "
        "goes on then.",
        "down deployment --patience 60",
    )
    stop.add_argument(
        "--patience",
        type=_seconds,
        default=PATIENCE,
        metavar="SECONDS",
        help="How long workers and analyst may finish what they have in hand; then they are "
        "killed. [default: %(default).0f]",
    )
    stop.set_defaults(run=_down)
    show = _add(
        commands,
        "status",
        "Show how each part is.",
        "The exit code is 1 if any part does not run, does not answer, or waits for another one.",
        "status deployment",
    )
    show.add_argument("--json", action="store_true", help="Print JSON for scripts.")
    show.set_defaults(run=_status)
    return parser


def _add(
    commands: "argparse._SubParsersAction[argparse.ArgumentParser]",
    name: str,
    does: str,
    more: str,
    example: str,
) -> argparse.ArgumentParser:
    """A command on a folder, whose help begins and ends like that of all."""
    command = commands.add_parser(
        name,
        help=does,
        description=f"{does} {more}",
        epilog=f"Example: python -m deploy.local {example}",
    )
    command.add_argument("folder", type=Path, metavar="FOLDER", help=FOLDER)
    return command


def _add_up(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    start = _add(
        commands,
        "up",
        "Start what does not run, on the data that the folder has.",
        "Options that you leave out are those of the last `up`; the first one has the defaults.",
        "up deployment --workers 2",
    )
    start.add_argument(
        "--workers",
        type=_count,
        metavar="N",
        help="How many workers serve the CPU. With GPUs each has one. [default: 1]",
    )
    start.add_argument(
        "--devices",
        metavar="LIST",
        help="The devices that serve, such as 0,1 or cuda:0,cpu. [default: all visible]",
    )
    start.add_argument(
        "--actors",
        type=_count,
        metavar="N",
        help="How many Ray actors compare pictures. [default: 1]",
    )
    start.add_argument(
        "--s3-server",
        dest="store",
        choices=("weed", "minio"),
        help="The program that keeps the store: SeaweedFS (weed) or MinIO; fixed by the first "
        "`up`. [default: weed if it is installed, else minio]",
    )
    start.add_argument(
        "--prometheus",
        action=argparse.BooleanOptionalAction,
        help="Have Prometheus watch the deployment, or not. [default: --prometheus]",
    )
    start.add_argument(
        "--scrape-seconds",
        type=_seconds,
        metavar="SECONDS",
        help="How long Prometheus waits between two looks. [default: 15]",
    )
    start.set_defaults(run=_up)


def _count(word: str) -> int:
    number = int(word)
    if number < 1:
        raise argparse.ArgumentTypeError("at least 1")
    return number


def _seconds(word: str) -> float:
    number = float(word)
    if not 0 < number < 1e6:
        raise argparse.ArgumentTypeError("more than 0 seconds")
    return number


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
