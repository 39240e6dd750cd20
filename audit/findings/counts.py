"""What a campaign's results come to: how far they reach, and what was found."""

from collections.abc import Sequence
from dataclasses import dataclass

from seedsweep.storage.prompt_results import PromptResult


@dataclass(frozen=True, slots=True)
class Counts:
    """How far the campaign has come, and what it found.

    `images` includes `excluded`, the pictures that are no evidence. `undecided` prompts are not
    flagged, but not proven to lack a large enough clique either. `training_pictures` are those
    extracted, and some of `matched_pictures`.
    """

    prompts: int
    analysed: int
    images: int
    excluded: int
    fewer_seeds: int
    flagged: int
    matched: int
    extracted: int
    training_pictures: int
    matched_pictures: int
    undecided: int


def count_results(results: Sequence[PromptResult], prompts: int, seeds: int) -> Counts:
    """Count the results of a campaign of so many prompts, with so many seeds each."""
    flagged = [result for result in results if result.flagged]
    matches = [match for result in flagged for match in result.matches]
    return Counts(
        prompts=prompts,
        analysed=len(results),
        images=sum(result.seeds for result in results),
        excluded=sum(result.excluded for result in results),
        fewer_seeds=sum(result.seeds < seeds for result in results),
        flagged=len(flagged),
        matched=sum(bool(result.matches) for result in flagged),
        extracted=sum(result.extracted for result in flagged),
        training_pictures=len({match.training_id for match in matches if match.extracted}),
        matched_pictures=len({match.training_id for match in matches}),
        undecided=sum(not (result.flagged or result.clique_proven) for result in results),
    )
