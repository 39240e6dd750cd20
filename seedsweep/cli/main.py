"""The command line. Heavy libraries are imported where a command needs them, so help is instant."""

import io
import logging
import sys
from typing import Annotated

import typer

from seedsweep import __version__
from seedsweep.cli import (
    calibration,
    campaigns,
    comparison,
    control,
    doctor,
    evidence,
    replay,
    results,
    services,
    verification,
)
from seedsweep.cli.options import say
from seedsweep.scheduler.printable import ShownFormatter
from seedsweep.storage.errors import (
    BrokerRefusesError,
    ConfigError,
    SeedsweepError,
    TrainingSetError,
    TransientError,
)

app = typer.Typer(
    name="seedsweep",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
for command in (
    campaigns.run,
    campaigns.plan,
    campaigns.submit,
    campaigns.status,
    control.prioritise,
    control.pause,
    control.resume,
    control.cancel,
    results.results,
    results.report,
    results.analyse,
    comparison.compare,
    comparison.duplication,
    calibration.calibrate,
    verification.verify,
    results.check,
    replay.replay,
    evidence.evidence,
    evidence.label,
    services.scheduler,
    services.worker,
    services.analyst,
    services.workers,
    doctor.doctor,
):
    app.command()(command)


def _print_version(is_wanted: bool) -> None:
    if is_wanted:
        print(f"seedsweep {__version__}")
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
    """Find the training images that an image-generation model has memorised."""


def main() -> None:
    """Run the command line: bad input ends in one sentence and an exit code, never a traceback."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        # What the terminal's encoding lacks is written as an escape, not refused.
        sys.stdout.reconfigure(errors="backslashreplace")
    if logging.lastResort is not None:
        logging.lastResort.setFormatter(ShownFormatter())
    try:
        app(prog_name="seedsweep")
    except (ConfigError, TrainingSetError, BrokerRefusesError) as error:
        _fail(error, 2)
    except TransientError as error:
        _fail(error, 3)
    except SeedsweepError as error:
        _fail(error, 1)


def _fail(error: SeedsweepError, code: int) -> None:
    say(str(error))
    sys.exit(code)
