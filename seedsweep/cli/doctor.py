"""The command that says what is wrong."""

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from seedsweep.cli.options import AsJson, StoreUrl

if TYPE_CHECKING:
    from seedsweep.scheduler.doctor.diagnosis import Finding


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
    findings = []
    for finding in examine(environment, store or environment.store_url, file, create_bucket):
        findings.append(finding)
        if not as_json:
            print_finding(finding)
    if as_json:
        print(json.dumps([dataclasses.asdict(finding) for finding in findings], indent=2))
    raise typer.Exit(exit_code(findings))


def print_finding(finding: "Finding") -> None:
    """Print one finding, and below it how to mend what is not fine."""
    mark = {"fine": "ok", "warning": "warning", "failure": "FAILURE"}[finding.verdict]
    print(f"{mark:8} {finding.about}: {finding.says}", flush=True)
    if finding.remedy:
        print(f"{'':8} → {finding.remedy}", flush=True)
