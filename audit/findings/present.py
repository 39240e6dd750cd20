"""What a campaign's analysis found, as commands tell it: results, counts, and what to know."""

from collections import Counter
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field

from seedsweep.audit.findings.counts import (
    Counts,
    count_results,
    has_evidence,
    same_prompts_words,
)
from seedsweep.audit.findings.match_words import earlier_words
from seedsweep.audit.findings.memories import Memory, memories, parts_matched
from seedsweep.audit.findings.missed import stage_words
from seedsweep.audit.findings.rate_words import NOT_EXAMINED
from seedsweep.audit.findings.same_prompts import first_ones
from seedsweep.audit.findings.shared_parts import with_second_models
from seedsweep.audit.findings.verification_summary import summary
from seedsweep.scheduler.campaign.descriptions import change_words
from seedsweep.storage.campaigns import (
    load_control,
    load_prompts,
    load_settings,
    load_verifications,
)
from seedsweep.storage.errors import ShardCorruptError
from seedsweep.storage.extractions import Extractions, read_extractions
from seedsweep.storage.prompt_results import PromptResult
from seedsweep.storage.records import Submission, Unseen
from seedsweep.storage.results import results_by
from seedsweep.storage.settings.analysis import AnalysisSettings
from seedsweep.storage.settings.campaign import Campaign
from seedsweep.storage.store import Store
from seedsweep.storage.verification_results import PartMatch, VerificationResult
from seedsweep.workers.analysts.stored_prompt import read_prompt

PROMPT_LENGTH = 80


@dataclass(frozen=True, slots=True)
class Found:
    """What one analysis of a campaign found, best first; prompts with fewer usable pictures than
    `min_clique_size` are no evidence.

    `captions` and `copies`: of matched training pictures, by id, as far as the newest search of a
    training set read the former; the latter counts near-copies. `of_parts`: what that search
    matched with parts, by prompt and part.
    `cut`: the prompts whose ends the model does not read, None if nobody looked. `same_as`: of
    prompts that are the same to the model as an earlier one, that one. `added`: of prompts whose
    list of seeds was filled up with the campaign's, these. `notes` say in sentences what that
    search came to, `no_evidence` how many prompts are none and why, `trouble` why it is not known
    what a search found; both may be empty. `extractions`: what the generations of a campaign
    without prompts extract, None if nothing was compared.
    """

    campaign_id: str
    analysis_id: str
    results: tuple[PromptResult, ...]
    min_clique_size: int
    counts: Counts
    captions: Mapping[str, str]
    of_parts: Mapping[tuple[str, str], PartMatch]
    cut: frozenset[str] | None
    same_as: Mapping[str, str]
    added: Mapping[str, tuple[int, ...]]
    notes: tuple[str, ...]
    no_evidence: str
    trouble: str
    extractions: Extractions | None = None
    copies: Mapping[str, int] = field(default_factory=dict)

    def memories_of(self, result: PromptResult) -> tuple[Memory, ...]:
        """What one of the results' prompts repeats: whole pictures, then parts."""
        return memories(result, self.analysis_id, self.campaign_id, self.of_parts)

    @property
    def nothing_is_evidence(self) -> bool:
        """Whether prompts were analysed, and none of them could have been flagged."""
        return bool(self.results) and not self.counts.with_evidence


def gather_found(store: Store, submission: Submission, settings: AnalysisSettings) -> Found:
    """Read what the analysis with these settings found.

    Raises `ShardCorruptError` if its results are not what was written.
    """
    campaign = submission.campaign
    results = results_by(store, settings, campaign.campaign_id)
    size = settings.analysis.min_clique_size
    search, trouble = None, ""
    try:
        search = present_search(store, campaign.campaign_id, settings)
    except ShardCorruptError as error:
        trouble = str(error)
    earlier = earlier_words(results, campaign.campaign_id)
    extractions = extractions_of(store, campaign, settings, results)
    unseen = submission.unseen or Unseen()
    named = unseen.cut or unseen.same
    prompts = load_prompts(store, campaign.campaign_id) if named else ()
    cut = frozenset(prompts[index] for index in unseen.cut)
    same_as = first_ones(submission, prompts)
    seeds = campaign.sampling.seeds
    counts = count_results(results, campaign.prompt_count, seeds, size, same_as)
    return Found(
        campaign_id=campaign.campaign_id,
        analysis_id=settings.analysis_id,
        results=tuple(results),
        min_clique_size=size,
        counts=counts,
        captions=captions_of(search),
        of_parts=parts_matched(search),
        cut=None if submission.unseen is None else cut,
        same_as=same_as,
        added=_added(store, campaign),
        notes=(
            *earlier,
            # Of a search's cliques alone less would be told than of every generation.
            *(
                ()
                if trouble or extractions
                else _notes(campaign, search, counts, same_as, not earlier)
            ),
            *(() if extractions else _compared(settings, counts, search, campaign.campaign_id)),
            *_judged_otherwise(campaign, settings),
            *_rest_words(store, campaign.campaign_id, counts),
            *stage_words(campaign, results, same_as),
            *same_prompts_words(counts),
            *submission.notes,
            *_unseen_words([r.prompt for r in results if r.flagged], cut, same_as),
        ),
        no_evidence=no_evidence_words(store, submission, results, size),
        trouble=trouble,
        extractions=extractions,
        copies=copies_of(search),
    )


def _added(store: Store, campaign: Campaign) -> dict[str, tuple[int, ...]]:
    if campaign.own_columns.seeds is None:
        return {}
    settings = load_settings(store, campaign.campaign_id)
    return {text: own.added for text, own in settings.items() if own.added}


