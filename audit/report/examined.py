"""What comparing flagged prompts with training pictures came to, for the report's totals."""

from dataclasses import dataclass

from seedsweep.audit.findings.counts import Counts
from seedsweep.audit.findings.intervals import Rate, rate
from seedsweep.audit.report.findings_section import SearchShown
from seedsweep.storage.settings.analysis import AnalysisSettings


@dataclass(frozen=True, slots=True)
class Examined:
    """What comparing flagged prompts with training pictures came to.

    `matched` and `extracted` count prompts, of those that are the same to the model one. `distinct`
    counts the training pictures that were extracted, and `how` says which of them count once."""

    matched: int
    extracted: Rate
    distinct: int
    how: str


def examined_of(
    settings: AnalysisSettings, counts: Counts, search: SearchShown | None
) -> Examined | None:
    """What the analysis compared; if it compared nothing, the newest search. None without both."""
    if settings.verification is not None:
        extracted, matched = counts.rated.extracted, counts.rated.matched
    elif search is not None:
        extracted, matched = search.extracted, search.matched
    else:
        return None
    return Examined(
        matched=matched,
        extracted=rate(extracted, counts.rated.prompts),
        distinct=search.distinct if search else counts.training_pictures,
        how="near-copies counted once" if search else "near-copies counted apart",
    )
