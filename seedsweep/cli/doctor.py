"""The command that says what is wrong."""

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from seedsweep.cli.options import AsJson, StoreUrl, explain, show_json

if TYPE_CHECKING:
    from seedsweep.scheduler.doctor.diagnosis import Diagnosis


def doctor(
    file: Annotated[
        Path | None, typer.Argument(metavar="[FILE.toml]", help="A campaign, to check its model.")
    ] = None,
    store: StoreUrl = None,
    create_bucket: Annotated[
        bool, typer.Option("--create-bucket", help="Make the S3 bucket if it is missing.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Check broker, store, Ray, devices and model, and say how to mend what fails.

    Exit code 0: nothing failed; 3: a service is unreachable; 2: something else has to be mended.

    Example: seedsweep doctor examples/emoji/campaign.toml
    """
    from seedsweep.scheduler.doctor.checks import examine
    from seedsweep.scheduler.doctor.diagnosis import exit_code
    from seedsweep.scheduler.environment import Environment

    environment = Environment()
    diagnoses = []
    for diagnosis in examine(environment, store or environment.store_url, file, create_bucket):
        diagnoses.append(diagnosis)
        if not as_json:
            print_diagnosis(diagnosis)
    if as_json:
        show_json([dataclasses.asdict(diagnosis) for diagnosis in diagnoses])
    raise typer.Exit(exit_code(diagnoses))


def print_diagnosis(diagnosis: "Diagnosis") -> None:
    """Print one diagnosis, and below it how to mend what is not fine."""
    mark = {"fine": "ok", "warning": "warning", "failure": "FAILURE"}[diagnosis.verdict]
    explain(f"{mark:8} {diagnosis.about}: {diagnosis.says}", indent=9)
    if diagnosis.remedy:
        explain(f"{'':8} → {diagnosis.remedy}", indent=11)
