"""Choose control prompts: names of emoji that the model was never shown, nor told of.

    python examples/emoji/controls.py package

They are names that `pictures.py` left over, in the order of their hashes, those of truth.csv left
out. Writes controls.csv; control-pictures.parquet, with an emoji of each of the first 300; and the
prompts of campaign.toml and of paper-regime.toml with as many of the controls as controlled.toml
and paper-controlled.toml have.
"""

import csv
import hashlib
from pathlib import Path

import numpy as np
import typer
from pictures import HERE, fresh_picture, read_pictures, read_subjects, write_pictures
from truth import half_of

CAMPAIGN_CONTROLS = {"choose": 64, "report": 64}
PAPER_CONTROLS = {"choose": 52, "report": 2}
PICTURES = 300


def never_trained(package: Path) -> list[str]:
    """The names that caption no training picture, of emoji that none shows under another caption;
    none is in truth.csv."""
    with (HERE / "truth.csv").open(newline="") as file:
        known = {row["prompt"] for row in csv.DictReader(file)}
    for picture in read_pictures(HERE / "train.parquet"):
        known |= {picture.caption, picture.subject}
    names = {subject.caption for subject in read_subjects(package)} - known
    return sorted(names, key=lambda name: hashlib.sha256(name.encode()).digest())


def deal(names: list[str], counts: dict[str, int]) -> list[dict[str, str]]:
    """The first so many names of each half, as rows of a file of prompts."""
    return [
        {"prompt": name, "half": half, "copies": "0", "group": "untrained"}
        for half, count in counts.items()
        for name in [name for name in names if half_of(name) == half][:count]
    ]


def write_rows(rows: list[dict[str, str]], columns: list[str], path: Path) -> None:
    """Write these columns of the rows."""
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, columns, extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)


def write_with_controls(prompts: Path, controls: list[dict[str, str]], path: Path) -> None:
    """Write the rows of a file of prompts, and after them the controls."""
    with prompts.open(newline="") as file:
        rows = list(csv.DictReader(file))
    write_rows(rows + controls, ["prompt", "copies", "group"], path)


def write_control_pictures(names: list[str], package: Path, path: Path) -> None:
    """Write a picture of each emoji, made as the training pictures were."""
    subjects = {subject.caption: subject for subject in read_subjects(package)}
    rng = np.random.default_rng(0)
    write_pictures([fresh_picture(subjects[name], 1, "control", rng) for name in names], path)


def main(package: Path, output: Path = HERE) -> None:
    """Write the controls, pictures to verify with, and the prompts of campaigns with controls."""
    names = never_trained(package)
    controls = deal(names, CAMPAIGN_CONTROLS)
    write_rows(controls, ["prompt", "half"], output / "controls.csv")
    write_control_pictures(names[:PICTURES], package, output / "control-pictures.parquet")
    write_with_controls(HERE / "prompts.csv", controls, output / "controlled-prompts.csv")
    write_with_controls(
        HERE / "paper-prompts.csv",
        deal(names, PAPER_CONTROLS),
        output / "paper-controlled-prompts.csv",
    )
    print(f"{len(controls)} controls of {len(names)} names never trained on")


if __name__ == "__main__":
    typer.run(main)
