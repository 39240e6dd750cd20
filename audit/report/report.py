"""Results → one HTML file that people can keep, print and send: it needs no other file.

The templates `report*.html` only draw what `gather_report` has read.
"""

from collections.abc import Sequence
from pathlib import Path

from seedsweep.audit.findings.match_words import agreement_words, score_words, why_not_words
from seedsweep.audit.findings.missed import missed_words
from seedsweep.audit.findings.people import Reviewer
from seedsweep.audit.findings.rate_words import NOT_EXAMINED
from seedsweep.audit.report.calibration_page import WORDS
from seedsweep.audit.report.contents import SECTIONS, Progress, Report, gather_report
from seedsweep.audit.report.extractions_section import PICTURES_SHOWN as EXTRACTIONS_SHOWN
from seedsweep.audit.report.html import templates, write_page
from seedsweep.audit.report.parts_section import PARTS_SHOWN
from seedsweep.audit.report.prompt_section import PIXEL_ART_SIDE
from seedsweep.storage.prompt_results import Match
from seedsweep.storage.store import Store

PARKED_SHOWN = 50


def write_report(
    store: Store,
    campaign_id: str,
    analysis_id: str | None,
    folder: Path,
    progress: Progress | None = None,
    reviewers: Sequence[Reviewer] = (),
) -> Path:
    """Write `folder`/index.html, whole or not at all, and return its path.

    The file needs neither the store nor a network. `analysis_id` None means the campaign's own
    analysis. `progress(done, total)` counts the flagged prompts whose pictures are gathered. If a
    picture cannot be read any more, its place says why. Raises `ConfigError` for an
    unknown campaign, a folder that cannot be written or labels that are not of this analysis,
    `ShardCorruptError` if the campaign or its results are not what was written,
    `StoreUnavailableError` if the store fails.
    """
    report = gather_report(store, campaign_id, analysis_id, progress, reviewers)
    return write_page(render_report(report), folder)


def render_report(report: Report) -> str:
    """Render the report as one HTML document; every text in it is escaped."""
    environment = templates()
    environment.filters.update(score=score_words, agreement=agreement_words, **WORDS)

    def why_not(match: Match) -> str:
        rule = report.settings.verification
        return why_not_words(match, rule.threshold, report.small) if rule else ""

    environment.filters["why_not"] = why_not
    return environment.get_template("report.html").render(
        report=report,
        campaign=report.submission.campaign,
        counts=report.counts,
        missed_words=missed_words,
        sections=SECTIONS,
        parked_shown=PARKED_SHOWN,
        parts_shown=PARTS_SHOWN,
        pixel_art_side=PIXEL_ART_SIDE,
        extractions_shown=EXTRACTIONS_SHOWN,
        not_examined=NOT_EXAMINED,
    )