def extractions_of(
    store: Store, campaign: Campaign, settings: AnalysisSettings, results: Sequence[PromptResult]
) -> Extractions | None:
    """What the generations of these results extract, if the campaign has no prompts and they were
    compared. Raises `ShardCorruptError` if it is not what was written."""
    if not campaign.is_unconditional or not results or settings.verification is None:
        return None
    found = read_extractions(store, settings.analysis_id, campaign.campaign_id)
    return found if found and found.seeds_digest == results[0].seeds_digest else None


def newest_search(
    store: Store, campaign_id: str, settings: AnalysisSettings
) -> VerificationResult | None:
    """What the newest search for the analysis found; None if there is none."""
    ids = {settings.analysis_id, *settings.earlier_ids}
    searches = load_verifications(store, campaign_id)
    return next((search for search in searches if search.analysis_id in ids), None)


def present_search(
    store: Store, campaign_id: str, settings: AnalysisSettings
) -> VerificationResult | None:
    """The newest search for the analysis, and what second models show of its parts."""
    search = newest_search(store, campaign_id, settings)
    return search and with_second_models(store, search)


def no_evidence_words(
    store: Store, submission: Submission, results: Sequence[PromptResult], min_clique_size: int
) -> str:
    """How many prompts are no evidence, and why, told of the first of them; empty if all are.

    Reads what is stored of that one.
    """
    without = [result for result in results if not has_evidence(result, min_clique_size)]
    if not without:
        return ""
    first = without[0]
    text = first.prompt if len(first.prompt) <= PROMPT_LENGTH else f"{first.prompt[:79]}…"
    planned = submission.campaign.sampling.seeds
    images = read_prompt(store, submission.of(first.settings), first.prompt).images
    flaws = Counter(str(image.flaw) for image in images if image.flaw)
    flaws["not there"] = planned - first.seeds
    why = ", ".join(f"{count:,} {flaw}" for flaw, count in flaws.items() if count > 0)
    told = f" The first is {text!r}: of its {planned:,} pictures {why}." if why else ""
    return (
        f"{len(without):,} of {len(results):,} prompts analysed are no evidence, and in no rate: "
        f"fewer than {min_clique_size} of their pictures are usable, so they could not be flagged."
        f"{told}"
    )


def _notes(
    campaign: Campaign,
    search: VerificationResult | None,
    counts: Counts,
    same_as: Mapping[str, str],
    earlier: bool,
) -> tuple[str, ...]:
    if search:
        return tuple(summary(search, earlier, same_as))
    if counts.matched or not counts.flagged:
        return ()
    remedy = f"`seedsweep verify {campaign.campaign_id} --training-set PATH` does that"
    if campaign.is_unconditional:
        remedy = "name the set in [verification], and submit the file again"
    return (
        f"Matched and extracted: {NOT_EXAMINED}, since nothing was compared with training "
        f"pictures; {remedy}.",
    )


def _compared(
    settings: AnalysisSettings, counts: Counts, search: VerificationResult | None, campaign_id: str
) -> tuple[str, ...]:
    """With what the analysis itself compared, and what a search would add to that."""
    training = settings.verification
    if counts.with_evidence and not counts.flagged:
        sought = f", so there was none to look for in {training.training_set}" if training else ""
        return (
            f"No prompt repeats a whole picture at edge threshold "
            f"{settings.analysis.edge_threshold:g}{sought}. That clears nothing: "
            f"`seedsweep analyse {campaign_id} --edge-threshold X` tries another one, and "
            "docs/calibrate.md says how to choose it.",
        )
    if search or training is None or not counts.matched:
        return ()
    return (
        f"Compared with {training.training_set}. Captions, near-copies, parts and totals of this "
        f"analysis need `seedsweep verify {campaign_id}`.",
    )


def _rest_words(store: Store, campaign_id: str, counts: Counts) -> tuple[str, ...]:
    """That nothing more comes of a campaign whose prompts are not all analysed, if it rests."""
    state = load_control(store, campaign_id).state
    if counts.analysed == counts.prompts or state == "active":
        return ()
    return (f"The campaign is {state}; `seedsweep resume {campaign_id}` lets it go on.",)


def _judged_otherwise(campaign: Campaign, settings: AnalysisSettings) -> tuple[str, ...]:
    changes = ", ".join(change_words(campaign.settings, settings))
    return (
        (
            f"Judged by other settings than the campaign file's: {changes}. `seedsweep analyse "
            f"{campaign.campaign_id}` without options judges by the file again.",
        )
        if changes
        else ()
    )


def _unseen_words(
    flagged: Sequence[str], cut: Set[str], same_as: Mapping[str, str]
) -> tuple[str, ...]:
    """How many of the flagged prompts the model does not see whole, or apart from one another."""
    texts = set(flagged)
    again = sum(same_as.get(text) in texts for text in texts)
    said = []
    if texts & cut:
        count = f"{len(texts & cut):,} of {len(texts):,}"
        said.append(f"{count} flagged prompts are cut: the model does not read their ends.")
    if again:
        said.append(
            f"{again:,} of {len(texts):,} flagged prompts are the same to the model as an earlier "
            "flagged one: their pictures are the same, and no find of their own."
        )
    return tuple(said)


def copies_of(search: VerificationResult | None) -> dict[str, int]:
    """How many near-copies each matched training picture has, by id."""
    cliques = search.cliques if search else ()
    return {clique.match.training_id: clique.copies for clique in cliques}


def captions_of(search: VerificationResult | None) -> dict[str, str]:
    """The captions of matched training pictures that have one, by id."""
    cliques = search.cliques if search else ()
    return {clique.match.training_id: clique.caption for clique in cliques if clique.caption}
