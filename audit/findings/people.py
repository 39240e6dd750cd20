"""What people said of flagged prompts and their training pictures, prompt by prompt."""

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass

from seedsweep.storage.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Reviewer:
    """One person's labels by prompt id, and the digests of the two pictures that each is of, none
    in files of earlier versions."""

    name: str
    labels: Mapping[str, str]
    seen: Mapping[str, tuple[str, str]]


def refuse_strange(reviewers: Sequence[Reviewer], matched: Set[str]) -> None:
    """Raise `ConfigError` for one reviewer twice, and for labels of prompts without a match."""
    if len({reviewer.name for reviewer in reviewers}) < len(reviewers):
        raise ConfigError("Two files of labels are one reviewer's; give each reviewer once.")
    if stray := sorted({name for each in reviewers for name in each.labels} - matched):
        raise ConfigError(
            f"The labels are of another campaign or analysis: {stray[0]} is no prompt with a match."
        )


def said_words(reviewers: Sequence[Reviewer], prompt_id: str, shown: tuple[str, str]) -> str:
    """How many called the prompt's two pictures the same; empty if nobody labelled them.

    Confirmed is what every one of at least two reviewers called the same. `shown`: the digests of
    the pictures, empty if one is not known. Raises `ConfigError` for a label of other pictures.
    """
    looked = [reviewer for reviewer in reviewers if prompt_id in reviewer.labels]
    for reviewer in looked:
        seen = reviewer.seen.get(prompt_id, shown)
        if any(a and b and a != b for a, b in zip(seen, shown, strict=True)):
            raise ConfigError(
                f"The labels of {reviewer.name} are of other pictures than this analysis shows "
                f"({prompt_id}); have them label a bundle of this one."
            )
    same = sum(reviewer.labels[prompt_id] == "same" for reviewer in looked)
    if len(reviewers) >= 2 and same == len(reviewers):
        return f"confirmed {same}/{same}"
    return f"called the same {same}/{len(looked)}" if looked else ""
