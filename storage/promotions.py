"""Which prompts of a cohort go on after a stage with a share: decided once, and stored."""

from typing import Annotated, Self

from pydantic import Field, model_validator

from seedsweep.storage import keys
from seedsweep.storage.corrupt import corrupt_where_wrong
from seedsweep.storage.record import Record
from seedsweep.storage.store import Store

_REMEDY = "remove it, and the cohort is decided anew"


class Rank(Record):
    """A prompt's place in its cohort: the higher its score the better, of equal ones the first in
    the plan, where the prompt has this index."""

    score: float
    index: Annotated[int, Field(ge=0)]

    @property
    def order(self) -> tuple[float, int]:
        """The better rank has the smaller one."""
        return -self.score, self.index


class Promotion(Record):
    """What a stage decided of a cohort of `prompts` prompts, of which `scored` came to it with a
    score.

    `last` is the last that goes on, `near` the last near miss; both are null if none has a score.
    `unscored`: the indexes of those that came to it and had no score stored, in order; None in what
    was decided before these were recorded.
    """

    stage: Annotated[int, Field(ge=1)]
    cohort: Annotated[int, Field(ge=0)]
    prompts: Annotated[int, Field(ge=1)]
    scored: Annotated[int, Field(ge=0)]
    last: Rank | None
    near: Rank | None
    unscored: Annotated[tuple[int, ...] | None, Field(exclude_if=lambda these: these is None)] = (
        None
    )

    @model_validator(mode="after")
    def _is_of_one_mind(self) -> Self:
        if self.scored > self.prompts:
            raise ValueError("more prompts have a score than there are")
        if (self.last is None, self.near is None) != (self.scored == 0, self.scored == 0):
            raise ValueError("the last that goes on is not among those with a score")
        if self.last and self.near and self.near.order < self.last.order:
            raise ValueError("a near miss is better than who goes on")
        if list(self.unscored or ()) != sorted(set(self.unscored or ())):
            raise ValueError("those without a score are not in order")
        return self

    def takes(self, rank: Rank) -> bool:
        """Whether a prompt of this rank goes on. It does if none of the cohort had a score."""
        return self.last is None or rank.order <= self.last.order

    def nearly_takes(self, rank: Rank) -> bool:
        """Whether it goes on, or is a near miss."""
        return self.near is None or rank.order <= self.near.order


def store_promotion(store: Store, campaign_id: str, promotion: Promotion) -> None:
    """Store what was decided; what was decided first stays."""
    key = keys.promotion(campaign_id, promotion.stage, promotion.cohort)
    store.create(key, (promotion.model_dump_json(indent=2) + "\n").encode())


def load_promotion(store: Store, campaign_id: str, stage: int, cohort: int) -> Promotion | None:
    """Load what was decided of a cohort; None if nothing is yet.

    Raises `ShardCorruptError` if it is not what was written.
    """
    key = keys.promotion(campaign_id, stage, cohort)
    data = store.read(key)
    if data is None:
        return None
    with corrupt_where_wrong(f"The object {key}", _REMEDY):
        promotion = Promotion.model_validate_json(data)
        if (promotion.stage, promotion.cohort) != (stage, cohort):
            raise ValueError("it is of another cohort")
    return promotion
