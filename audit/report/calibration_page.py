"""A calibration as files: an HTML page that needs no other, and a fragment of a campaign file."""

import textwrap
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from seedsweep.audit.findings.calibration import Calibration
from seedsweep.audit.findings.calibration_words import (
    edge_words,
    kept_words,
    l2_words,
    part_words,
)
from seedsweep.audit.findings.intervals import Rate
from seedsweep.audit.findings.operating_point import OperatingPoint
from seedsweep.audit.findings.precision_recall import BAND
from seedsweep.audit.findings.rate_words import (
    percent_words,
    rate_words,
    share_words,
)
from seedsweep.audit.report.calibration_charts import (
    Chart,
    render_parts,
    render_precision_recall,
    render_shares,
)
from seedsweep.audit.report.html import templates, write_page
from seedsweep.scheduler.printable import shown
from seedsweep.scheduler.quantities import count_words

FRAGMENT = "calibrated.toml"


@dataclass(frozen=True, slots=True)
class CalibrationPage:
    """All that the page shows; `band` says what the band around the curve is."""

    calibration: Calibration
    charts: tuple[Chart, ...]
    band: str
    fragment: str


def write_calibration(calibration: Calibration, folder: Path) -> Path:
    """Write the page and the fragment into the folder, each whole or not at all; returns the page.

    Raises `ConfigError` if the folder cannot be written.
    """
    beside = {FRAGMENT: render_fragment(calibration)}
    return write_page(render_page(calibration), folder, beside)


def render_page(calibration: Calibration) -> str:
    """Render the page; every text in it is escaped."""
    environment = templates()
    environment.filters.update(WORDS)
    return environment.get_template("calibration.html").render(page=lay_out(calibration))


def lay_out(calibration: Calibration) -> CalibrationPage:
    """Render the curves to scale: precision and recall if there are positives, shares, and parts if
    they were asked for."""
    charts = (
        render_precision_recall(calibration),
        render_shares(calibration),
        render_parts(calibration.parts),
    )
    return CalibrationPage(
        calibration, tuple(filter(None, charts)), BAND, render_fragment(calibration)
    )


def render_fragment(calibration: Calibration) -> str:
    """The operating point as part of a campaign file, and in comments what it comes from.

    Only what the controls show is there to be read. Where nothing is chosen, the campaign's own
    values stand in comments.
    """
    chosen, own = calibration.chosen, calibration.own
    point = chosen.point
    comments = [
        f"Written by seedsweep calibrate, {calibration.written_at}, from "
        f"{calibration.campaign_id}: {count_words(calibration.controls, 'control')}, "
        f"{count_words(calibration.positives, 'known positive')} in "
        f"{count_words(calibration.groups, 'group')}, {count_words(calibration.seeds, 'seed')} "
        "each. "
        "It holds for that model, recipe and number of seeds.",
        f"False-positive rate asked for: {calibration.wish.false_positive_rate:g}, "
        f"{point.summary}.",
        *_rates(calibration.alarms(chosen), calibration.recall(chosen), "flagged"),
        *_precision(point, calibration.wish.base_rate),
        *calibration.warnings,
        *filter(None, [kept_words(calibration)]),
    ]
    analysis = ["[analysis]", f"tiles = {calibration.tiles}"]
    if point.chosen is not None:
        analysis.append(f"edge_threshold = {point.chosen}")
        analysis.append(f"min_clique_size = {chosen.min_clique_size}")
    elif own:
        analysis.append(f"edge_threshold = {own.edge_threshold}")
        analysis.append(f"min_clique_size = {own.min_clique_size}")
    lines = analysis if point.chosen is not None else [f"# {line}" for line in analysis]
    lines += ["", *_parts(calibration), *_verification(calibration)]
    return "\n".join([*_comment(comments), *lines]) + "\n"


WORDS: Final[dict[str, Callable[..., str]]] = {
    "rate_words": rate_words,
    "share_words": share_words,
    "percent_words": percent_words,
    "edge_words": edge_words,
    "l2_words": l2_words,
    "part_words": part_words,
}
"""The filters of `report_calibration.html`."""


def _parts(calibration: Calibration) -> list[str]:
    parts = calibration.parts
    if parts is None:
        return []
    about = _comment([part_words(calibration)])
    if parts.chosen is None:
        return [*about, ""]
    lines = ["[analysis.parts]", f"grid = {parts.grid}", f"least = {parts.chosen}", ""]
    return [*about, "# partial = true, in [analysis], looks for them.", *lines]


def _verification(calibration: Calibration) -> list[str]:
    point, about = calibration.verification, _comment([l2_words(calibration)])
    if point is None or point.chosen is None or not point.is_bounded:
        return about
    return [*about, "# [verification]", f"# threshold = {point.chosen}"]


def _rates(alarms: Rate, recall: Rate, what: str) -> list[str]:
    lines = [f"Controls {what}: {rate_words(alarms)}."]
    if recall.n:
        lines.append(f"Known positives {what}: {rate_words(recall)}.")
    return lines


def _precision(point: OperatingPoint, base_rate: float | None) -> list[str]:
    if point.chosen is None or not point.recall.n or base_rate is None:
        return []
    return [
        f"If {100 * base_rate:g} % of prompts are repeated, {percent_words(point.precision)} of "
        "flags are right if the rate asked for holds, "
        f"{percent_words(point.precision_worst)} at worst."
    ]


def _comment(sentences: list[str]) -> list[str]:
    return [
        line
        for sentence in sentences
        for line in textwrap.wrap(
            shown(sentence), 98, initial_indent="# ", subsequent_indent="#   "
        )
    ]
