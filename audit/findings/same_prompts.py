"""Prompts that are the same to the model: their pictures are the same, and show nothing new."""

from collections.abc import Collection, Mapping, Sequence
from types import MappingProxyType

from seedsweep.scheduler.campaign.plan import same_prompts
from seedsweep.storage.campaigns import load_prompts
from seedsweep.storage.prompt_results import PromptResult
from seedsweep.storage.records import Submission, prompt_id_of
from seedsweep.storage.store import Store

ALL_DIFFER: Mapping[str, str] = MappingProxyType({})
"""No prompt is the same to the model as an earlier one, as far as is known."""


def first_ones(submission: Submission, prompts: Sequence[str]) -> dict[str, str]:
    """By the text of each of the campaign's prompts that is the same to the model as an earlier
    one, that one's text."""
    same = same_prompts(submission.campaign, submission.unseen)
    return {prompts[later]: prompts[earlier] for later, earlier in same.items()}


def stored_first_ones(store: Store, submission: Submission) -> dict[str, str]:
    """As `first_ones`; the prompts are read if some are the same."""
    if not same_prompts(submission.campaign, submission.unseen):
        return {}
    return first_ones(submission, load_prompts(store, submission.campaign.campaign_id))


def once(results: Sequence[PromptResult], first: Mapping[str, str]) -> list[PromptResult]:
    """The results, in their order, with one of those whose prompts are the same by `first_ones`, as
    `ids_once` says."""
    kept = ids_once([result.prompt_id for result in results], first)
    return [result for result in results if result.prompt_id in kept]


def ids_once(prompt_ids: Collection[str], first: Mapping[str, str]) -> frozenset[str]:
    """The prompts, by id, with one of those that are the same by `first_ones`: the first one, else
    that of the smallest id. What was found plays no part in it."""
    if not first:
        return frozenset(prompt_ids)
    first_ids = {prompt_id_of(later): prompt_id_of(one) for later, one in first.items()}
    kept: dict[str, str] = {}
    for prompt_id in sorted(prompt_ids):
        one = first_ids.get(prompt_id, prompt_id)
        if one not in kept or prompt_id == one:
            kept[one] = prompt_id
    return frozenset(kept.values())


def same_words(store: Store, submission: Submission, texts: Collection[str]) -> tuple[str, ...]:
    """How many of these prompts of a campaign are the same as others of them, in a sentence; none
    if all differ."""
    first = stored_first_ones(store, submission)
    again = len(texts) - len({first.get(text, text) for text in texts})
    if not again:
        return ()
    return (
        f"{again:,} of {len(texts):,} prompts are the same to the model as another one of them, "
        "so their pictures are the same. Rates count each, and so are less sure than their "
        "intervals say.",
    )
