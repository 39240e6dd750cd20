"""Prompts that are the same to the model: their pictures are the same, and show nothing new."""

from collections.abc import Collection, Sequence

from seedsweep.scheduler.campaign.plan import same_prompts
from seedsweep.storage.campaigns import load_prompts
from seedsweep.storage.records import Submission
from seedsweep.storage.store import Store


def first_ones(submission: Submission, prompts: Sequence[str]) -> dict[str, str]:
    """By the text of each of the campaign's prompts that is the same to the model as an earlier
    one, that one's text."""
    same = same_prompts(submission.campaign, submission.unseen)
    return {prompts[later]: prompts[earlier] for later, earlier in same.items()}


def same_words(store: Store, submission: Submission, texts: Collection[str]) -> tuple[str, ...]:
    """How many of these prompts of a campaign are the same as others of them, in a sentence; none
    if all differ."""
    if not same_prompts(submission.campaign, submission.unseen):
        return ()
    first = first_ones(submission, load_prompts(store, submission.campaign.campaign_id))
    again = len(texts) - len({first.get(text, text) for text in texts})
    if not again:
        return ()
    return (
        f"{again:,} of {len(texts):,} prompts are the same to the model as another one of them, "
        "so their pictures are the same. Rates count each, and so are less sure than their "
        "intervals say.",
    )
