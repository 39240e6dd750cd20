"""What a campaign's results come to: how far they reach, and what was found."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from seedsweep.audit.findings.same_prompts import ALL_DIFFER, once
from seedsweep.storage.prompt_results import PromptResult


@dataclass(frozen=True, slots=True)
class Rated:
    """The prompts that rates are of: those that could be flagged, and of those that are the same to
    the model one, since their pictures are the same. `same` counts the others; `partial` those that
    repeat a part."""

    prompts: int
    flagged: int
    partial: int
    matched: int
    extracted: int
    same: int


@dataclass(frozen=True, slots=True)
class Counts:
    """How far the campaign has come, and what it found.

    `images` includes `excluded`, the pictures that are no evidence. `without_evidence` are prompts
    that could not be flagged: they are analysed, and in no rate. `undecided` prompts are not
    flagged, but not proven to lack a large enough clique either. `dropped` ones got few pictures,
    since a stage found nothing in these: they count as not flagged. `training_pictures` are those
    extracted, and some of `matched_pictures`. All of these count prompts that are the same to the
    model each for itself; `rated` does not.
    """

    prompts: int
    analysed: int
    images: int
    excluded: int
    fewer_seeds: int
    without_evidence: int
    flagged: int
    matched: int
    extracted: int
    training_pictures: int
    matched_pictures: int
    undecided: int
    dropped: int
    rated: Rated

    @property
    def with_evidence(self) -> int:
        """How many analysed prompts could be flagged."""
        return self.analysed - self.without_evidence


def has_evidence(result: PromptResult, min_clique_size: int) -> bool:
    """Whether the prompt could be flagged: it has as many usable pictures as a clique takes, or a
    stage dropped it on two at least, or a screen on its score.

    That nothing was found of any other prompt says nothing of it.
    """
    if result.dropped_after and result.drop and result.drop.score is not None:
        return True
    least = 2 if result.dropped_after else min_clique_size
    return result.flagged or result.usable >= least


def count_results(
    results: Sequence[PromptResult],
    prompts: int,
    seeds: int,
    min_clique_size: int,
    first: Mapping[str, str] = ALL_DIFFER,
) -> Counts:
    """Count the results of a campaign of so many prompts, with so many seeds each, where so many
    usable pictures make a clique. `first`: as of `first_ones`."""
    evidence = [result for result in results if has_evidence(result, min_clique_size)]
    flagged = [result for result in results if result.flagged]
    matches = [match for result in flagged for match in result.matches]
    return Counts(
        prompts=prompts,
        analysed=len(results),
        images=sum(result.seeds for result in results),
        excluded=sum(result.excluded for result in results),
        fewer_seeds=sum(r.seeds < seeds and not r.dropped_after for r in results),
        without_evidence=len(results) - len(evidence),
        flagged=len(flagged),
        matched=sum(bool(result.matches) for result in flagged),
        extracted=sum(result.extracted for result in flagged),
        training_pictures=len({match.training_id for match in matches if match.extracted}),
        matched_pictures=len({match.training_id for match in matches}),
        undecided=sum(not (result.flagged or result.clique_proven) for result in evidence),
        dropped=sum(result.dropped_after is not None for result in results),
        rated=_rated(evidence, first),
    )


def _rated(evidence: Sequence[PromptResult], first: Mapping[str, str]) -> Rated:
    results = once(evidence, first)
    flagged = [result for result in results if result.flagged]
    return Rated(
        prompts=len(results),
        flagged=len(flagged),
        partial=sum(result.flagged_partial for result in results),
        matched=sum(bool(result.matches) for result in flagged),
        extracted=sum(result.extracted for result in flagged),
        same=len(evidence) - len(results),
    )


def same_prompts_words(counts: Counts) -> tuple[str, ...]:
    """How many prompts rates leave out, in a sentence, if any."""
    same = counts.rated.same
    if not same:
        return ()
    are, they_are = ("is", "it is") if same == 1 else ("are", "they are")
    return (
        f"{same:,} of {counts.with_evidence:,} prompts analysed {are} the same to the model as "
        f"another one of them, with the same pictures: {they_are} in no rate.",
    )
