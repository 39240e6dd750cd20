"""How many tiles make a part, from controls and known positives, and what that number does."""

from dataclasses import dataclass
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, PlainSerializer, PlainValidator, TypeAdapter

from seedsweep.audit.findings.intervals import Rate
from seedsweep.audit.findings.operating_point import NEVER, Scores, operating_point
from seedsweep.workers.analysis.flag_threshold import STEPS

_LISTED: TypeAdapter[list[int]] = TypeAdapter(list[Annotated[int, Field(ge=0, le=1024)]])


def _listed(tiles: NDArray[np.int64]) -> list[int]:
    return [int(count) for count in tiles]


def _from_list(tiles: object) -> NDArray[np.int64]:
    return np.array(_LISTED.validate_python(tiles), dtype=np.int64)


Tiles = Annotated[NDArray[np.int64], PlainValidator(_from_list), PlainSerializer(_listed)]
"""The most tiles that make a part, of each prompt: (n,) int64, 0 if none do."""


@dataclass(frozen=True, slots=True)
class PartPoint:
    """The least number of tiles that the controls allow to be a part, and the flags that it raises.

    `least` is None if even the whole picture repeats for too many controls. `false_positives` ends
    in a one-sided upper bound, `recall` begins with a lower one: of these very prompts, counting
    each that repeats a part, or all, of the picture. `shown`: that upper bound is within the rate
    asked for. `controls` and `positives` are what it was chosen from.
    """

    grid: int
    least: int | None
    false_positives: Rate
    shown: bool
    recall: Rate
    controls: Tiles
    positives: Tiles

    @property
    def chosen(self) -> int | None:
        """The least number, if the controls show the rate: no other one is to be used."""
        return self.least if self.shown else None

    @property
    def summary(self) -> str:
        """Whether the controls show the rate, in a few words."""
        return "shown" if self.shown else f"not shown (n = {self.false_positives.n})"


def part_point(
    grid: int,
    controls: NDArray[np.int64],
    positives: NDArray[np.int64],
    groups: tuple[str, ...],
    false_positive_rate: float,
    choices: int = 1,
    lowest: int = 1,
) -> PartPoint:
    """The smallest number of tiles that the controls allow at that false-positive rate, chosen as
    `operating_point` chooses a threshold; not below the `lowest` one of which is known who repeats
    it."""
    cells = grid**2
    controls, positives = (np.where(each < lowest, 0, each) for each in (controls, positives))
    scores = Scores(_steps(controls, cells), _steps(positives, cells), groups)
    point = operating_point(scores, false_positive_rate, None, choices)
    step = 0 if point.threshold is None else round(point.threshold * STEPS)
    return PartPoint(
        grid=grid,
        least=max(lowest, cells + 1 - step) if step else None,
        false_positives=point.false_positives,
        shown=point.shown,
        recall=point.recall,
        controls=controls,
        positives=positives,
    )


def _steps(tiles: NDArray[np.int64], cells: int) -> NDArray[np.int64]:
    """Steps that flag the whole picture of so many cells first, then one tile less each."""
    return np.where(tiles > 0, np.minimum(cells + 1 - tiles, NEVER), NEVER)
