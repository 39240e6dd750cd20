"""Sample stored images of a campaign at random, each with the same chance."""

import random
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate

import numpy as np

from seedsweep.scheduler.campaign.plan import Plan
from seedsweep.storage import keys
from seedsweep.storage.receipts import is_done, list_receipts
from seedsweep.storage.shards import list_recipes
from seedsweep.storage.store import Store

UNITS_IN_VAIN = 1000
"""After so many units that are not there, listing those that are is the shorter way."""


@dataclass(frozen=True, slots=True)
class ImageSample:
    """Images that were drawn, as (unit's index, seed) in the order in which they were drawn.

    `not_made` and `parked` count images that were drawn too and are not stored, by the reason.
    """

    images: tuple[tuple[int, int], ...]
    not_made: int
    parked: int


def sample_images(store: Store, plan: Plan, count: int, seed: int) -> ImageSample:
    """Draw `count` of the campaign's stored images without replacement; all if there are fewer.

    Images of which only the receipt is left are drawn too. Equal stores and seeds give equal draws.
    Memory grows with `count`, plus a few MB for a million units. The store is asked for one unit
    after another; it is listed only if most units are missing.
    """
    drawer = _Sampler(store, plan)
    generator = random.Random(seed)  # noqa: S311 - what is drawn is no secret
    for place in _shuffled(plan.image_count, generator):
        if len(drawer.drawn) == count or drawer.units_in_vain >= UNITS_IN_VAIN:
            break
        drawer.take(place)
    if len(drawer.drawn) < count and drawer.units_in_vain >= UNITS_IN_VAIN:
        # A fresh draw: going on would need to pass over every image that is not there.
        again = random.Random(f"{seed} of those listed")  # noqa: S311
        drawer.drawn = _sample_listed(store, plan, count, again)
    return ImageSample(tuple(drawer.drawn), drawer.not_made, drawer.parked)


class _Sampler:
    """Takes images by their place among all of the campaign's, and asks the store for each unit
    once."""

    def __init__(self, store: Store, plan: Plan) -> None:
        self._store, self._plan = store, plan
        self._ends = list(accumulate(map(len, plan.cuts)))  # screens make no images
        self._states: dict[int, str] = {}
        self.drawn: list[tuple[int, int]] = []
        self.units_in_vain = self.not_made = self.parked = 0

    def take(self, place: int) -> None:
        """Sample the image, or count it as one that is not there."""
        prompt, offset = divmod(place, self._ends[-1])
        cut = bisect_right(self._ends, offset)
        index = prompt * self._plan.per_prompt + self._plan.screens + cut
        state = self._state(index)
        if state == "stored":
            seeds = self._plan.unit(index).seeds
            self.drawn.append((index, seeds.last + 1 - (self._ends[cut] - offset)))
        elif state == "parked":
            self.parked += 1
        else:
            self.not_made += 1

    def _state(self, index: int) -> str:
        if index not in self._states:
            unit = self._plan.unit(index)
            campaign = self._plan.campaign_of(index // self._plan.per_prompt)
            if is_done(self._store, campaign, unit.prompt_id, unit.seeds):
                self._states[index] = "stored"
            else:
                self.units_in_vain += 1
                is_parked = self._store.exists(keys.parked(campaign.campaign_id, index))
                self._states[index] = "parked" if is_parked else "not made"
        return self._states[index]


def _sample_listed(
    store: Store, plan: Plan, count: int, generator: random.Random
) -> list[tuple[int, int]]:
    stored = plan.done(list_recipes(store, plan.recipes()))
    stored |= plan.receipted(list_receipts(store, plan.campaign.campaign_id))
    indexes = np.flatnonzero(stored)
    lengths = np.array([piece.images for piece in plan.pieces], dtype=np.int64)
    ends = lengths[indexes % plan.per_prompt].cumsum()
    total = int(ends[-1]) if len(ends) else 0
    drawn = []
    for place in generator.sample(range(total), min(count, total)):
        at = int(np.searchsorted(ends, place, side="right"))
        index = int(indexes[at])
        last = plan.unit(index).seeds.last
        drawn.append((index, last + 1 - (int(ends[at]) - place)))
    return drawn


def _shuffled(count: int, generator: random.Random) -> Iterator[int]:
    """Yield the numbers below `count` in random order; memory grows with how many were taken."""
    moved: dict[int, int] = {}
    for place in range(count):
        other = generator.randrange(place, count)
        yield moved.get(other, other)
        mine = moved.pop(place, place)
        if other != place:
            moved[other] = mine
