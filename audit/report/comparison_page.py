"""A comparison as one HTML page: the geometry of its picture, and the page."""

import math
from dataclasses import dataclass

from seedsweep.audit.findings.comparison import Comparison, Point
from seedsweep.audit.report.axes import Tick
from seedsweep.audit.report.html import render_template

SIDE = 420.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 48.0, 16.0, 16.0, 44.0
_LARGEST, _SMALLEST = 16.0, 3.0


@dataclass(frozen=True, slots=True)
class Circle:
    """Prompts of equal clique sizes; its area grows with their number."""

    x: float
    y: float
    radius: float
    point: Point


@dataclass(frozen=True, slots=True)
class Scatter:
    """Clique sizes of the first campaign to the right, of the second upwards, on one scale."""

    circles: tuple[Circle, ...]
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    side: float = SIDE
    left: float = _LEFT
    right: float = SIDE - _RIGHT
    top: float = _TOP
    bottom: float = SIDE - _BOTTOM


@dataclass(frozen=True, slots=True)
class ComparisonPage:
    """All that the page shows."""

    comparison: Comparison
    scatter: Scatter


def render_comparison(comparison: Comparison) -> str:
    """Render the comparison as one HTML document; every text in it is escaped."""
    return render_template("comparison.html", lay_out(comparison))


def lay_out(comparison: Comparison) -> ComparisonPage:
    """Render the clique sizes to scale."""
    return ComparisonPage(comparison, render_scatter(comparison.points))


def render_scatter(points: tuple[Point, ...]) -> Scatter:
    """Place one circle for every pair of clique sizes, the largest circles first."""
    largest = max((max(point.a, point.b) for point in points), default=0) or 1
    most = max((point.prompts for point in points), default=1)
    # Room for half a circle where cliques are 0, which most are.
    reach = SIDE - _LEFT - _RIGHT - 2 * _LARGEST
    scale = reach / largest
    circles = [
        Circle(
            x=_LEFT + _LARGEST + point.a * scale,
            y=SIDE - _BOTTOM - _LARGEST - point.b * scale,
            radius=max(_SMALLEST, _LARGEST * math.sqrt(point.prompts / most)),
            point=point,
        )
        for point in points
    ]
    step = max(1, math.ceil(largest / 5))
    sizes = range(0, largest + 1, step)
    return Scatter(
        circles=tuple(sorted(circles, key=lambda circle: -circle.radius)),
        x_ticks=tuple(Tick(_LEFT + _LARGEST + size * scale, f"{size}") for size in sizes),
        y_ticks=tuple(Tick(SIDE - _BOTTOM - _LARGEST - size * scale, f"{size}") for size in sizes),
    )
