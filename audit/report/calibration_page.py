"""A calibration as files: an HTML page that needs no other, and a fragment of a campaign file."""

import textwrap
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from seedsweep.audit.findings.calibration import Calibration
from seedsweep.audit.findings.operating_point import OperatingPoint
from seedsweep.audit.findings.part_point import PartPoint
from seedsweep.audit.findings.precision_recall import BAND
from seedsweep.audit.findings.rate_words import (
    NOT_EXAMINED,
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

    Where there is no threshold, or none for verification, its line is left out.
    """
    point, verification = calibration.chosen.point, calibration.verification
    comments = [
        f"Written by seedsweep calibrate, {calibration.written_at}, from "
        f"{calibration.campaign_id}: {count_words(calibration.controls, 'control')}, "
        f"{count_words(calibration.positives, 'known positive')} in "
        f"{count_words(calibration.groups, 'group')}, {count_words(calibration.seeds, 'seed')} "
        "each. "
        "It holds for that model, recipe and number of seeds.",
        f"False-positive rate asked for: {calibration.wish.false_positive_rate:g}, "
        f"{point.summary}.",
        *_rates(point, "flagged"),
        *_precision(point, calibration.wish.base_rate),
        *calibration.warnings,
    ]
    lines = [*_comment(comments), "[analysis]", f"tiles = {calibration.tiles}"]
    if point.threshold is None:
        lines += _comment(["No edge threshold flags so few controls."])
    else:
        lines.append(f"edge_threshold = {point.threshold}")
    lines.append(f"min_clique_size = {calibration.chosen.min_clique_size}")
    lines += ["", *_parts(calibration.parts), *_verification(verification)]
    return "\n".join(lines) + "\n"


WORDS: Final[dict[str, Callable[[Any], str]]] = {
    "rate_words": rate_words,
    "share_words": share_words,
    "percent_words": percent_words,
}
"""The filters of `report_calibration.html`."""


def _parts(parts: PartPoint | None) -> list[str]:
    if parts is None:
        return []
    about = _comment([f"Parts, {parts.summary}.", *_rates(parts, "with a part")])
    if parts.least is None:
        return [*about, *_comment(["No number of tiles is found in so few controls."]), ""]
    lines = ["[analysis.parts]", f"grid = {parts.grid}", f"least = {parts.least}", ""]
    return [*about, "# partial = true, in [analysis], looks for them.", *lines]


def _verification(point: OperatingPoint | None) -> list[str]:
    if point is None:
        return _comment([f"Verification: {NOT_EXAMINED}, since the campaign has no training set."])
    if not point.is_bounded:
        return _comment(["Verification: the controls set no threshold, see the page."])
    about = [f"Verification, {point.summary}.", *_rates(point, "extracted")]
    return [*_comment(about), "# [verification]", f"# threshold = {point.threshold}"]


def _rates(point: OperatingPoint | PartPoint, what: str) -> list[str]:
    lines = [f"Controls {what}: {rate_words(point.false_positives)}."]
    if point.recall.n:
        lines.append(f"Known positives {what}: {rate_words(point.recall)}.")
    return lines


def _precision(point: OperatingPoint, base_rate: float) -> list[str]:
    if not point.recall.n:
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
