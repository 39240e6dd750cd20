"""Run the whole deployment on this machine: Valkey, S3, Ray, Prometheus and our services.

    python -m deploy.local up FOLDER [--workers N] [--devices LIST] [--actors N] [--no-prometheus]
    python -m deploy.local status FOLDER [--json]
    python -m deploy.local down FOLDER [--patience SECONDS]

`up` starts what does not run, on the data that the folder has; options that are left out are those
of the last time. Everything listens on 127.0.0.1 only. `. FOLDER/env` has a shell's `seedsweep`
find it; that file, made on the first `up`, holds its random passwords.
"""

import argparse
import dataclasses
import json
import shutil
import sys
from pathlib import Path

from deploy.local import settings
from deploy.local.deployment import State, down, status, up
from deploy.local.part import Layout
from deploy.local.servers import find_weed
from deploy.local.settings import Options, Settings, StoreKind
from seedsweep.scheduler.printable import shown
from seedsweep.storage.errors import ConfigError, SeedsweepError

PATIENCE = 900.0


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
    return "does not answer" if state.running else "does not run"


def _advise(folder: Path, states: list[State]) -> None:
    """Say what each part waits for, and how to start what does not run."""
    for state in states:
        if state.waits_for:
            say(f"{state.name}: {state.waits_for}")
    if not all(state.running for state in states):
        say(f"Start what does not run: python -m deploy.local up {folder}")


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
    commands = parser.add_subparsers(required=True)
    _add_up(commands.add_parser("up", help="start what does not run"))
    stop = commands.add_parser("down", help="stop everything, in order")
    stop.add_argument(
        "--patience",
        type=_seconds,
        default=PATIENCE,
        help="seconds that workers and analyst have for what is in hand, then they are killed; 900",
    )
    show = commands.add_parser(
        "status", help="how each part is; exit code 1 if any waits or does not answer"
    )
    show.add_argument("--json", action="store_true", help="for scripts")
    for name, command, run in (("down", stop, _down), ("status", show, _status)):
        command.add_argument("folder", type=Path, metavar="FOLDER")
        command.set_defaults(run=run, name=name)
    return parser


def _add_up(start: argparse.ArgumentParser) -> None:
    start.add_argument("folder", type=Path, metavar="FOLDER")
    start.add_argument("--workers", type=_count, help="on the CPU so many; one")
    start.add_argument("--devices", metavar="LIST", help="as of `seedsweep worker`; all visible")
    start.add_argument("--actors", type=_count, help="Ray actors of the analyst; one")
    start.add_argument("--store", choices=("weed", "minio"), help="SeaweedFS if it is installed")
    start.add_argument(
        "--prometheus", action=argparse.BooleanOptionalAction, help="watch it, which is so at first"
    )
    start.add_argument(
        "--scrape-seconds", type=_seconds, help="between two looks of Prometheus; 15"
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
