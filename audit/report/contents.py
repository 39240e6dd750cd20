"""All that the report of a campaign shows, read from its store into frozen records."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import islice

from seedsweep.audit.findings.counts import Counts, count_results, same_prompts_words
from seedsweep.audit.findings.intervals import Rate, rate
from seedsweep.audit.findings.limitations import limit_words
from seedsweep.audit.findings.match_words import earlier_words
from seedsweep.audit.findings.matched_pictures import gather_training
from seedsweep.audit.findings.memories import parts_matched
from seedsweep.audit.findings.missed import Missed, gather_missed
from seedsweep.audit.findings.part_curve import PartCurve, part_curve
from seedsweep.audit.findings.people import (
    Reviewer,
    extraction_item,
    item_of,
    refuse_strange,
    said_words,
)
from seedsweep.audit.findings.present import (
    captions_of,
    copies_of,
    extractions_of,
    no_evidence_words,
    present_search,
)
from seedsweep.audit.findings.same_prompts import first_ones
from seedsweep.audit.report.examined import Examined, examined_of
from seedsweep.audit.report.extractions_section import ExtractionsShown, gather_extractions
from seedsweep.audit.report.findings_section import Findings, gather_findings
from seedsweep.audit.report.parts_section import PartsShown, gather_parts
from seedsweep.audit.report.prompt_section import (
    PIXEL_ART_SIDE,
    PromptImages,
    PromptSection,
    gather_section,
)
from seedsweep.audit.report.unflagged_section import Unflagged, gather_unflagged
from seedsweep.scheduler.campaign.current import own_settings, parked_now, settings_now
from seedsweep.scheduler.campaign.descriptions import (
    Fact,
    analysis_words,
    change_words,
    is_small,
    recorded_facts,
    run_facts,
    verification_words,
)
from seedsweep.storage.campaigns import load_campaign, load_prompts
from seedsweep.storage.errors import ShardCorruptError
from seedsweep.storage.extractions import Extractions
from seedsweep.storage.pieces import pieces_of
from seedsweep.storage.prompt_results import PromptResult
from seedsweep.storage.records import Parked, Submission
from seedsweep.storage.results import read_results
from seedsweep.storage.settings.analysis import AnalysisSettings
from seedsweep.storage.settings.campaign import Campaign
from seedsweep.storage.store import Store
from seedsweep.storage.verification_results import VerificationResult

SECTIONS = 100
"""So many flagged prompts have a section with pictures; all of them are in the table."""
NEAREST = 10

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Flagged:
    """A flagged prompt in the ranking; `section` is None beyond the first `SECTIONS`. `said` is
    what people said of its section's two pictures, empty if nobody looked."""

    rank: int
    result: PromptResult
    section: PromptSection | None
    said: str


@dataclass(frozen=True, slots=True)
class Report:
    """All that the report shows.

    `settings_known`: `settings`, `analysis` and `verification` are those of this very analysis;
    else they are the campaign's own. `changes` says what differs between the two. `unflagged` are
    the first prompts that could be flagged and are not. `missed` is None without stages. `examined`
    is None if nothing was compared with training pictures. `no_evidence` says how many prompts
    are in no rate, and why; empty for none. `same_words`: how many are left out as the same to the
    model as others. `captions` and `copies` of matched training pictures,
    by id, are as far as a search told them.
    """

    submission: Submission
    analysis_id: str
    settings_known: bool
    own_analysis: bool
    changes: tuple[str, ...]
    settings: AnalysisSettings
    written_at: str
    counts: Counts
    small: bool
    pixel_art: bool
    run: tuple[Fact, ...]
    recorded: tuple[Fact, ...]
    analysis: tuple[str, ...]
    verification: tuple[str, ...]
    limits: tuple[str, ...]
    no_evidence: str
    same_words: tuple[str, ...]
    missed: Missed | None
    flagged_rate: Rate
    examined: Examined | None
    flagged: tuple[Flagged, ...]
    training_problem: str
    parts: PartsShown | None
    part_curve: PartCurve | None
    nearest: tuple[PromptResult, ...]
    unflagged: tuple[Unflagged, ...]
    parked: tuple[Parked, ...]
    parked_prompts: tuple[str, ...]
    parked_reasons: tuple[tuple[str, int], ...]
    findings: Findings
    reviewers: tuple[str, ...]
    extractions: ExtractionsShown | None = None
    captions: Mapping[str, str] = field(default_factory=dict)
    copies: Mapping[str, int] = field(default_factory=dict)


