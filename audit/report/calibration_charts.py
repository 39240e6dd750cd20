"""Lines drawn to scale in a box. Pure: numbers in, geometry out.

`report_calibration.html` only draws it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from seedsweep.audit.findings.calibration import Calibration, Candidate
from seedsweep.audit.findings.part_point import PartPoint
from seedsweep.audit.findings.precision_recall import PrecisionRecall, flagged_share
from seedsweep.audit.report.axes import Tick
from seedsweep.workers.analysis.flag_threshold import STEPS, threshold_of

WIDTH, HEIGHT = 480.0, 300.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 40.0, 14.0, 24.0, 36.0
_FEWEST_STEPS = 50

Point = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Line:
    """A line's SVG points, its CSS class and what it is."""

    points: str
    kind: str
    label: str


@dataclass(frozen=True, slots=True)
class Mark:
    """A marked place: a point at x and y, or if y is None a line across at x."""

    x: float
    y: float | None
    label: str


@dataclass(frozen=True, slots=True)
class Chart:
    """What is drawn in a box from `left` to `right` and `top` to `base`; `band` is one polygon."""

    title: str
    x_label: str
    lines: tuple[Line, ...]
    band: str
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    mark: Mark | None
    width: float = WIDTH
    height: float = HEIGHT
    left: float = _LEFT
    right: float = WIDTH - _RIGHT
    top: float = _TOP
    base: float = HEIGHT - _BOTTOM


def render_precision_recall(calibration: Calibration) -> Chart | None:
    """Precision against recall, the chosen clique size with its band and the others beside it; None
    without positives."""
    chosen = calibration.chosen
    if chosen.curve is None:
        return None
    return Chart(
        title="Precision and recall",
        x_label="recall",
        lines=tuple(
            Line(
                _places(list(zip(c.curve.recall, c.curve.precision, strict=True)), 1.0),
                "chosen" if c is chosen else "other",
                f"cliques of {c.min_clique_size}",
            )
            for c in sorted(calibration.candidates, key=lambda c: c is chosen)
            if c.curve
        ),
        band=_band(chosen.curve),
        x_ticks=_ticks_x(1.0),
        y_ticks=_ticks_y(),
        mark=_operating_mark(chosen),
    )


def render_shares(calibration: Calibration) -> Chart:
    """The share of controls and of positives that each edge threshold flags, up to where all are;
    the chosen threshold is marked."""
    scores, threshold = calibration.chosen.scores, calibration.chosen.point.chosen
    reached = [s for s in (*scores.controls.tolist(), *scores.positives.tolist()) if s <= STEPS]
    last = min(STEPS, max([_FEWEST_STEPS, *reached]) + 10)
    end = threshold_of(last)
    lines = []
    for kind, flagged_at, label in (
        ("controls", scores.controls, "controls"),
        ("chosen", scores.positives, "known positives"),
    ):
        if len(flagged_at):
            steps = np.unique([0, last, *flagged_at[flagged_at <= last].tolist()])
            places = [threshold_of(step) for step in steps.tolist()]
            points = list(zip(places, flagged_share(flagged_at, steps).tolist(), strict=True))
            lines.append(Line(_places(_stairs(points), end), kind, label))
    return Chart(
        title="Share of prompts flagged at each edge threshold",
        x_label="edge threshold (tiled l2)",
        lines=tuple(lines),
        band="",
        x_ticks=_ticks_x(end),
        y_ticks=_ticks_y(),
        mark=None if threshold is None else Mark(_x(threshold, end), None, f"{threshold:g}"),
    )


def render_parts(parts: PartPoint | None) -> Chart | None:
    """The share of controls and of positives that repeat at least so much of the picture; the
    chosen least is marked. None if parts were not asked for."""
    if parts is None:
        return None
    cells = parts.grid**2
    lines = []
    for kind, tiles, label in (
        ("controls", parts.controls, "controls"),
        ("chosen", parts.positives, "known positives"),
    ):
        if len(tiles):
            shares = [float(np.mean(tiles >= least)) for least in range(1, cells + 1)]
            points = [(least / cells, share) for least, share in enumerate(shares, 1)]
            lines.append(Line(_places(points, 1.0), kind, label))
    least = parts.chosen
    return Chart(
        title="Share of prompts that repeat a part of at least this size",
        x_label=f"share of the {parts.grid} × {parts.grid} tiles",  # noqa: RUF001
        lines=tuple(lines),
        band="",
        x_ticks=_ticks_x(1.0),
        y_ticks=_ticks_y(),
        mark=None if least is None else Mark(_x(least / cells, 1.0), None, f"{least} tiles"),
    )


def _operating_mark(chosen: Candidate) -> Mark | None:
    """Where the chosen threshold lies on the curve; None if there is none, or it flags nothing."""
    recall, alarms = chosen.point.recall, chosen.point.false_positives
    if not recall.value or chosen.point.chosen is None:
        return None
    precision = recall.count / (recall.count + alarms.count)
    return Mark(_x(recall.value, 1.0), _y(precision), f"{chosen.point.chosen:g}")


def _band(curve: PrecisionRecall) -> str:
    if curve.low is None or curve.high is None:
        return ""
    above = list(zip(curve.recall, curve.high, strict=True))
    below = list(zip(curve.recall, curve.low, strict=True))
    return _places([*above, *reversed(below)], 1.0)


def _stairs(points: Sequence[Point]) -> list[Point]:
    stairs = list(points[:1])
    for (_, before), (x, y) in pairwise(points):
        stairs += [(x, before), (x, y)]
    return stairs


def _places(points: Sequence[Point], end: float) -> str:
    return " ".join(f"{_x(x, end):.1f},{_y(y):.1f}" for x, y in points)


def _x(value: float, end: float) -> float:
    return _LEFT + value / end * (WIDTH - _LEFT - _RIGHT)


def _y(share: float) -> float:
    return HEIGHT - _BOTTOM - share * (HEIGHT - _TOP - _BOTTOM)


def _ticks_x(end: float) -> tuple[Tick, ...]:
    step = next(step for step in (0.01, 0.02, 0.05, 0.1, 0.2) if end / step <= 7 or step == 0.2)
    return tuple(
        Tick(_x(k * step, end), f"{k * step:g}") for k in range(int(end / step + 1e-9) + 1)
    )


def _ticks_y() -> tuple[Tick, ...]:
    return tuple(Tick(_y(k / 4), f"{k / 4:g}") for k in range(5))
