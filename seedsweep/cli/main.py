"""The command line. Heavy libraries are imported where a command needs them, so help is instant."""

import contextlib
import io
import logging
import sys
from collections.abc import Callable, Iterator
from signal import SIGTERM
from typing import Annotated

import typer

from seedsweep import __version__
from seedsweep.cli import (
    calibration,
    campaigns,
    comparison,
    control,
    doctor,
    draft,
    evidence,
    replay,
    results,
    scores,
    selection,
    services,
    status,
    verification,
)
from seedsweep.cli.help_groups import Documented, Grouped, help_width
from seedsweep.cli.options import exit_code, say, show
from seedsweep.cli.streams import open_closed, write
from seedsweep.scheduler.printable import ShownFormatter
from seedsweep.scheduler.services.signals import sigterm_as_ctrl_c
from seedsweep.storage.errors import SeedsweepError

app = typer.Typer(
    name="seedsweep",
    cls=Grouped,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
GROUPS: dict[str, tuple[Callable[..., None], ...]] = {
    "Run and submit": (
        selection.select,
        draft.init,
        campaigns.run,
        campaigns.plan,
        campaigns.submit,
    ),
    "Follow and steer": (
        status.status,
        control.pause,
        control.resume,
        control.cancel,
        control.prioritise,
    ),
    "Results and evidence": (
        results.results,
        results.report,
        results.analyse,
        verification.verify,
        calibration.calibrate,
        scores.score,
        comparison.compare,
        comparison.duplication,
        results.check,
        replay.replay,
        evidence.evidence,
        evidence.label,
    ),
    "Services": (
        services.scheduler,
        services.worker,
        services.analyst,
        services.workers,
        doctor.doctor,
    ),
}
for group, commands in GROUPS.items():
    for command in commands:
        app.command(cls=Documented, rich_help_panel=group)(command)


def _print_version(is_wanted: bool) -> None:
    if is_wanted:
        show(f"seedsweep {__version__}")
        raise typer.Exit


@app.callback()
def seedsweep(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version, and end."
        ),
    ] = False,
) -> None:
    """Find the training images that an image-generation model has memorised.

    `run` does all of it on this machine; a deployment has services, to which `submit` hands
    campaigns. A campaign is named by its id, a beginning of it, or its name.

    Example: seedsweep run examples/emoji/campaign.toml
    """


@contextlib.contextmanager
def _help_written() -> Iterator[None]:
    """Refuse a stdout that fails for help too, which Typer writes.

    Raises `ConfigError` if stdout fails.
    """
    try:
        yield
    except OSError:
        write("", sys.stdout)
        raise


@contextlib.contextmanager
def _sigterm_told() -> Iterator[None]:
    """End what SIGTERM ends as Ctrl-C would, but in a sentence and with exit code 143, whatever the
    command made of it; one that answers it itself ends as it will."""
    with sigterm_as_ctrl_c() as terminated:
        try:
            yield
        except BaseException:
            if not terminated.is_set():
                raise
            say("Stopped by SIGTERM before it was done; give the same command again.")
            sys.exit(128 + SIGTERM)


def main() -> None:
    """Run the command line: bad input ends in one sentence and an exit code, never a traceback."""
    open_closed()
    if isinstance(sys.stdout, io.TextIOWrapper):
        # What the terminal's encoding lacks is written as an escape, not refused.
        sys.stdout.reconfigure(errors="backslashreplace")
    if logging.lastResort is not None:
        logging.lastResort.setFormatter(ShownFormatter())
    try:
        with _sigterm_told(), _help_written():
            app(prog_name="seedsweep", terminal_width=help_width(sys.stdout))
    except SeedsweepError as error:
        say(str(error))
        sys.exit(exit_code(error))