def gather_report(
    store: Store,
    campaign_id: str,
    analysis_id: str | None,
    progress: Progress | None = None,
    reviewers: Sequence[Reviewer] = (),
) -> Report:
    """Read all that the report shows; arguments and errors as of `write_report`."""
    submission = load_campaign(store, campaign_id)
    campaign, sampling = submission.campaign, submission.campaign.sampling
    analysis_id = analysis_id or campaign.analysis_id
    known_settings = _settings(store, submission, analysis_id)
    settings = known_settings or own_settings(store, submission)
    prompts = load_prompts(store, campaign_id)
    earlier = known_settings.earlier_ids if known_settings else ()
    results = read_results(store, analysis_id, campaign_id, earlier)
    parked = tuple(parked_now(store, submission))
    ranked = [result for result in results if result.flagged]
    search = _newest_search(store, campaign_id, settings)
    found = extractions_of(store, campaign, settings, results)
    refuse_strange(reviewers, _matched(results, search, found))
    training = gather_training(settings, sampling, ranked[:SECTIONS])

    def section(result: PromptResult) -> PromptSection:
        images = PromptImages.of(store, submission, result)
        threshold = known_settings.analysis.edge_threshold if known_settings else None
        return gather_section(images, result, training, settings.analysis.tiles, threshold)

    flagged = _rank(ranked, section, reviewers, progress)
    size = settings.analysis.min_clique_size
    first = first_ones(submission, prompts)
    counts = count_results(results, len(prompts), sampling.seeds, size, first)
    repeats = not results or any(result.flagged or result.parts for result in results)
    extractions = None
    if found:
        extractions = gather_extractions(store, submission, settings, results, found, reviewers)
    findings = gather_findings(store, campaign_id, analysis_id, known_settings, repeats, first)
    calibrated = findings.calibration.page.calibration.parts if findings.calibration else None
    return Report(
        submission=submission,
        analysis_id=analysis_id,
        settings_known=known_settings is not None,
        own_analysis=analysis_id == campaign.analysis_id,
        changes=change_words(campaign.settings, settings),
        settings=settings,
        written_at=datetime.now(UTC).isoformat(timespec="seconds"),
        counts=counts,
        small=is_small(sampling),
        pixel_art=_longest_side(campaign, results) <= PIXEL_ART_SIDE,
        run=run_facts(submission),
        recorded=recorded_facts(_provenance(store, submission, results, flagged)),
        analysis=analysis_words(settings.analysis),
        verification=verification_words(settings.verification, sampling),
        limits=(
            *limit_words(settings, sampling.seeds, campaign.is_unconditional),
            *earlier_words(results, campaign_id),
        ),
        no_evidence=no_evidence_words(store, submission, results, size),
        same_words=same_prompts_words(counts),
        missed=gather_missed(campaign, results, first),
        flagged_rate=rate(counts.rated.flagged, counts.rated.prompts),
        examined=examined_of(settings, counts, findings.search),
        flagged=flagged,
        training_problem=training.problem,
        parts=gather_parts(store, submission, analysis_id, results, search, reviewers),
        part_curve=part_curve(results, settings.analysis, calibrated) if known_settings else None,
        nearest=tuple(islice((r for r in results if not r.flagged and r.edges), NEAREST)),
        unflagged=gather_unflagged(store, submission, results, size),
        parked=parked,
        parked_prompts=tuple(
            prompts[unit.index // len(pieces_of(campaign, submission.cuts))] for unit in parked
        ),
        parked_reasons=tuple(Counter(unit.reason for unit in parked).most_common()),
        findings=findings,
        reviewers=tuple(reviewer.name for reviewer in reviewers),
        extractions=extractions,
        captions=captions_of(search),
        copies=copies_of(search),
    )


def _settings(store: Store, submission: Submission, analysis_id: str) -> AnalysisSettings | None:
    """The settings that `analysis_id` names: the campaign's own or its latest re-analysis's."""
    for settings in (own_settings(store, submission), settings_now(store, submission)):
        if settings.analysis_id == analysis_id:
            return settings
    return None


def _matched(
    results: Sequence[PromptResult], search: VerificationResult | None, found: Extractions | None
) -> frozenset[str]:
    """What people may have labelled: prompts with a match, parts with one, and extractions."""
    parts = {(result.prompt_id, part.part_id) for result in results for part in result.parts}
    whole = {result.prompt_id for result in results if result.flagged and result.match}
    of_parts = {item_of(*part) for part in parts & parts_matched(search).keys()}
    extracted = {extraction_item(each.training_id) for each in found.pictures} if found else set()
    return frozenset(whole | of_parts | extracted)


def _longest_side(campaign: Campaign, results: Sequence[PromptResult]) -> int:
    made = [campaign.of(result.settings).sampling for result in results] or [campaign.sampling]
    return max(max(sampling.width, sampling.height) for sampling in made)


def _newest_search(
    store: Store, campaign_id: str, settings: AnalysisSettings
) -> VerificationResult | None:
    """The newest search; None if it cannot be read, which the section of searches says."""
    try:
        return present_search(store, campaign_id, settings)
    except ShardCorruptError:
        return None


def _rank(
    ranked: Sequence[PromptResult],
    gather: Callable[[PromptResult], PromptSection],
    reviewers: Sequence[Reviewer],
    progress: Progress | None,
) -> tuple[Flagged, ...]:
    flagged = []
    for rank, result in enumerate(ranked, 1):
        section = gather(result) if rank <= SECTIONS else None
        if section and progress:
            progress(rank, min(len(ranked), SECTIONS))
        said = said_words(reviewers, result.prompt_id, section.shown) if section else ""
        flagged.append(Flagged(rank, result, section, said))
    return tuple(flagged)


def _provenance(
    store: Store,
    submission: Submission,
    results: Sequence[PromptResult],
    flagged: Sequence[Flagged],
) -> frozenset[tuple[str, str]]:
    """What made the pictures that the report shows, or those of one prompt if it shows none."""
    shown = frozenset[tuple[str, str]]().union(
        *(prompt.section.provenance for prompt in flagged if prompt.section)
    )
    if shown or not results:
        return shown
    images = PromptImages.of(store, submission, results[0])
    images.usable(1)
    return images.provenance()
