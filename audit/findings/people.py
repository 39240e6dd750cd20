"""What people said of what prompts repeat and of training pictures, item by item.

An item is a prompt's whole picture, by the prompt's id, or a part of it, as of `item_of`; or, of a
campaign without prompts, a training picture that generations extract, as of `extraction_item`."""

import hashlib
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass

from seedsweep.storage.errors import ConfigError
from seedsweep.storage.records import prompt_id_of


def item_of(prompt_id: str, part_id: str = "") -> str:
    """Names what people label: a prompt's whole picture by the prompt's id alone, a part of it by
    both ids."""
    return f"{prompt_id}/{part_id}" if part_id else prompt_id


def picture_id(training_id: str) -> str:
    """Names a training picture in labels and in names of files."""
    return hashlib.sha256(training_id.encode()).hexdigest()[:16]


def extraction_item(training_id: str) -> str:
    """Names what people label of a campaign without prompts: the best generation that extracts a
    training picture, and that. It has the form of a part's name; such campaigns have no parts."""
    return item_of(prompt_id_of(""), picture_id(training_id))


def has_two_ids(item: str) -> bool:
    """Whether it names a part or an extraction, and no prompt's whole picture."""
    return "/" in item


@dataclass(frozen=True, slots=True)
class Reviewer:
    """One person's labels by item, and the digests of the two pictures that each is of, none
    in files of earlier versions."""

    name: str
    labels: Mapping[str, str]
    seen: Mapping[str, tuple[str, str]]


def refuse_strange(reviewers: Sequence[Reviewer], matched: Set[str]) -> None:
    """Raise `ConfigError` for one reviewer twice, and for labels of items without a match."""
    if len({reviewer.name for reviewer in reviewers}) < len(reviewers):
        raise ConfigError("Two files of labels are one reviewer's; give each reviewer once.")
    if stray := sorted({name for each in reviewers for name in each.labels} - matched):
        raise ConfigError(
            f"The labels are of another campaign or analysis: {stray[0]} is no prompt and "
            "no part with a match, and no extraction."
        )


def said_words(reviewers: Sequence[Reviewer], item: str, shown: tuple[str, str]) -> str:
    """How many called the item's two pictures the same; empty if nobody labelled them.

    Confirmed is what every one of at least two reviewers called the same. `shown`: the digests of
    the pictures, empty if one is not known. Raises `ConfigError` for a label of other pictures.
    """
    looked = [reviewer for reviewer in reviewers if item in reviewer.labels]
    for reviewer in looked:
        seen = reviewer.seen.get(item, shown)
        if any(a and b and a != b for a, b in zip(seen, shown, strict=True)):
            raise ConfigError(
                f"The labels of {reviewer.name} are of other pictures than this analysis shows "
                f"({item}); have them label a bundle of this one."
            )
    same = sum(reviewer.labels[item] == "same" for reviewer in looked)
    asked = [r for r in reviewers if not has_two_ids(item) or any(map(has_two_ids, r.labels))]
    if len(asked) >= 2 and same == len(asked):
        return f"confirmed {same}/{same}"
    return f"called the same {same}/{len(looked)}" if looked else ""
