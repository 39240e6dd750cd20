"""Prompts that are the same to the model: their pictures are the same, and show nothing new."""

from collections.abc import Collection, Mapping, Sequence

from seedsweep.scheduler.campaign.plan import same_prompts
from seedsweep.storage.campaigns import load_prompts
from seedsweep.storage.prompt_results import PromptResult
from seedsweep.storage.records import Submission
from seedsweep.storage.store import Store


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
    """The results, in their order, with one of those whose prompts are the same by `first_ones`:
    the first prompt's, else that of the smallest id. What was found plays no part in it."""
    kept: dict[str, PromptResult] = {}
    for result in results:
        text = first.get(result.prompt, result.prompt)
        ranks = [(each.prompt != text, each.prompt_id) for each in (result, kept.get(text, result))]
        if ranks[0] <= ranks[1]:
            kept[text] = result
    return [r for r in results if kept[first.get(r.prompt, r.prompt)] is r]


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
