"""truth.csv and controls.csv read: what is known of each prompt."""

import csv
from dataclasses import dataclass
from pathlib import Path

from seedsweep.audit.findings.intervals import rate

LEAST = 0.01
"""The true rate above which a flag is right."""


@dataclass(frozen=True)
class Truth:
    """What is known of a prompt: `repeats` of `seeds` repeat one training picture, and
    `part_repeats` the part that the caption's pictures have in common, `part_share` of the picture;
    `half` is that of a control, None for a planted prompt."""

    group: str
    copies: int
    repeats: int = 0
    seeds: int = 0
    half: str | None = None
    part_repeats: int = 0
    part_share: float = 0.0

    @property
    def rate(self) -> float:
        return self.repeats / self.seeds if self.seeds else 0.0

    @property
    def part_rate(self) -> float:
        return self.part_repeats / self.seeds if self.seeds else 0.0

    @property
    def is_right(self) -> bool:
        return rate(self.repeats, self.seeds, side="lower").low >= LEAST


def read_truth(measured: Path, controls: Path) -> dict[str, Truth]:
    """Read the controls, and what was measured of them and of all planted prompts."""
    truth: dict[str, Truth] = {}
    with controls.open(newline="") as file:
        for row in csv.DictReader(file):
            truth[row["prompt"]] = Truth(row["group"], int(row["copies"]), half=row["half"])
    with measured.open(newline="") as file:
        for row in csv.DictReader(file):
            half = truth[row["prompt"]].half if row["prompt"] in truth else None
            counts = (int(row[name]) for name in ("copies", "repeats", "seeds"))
            part = int(row.get("part_repeats", 0)), float(row.get("part_share", 0))
            truth[row["prompt"]] = Truth(row["group"], *counts, half, *part)
    return truth
