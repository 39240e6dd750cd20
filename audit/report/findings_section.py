"""What other commands found of the analysis that a report shows, laid out for it.

`report_findings.html` only draws it.
"""

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from seedsweep.audit.findings.calibration import Calibration, scoring_id
from seedsweep.audit.findings.same_prompts import ALL_DIFFER
from seedsweep.audit.findings.saved import load_calibrations, load_comparisons, load_duplications
from seedsweep.audit.findings.shared_parts import with_second_models
from seedsweep.audit.findings.verification_summary import flagged_rate, summary
from seedsweep.audit.report import calibration_page, comparison_page, duplication_page
from seedsweep.audit.report.calibration_page import CalibrationPage
from seedsweep.audit.report.comparison_page import ComparisonPage
from seedsweep.audit.report.duplication_page import DuplicationPage
from seedsweep.storage.campaigns import load_verifications
from seedsweep.storage.errors import ShardCorruptError
from seedsweep.storage.settings.analysis import AnalysisSettings
from seedsweep.storage.store import Store
from seedsweep.storage.verification_results import VerificationResult

T = TypeVar("T")
L = TypeVar("L")


SEARCH = "search of a training set"


@dataclass(frozen=True, slots=True)
class SearchShown:
    """What the newest search of a training set came to.

    The first sentence is the headline. `matched` and `extracted` count flagged prompts, of those
    that are the same to the model one; `distinct` counts the training pictures that were extracted,
    near-copies once."""

    verified_at: str
    matched: int
    extracted: int
    distinct: int
    sentences: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class CalibrationShown:
    """The newest calibration that holds for the analysis; `relation`: how settings differ."""

    page: CalibrationPage
    relation: str


@dataclass(frozen=True, slots=True)
class Missing:
    """A kind of finding that there is none of, and the command that adds one."""

    name: str
    command: str


@dataclass(frozen=True, slots=True)
class Findings:
    """What there is of one analysis, the newest of each kind; comparisons: one with each campaign.

    `not_shown`: a sentence for each kind that is stored of other analyses too, or cannot be read.
    """

    search: SearchShown | None
    calibration: CalibrationShown | None
    duplication: DuplicationPage | None
    comparisons: tuple[ComparisonPage, ...]
    missing: tuple[Missing, ...]
    not_shown: tuple[str, ...]


def gather_findings(
    store: Store,
    campaign_id: str,
    analysis_id: str,
    settings: AnalysisSettings | None,
    repeats: bool = True,
    first: Mapping[str, str] = ALL_DIFFER,
) -> Findings:
    """Read what other commands found of an analysis.

    `settings` is None if that analysis's settings are not known; `first`: as of `first_ones`. A
    stored finding that is not as it was written is named and not shown. Raises
    `StoreUnavailableError` if the store fails.
    """
    ids = {analysis_id, *(settings.earlier_ids if settings else ())}
    sought = _Sought(store, campaign_id, frozenset(ids))
    searches = sought.read(
        SEARCH,
        "verify {} --training-set PATH",
        _load_searches,
        lambda search: search.analysis_id,
        lambda search: _search(search, first),
    )
    scoring = scoring_id(settings) if settings else None
    calibrations = sought.read(
        "calibration",
        "calibrate {} --controls FILE -o DIR",
        load_calibrations,
        lambda calibration: (
            analysis_id if calibration.scoring_id == scoring else calibration.analysis_id
        ),
        lambda calibration: _calibration(calibration, analysis_id, settings),
    )
    duplications = sought.read(
        "duplication curve",
        "duplication {} --copies FILE",
        load_duplications,
        lambda duplication: duplication.analysis_id,
        duplication_page.lay_out,
    )
    comparisons = sought.read(
        "comparison",
        "compare {} ID",
        load_comparisons,
        lambda comparison: (
            comparison.analysis_a if comparison.a == campaign_id else comparison.analysis_b
        ),
        comparison_page.lay_out,
    )
    if not repeats:
        sought.missing = [each for each in sought.missing if each.name != SEARCH]
        sought.not_shown.append(
            "No prompt repeats a picture, so there is none to search a training set for."
        )
    return Findings(
        search=next(iter(searches), None),
        calibration=next(iter(calibrations), None),
        duplication=next(iter(duplications), None),
        comparisons=tuple(comparisons),
        missing=tuple(sought.missing),
        not_shown=tuple(sought.not_shown),
    )


@dataclass
class _Sought:
    """Reads the findings of one analysis, and notes what there is none of and what is left out."""

    store: Store
    campaign_id: str
    analysis_ids: frozenset[str]
    missing: list[Missing] = field(default_factory=list)
    not_shown: list[str] = field(default_factory=list)

    def read(
        self,
        name: str,
        command: str,
        load: Callable[[Store, str], Sequence[T]],
        analysis_of: Callable[[T], str],
        lay_out: Callable[[T], L],
    ) -> list[L]:
        """The findings of one kind of this analysis, laid out, in the order they are loaded in.

        `command` has a place for the campaign's id.
        """
        try:
            findings = load(self.store, self.campaign_id)
        except ShardCorruptError as error:
            self.not_shown.append(str(error))
            return []
        shown = [each for each in findings if analysis_of(each) in self.analysis_ids]
        others = sorted({analysis_of(each) for each in findings} - self.analysis_ids)
        if not shown:
            command = f"seedsweep {command.format(self.campaign_id)}"
            self.missing.append(Missing(name, command))
        if others:
            whose = "another analysis" if len(others) == 1 else "other analyses"
            self.not_shown.append(
                f"Of {whose} ({', '.join(others)}) there is a {name} too, which is not shown."
            )
        with self._noting_what_cannot_be_drawn(name):
            return [lay_out(each) for each in shown]
        return []

    @contextlib.contextmanager
    def _noting_what_cannot_be_drawn(self, name: str) -> Iterator[None]:
        """Records may hold values of the right types that contradict one another."""
        try:
            yield
        except (ValueError, LookupError, ArithmeticError) as error:
            self.not_shown.append(
                f"A {name} is not what was written ({type(error).__name__}), and is not shown."
            )


def _load_searches(store: Store, campaign_id: str) -> list[VerificationResult]:
    searches = load_verifications(store, campaign_id)
    return [with_second_models(store, search) for search in searches]


def _search(search: VerificationResult, first: Mapping[str, str]) -> SearchShown:
    extracted = flagged_rate(search, first)
    return SearchShown(
        verified_at=search.verified_at,
        matched=extracted.n,
        extracted=extracted.count,
        distinct=len(search.groups),
        sentences=tuple(summary(search, first=first)),
    )


def _calibration(
    calibration: Calibration, analysis_id: str, settings: AnalysisSettings | None
) -> CalibrationShown:
    relations = []
    if calibration.analysis_id != analysis_id:
        relations.append(
            f"It was made under analysis {calibration.analysis_id}, which scores alike."
        )
    if settings:
        used = settings.analysis.edge_threshold, settings.analysis.min_clique_size
        if calibration.chosen.point.chosen is None:
            relations.append("It chose no threshold.")
        elif used == (calibration.chosen.point.chosen, calibration.chosen_size):
            relations.append("The results in this report are at the operating point below.")
        else:
            relations.append(
                f"The results in this report are not at the operating point below, but at edge "
                f"threshold {used[0]:g} with cliques of {used[1]} or more."
            )
    return CalibrationShown(calibration_page.lay_out(calibration), " ".join(relations))
