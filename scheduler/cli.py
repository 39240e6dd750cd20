"""The command line. Heavy libraries are imported where a command needs them, so help is instant."""

import sys

import typer

from scheduler import (
    calibrate_command,
    campaign_commands,
    compare_commands,
    doctor_command,
    evidence_command,
    replay_command,
    result_commands,
    service_commands,
    steering_commands,
    verify_command,
)
from scheduler.options import say
from seedsweep.storage.errors import ConfigError, SeedsweepError, TransientError

app = typer.Typer(
    name="seedsweep",
    help="Find the training images that an image-generation model has memorised.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
for command in (
    campaign_commands.run,
    campaign_commands.plan,
    campaign_commands.submit,
    campaign_commands.status,
    steering_commands.prioritise,
    steering_commands.pause,
    steering_commands.resume,
    steering_commands.cancel,
    result_commands.results,
    result_commands.report,
    result_commands.analyse,
    compare_commands.compare,
    compare_commands.duplication,
    calibrate_command.calibrate,
    verify_command.verify,
    result_commands.check,
    replay_command.replay,
    evidence_command.evidence,
    evidence_command.label,
    service_commands.scheduler,
    service_commands.worker,
    service_commands.analyst,
    service_commands.workers,
    doctor_command.doctor,
):
    app.command()(command)


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
    say(str(error))
    sys.exit(code)


if __name__ == "__main__":
    main()
