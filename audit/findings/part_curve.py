"""How many prompts repeat so much of the picture: the curve over the size of what repeats."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from seedsweep.audit.findings.counts import has_evidence
from seedsweep.audit.findings.intervals import Rate, rate
from seedsweep.audit.findings.part_point import PartPoint
from seedsweep.storage.prompt_results import PromptResult
from seedsweep.storage.settings.analysis import Analysis


@dataclass(frozen=True, slots=True)
class CurvePoint:
    """The share of prompts that repeat at least `side` × `side` tiles, all of the picture among
    them, and that of a calibration's controls, None without one. Intervals are two-sided."""

    side: int
    prompts: Rate
    controls: Rate | None


@dataclass(frozen=True, slots=True)
class PartCurve:
    """The curve over all sides of a grid of `grid` × `grid` tiles from the least part on."""

    grid: int
    points: tuple[CurvePoint, ...]


def part_curve(
    results: Sequence[PromptResult], analysis: Analysis, calibrated: PartPoint | None
) -> PartCurve | None:
    """The curve of an analysis that looked for parts, else None; of prompts that are evidence.

    Smaller parts than the analysis takes for one are not known. Controls count if they were
    calibrated with the same grid.
    """
    if not analysis.partial:
        return None
    grid = analysis.parts.grid
    tiles = [
        most_tiles(result, grid)
        for result in results
        if has_evidence(result, analysis.min_clique_size)
    ]
    controls = calibrated.controls if calibrated and calibrated.grid == grid else None
    points = []
    for side in curve_sides(analysis):
        of_controls = None
        if controls is not None:
            of_controls = rate(int((controls >= side**2).sum()), len(controls))
        found = rate(sum(most >= side**2 for most in tiles), len(tiles))
        points.append(CurvePoint(side, found, of_controls))
    return PartCurve(grid, tuple(points))


def curve_sides(analysis: Analysis) -> range:
    """The sides of the curve of an analysis, none if it looked for no parts."""
    rule = analysis.parts
    return range(math.isqrt(rule.least - 1) + 1, rule.grid + 1) if analysis.partial else range(0)


def most_tiles(result: PromptResult, grid: int) -> int:
    """How many tiles of such a grid the prompt repeats: all if it is flagged, else those of its
    largest part, 0 without one."""
    if result.flagged:
        return grid**2
    return max((len(part.tiles) for part in result.parts), default=0)
