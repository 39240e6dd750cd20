"""A duplication curve as one HTML page: the geometry of its picture, and the page."""

from dataclasses import dataclass

from seedsweep.audit.findings.duplication import Duplication, DuplicationCurve
from seedsweep.audit.findings.intervals import Rate
from seedsweep.audit.report.axes import Tick
from seedsweep.audit.report.html import render_template

WIDTH, HEIGHT = 640.0, 280.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 48.0, 16.0, 22.0, 44.0
_APART = 8.0


@dataclass(frozen=True, slots=True)
class CurveMark:
    """One rate: its place, the ends of its interval, and what it says."""

    x: float
    y: float
    low: float
    high: float
    kind: str
    says: str


@dataclass(frozen=True, slots=True)
class CurvePicture:
    """Rates upwards from 0 to 1, bins of copies to the right; empty bins have no mark."""

    name: str
    marks: tuple[CurveMark, ...]
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    width: float = WIDTH
    height: float = HEIGHT
    left: float = _LEFT
    right: float = WIDTH - _RIGHT
    top: float = _TOP
    base: float = HEIGHT - _BOTTOM


@dataclass(frozen=True, slots=True)
class PageSection:
    """A curve, its picture, and of which prompts it is."""

    title: str
    curve: DuplicationCurve
    picture: CurvePicture


@dataclass(frozen=True, slots=True)
class DuplicationPage:
    """All that the page shows."""

    duplication: Duplication
    parts: tuple[PageSection, ...]


def render_duplication(duplication: Duplication) -> str:
    """Render the curve as one HTML document; every text in it is escaped."""
    return render_template("duplication.html", lay_out(duplication))


def lay_out(duplication: Duplication) -> DuplicationPage:
    """Render the curve to scale, and that of the sample."""
    curves = [("All prompts with known copies", "all", duplication.curve)]
    if duplication.sample:
        title = f"A random sample of {duplication.sample.drawn:,} (seed {duplication.sample.seed})"
        curves.append((title, "sample", duplication.sample.curve))
    parts = tuple(
        PageSection(title, curve, picture_of(curve, name)) for title, name, curve in curves
    )
    return DuplicationPage(duplication, parts)


def picture_of(curve: DuplicationCurve, name: str) -> CurvePicture:
    """Place the marks of a curve: flagged left of extracted."""
    step = (WIDTH - _LEFT - _RIGHT) / max(1, len(curve.bins))
    places = [_LEFT + step * (place + 0.5) for place in range(len(curve.bins))]
    marks = []
    for x, bin_ in zip(places, curve.bins, strict=True):
        for kind, rate, shift in (
            ("flagged", bin_.flagged, -_APART),
            ("extracted", bin_.extracted, _APART),
        ):
            if rate is not None and rate.value is not None:
                marks.append(_mark(x + shift, rate, kind, f"{bin_} copies, {kind}: {rate}"))
    return CurvePicture(
        name=name,
        marks=tuple(marks),
        x_ticks=tuple(Tick(x, f"{b}") for x, b in zip(places, curve.bins, strict=True)),
        y_ticks=tuple(Tick(_height(share), f"{share:g}") for share in (0, 0.25, 0.5, 0.75, 1)),
    )


def _mark(x: float, rate: Rate, kind: str, says: str) -> CurveMark:
    return CurveMark(
        x, _height(rate.value or 0.0), _height(rate.low), _height(rate.high), kind, says
    )


def _height(share: float) -> float:
    return HEIGHT - _BOTTOM - share * (HEIGHT - _TOP - _BOTTOM)
