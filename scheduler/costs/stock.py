"""What of a planned campaign is stored already, and what is missing."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from seedsweep.scheduler.campaign.plan import Plan
from seedsweep.scheduler.campaign.restore import stored_units
from seedsweep.scheduler.costs.funnel_cost import places
from seedsweep.storage.receipts import list_receipts
from seedsweep.storage.records import WorkUnit
from seedsweep.storage.settings.analysis import Verification
from seedsweep.storage.store import Store
from seedsweep.workers.generation.throughput import Throughput
from seedsweep.workers.training.slices import PictureColumn, look_into


@dataclass(frozen=True, slots=True)
class Stock:
    """A planned campaign and which of its units are done: (units,) bool; `left_out`: how many files
    of the training set's folder are not read, by kind."""

    plan: Plan
    done: NDArray[np.bool_]
    left_out: dict[str, int] = field(default_factory=dict)

    @property
    def images_done(self) -> int:
        """How many of the campaign's images are made."""
        return self.plan.images(self.done)

    @property
    def scores_left(self) -> int:
        """How many of the campaign's screens are not done."""
        return int((~self._by_prompt()[:, : self.plan.screens]).sum())

    @property
    def places_left(self) -> int:
        """How many places the batches of the images that are to be made have, empty ones included;
        images that are shared are not made."""
        batch = self.plan.campaign.sampling.batch_size
        sizes = [places(piece.images, batch) for piece in self.plan.pieces]
        to_make = ~self._by_prompt() & ~self._shared()
        return int(to_make.sum(axis=0) @ np.array(sizes, dtype=np.int64))

    @property
    def images_to_share(self) -> int:
        """How many of the missing images are taken over from an earlier prompt that is the same to
        the model, if all goes well: its shards are there by then, and stay."""
        return self.plan.images((~self._by_prompt() & self._shared()).ravel())

    def fill(self, rate: Throughput) -> float:
        """Which share of the places of batches held pictures where this rate was measured: in the
        units of `missing`. A rate that is given is that of usual units."""
        sampling = self.plan.campaign.sampling
        usual = min(sampling.images_per_unit, sampling.seeds)
        measured = self.missing(1) if rate.rounds else []
        length = len(measured[0].seeds) if measured else usual
        return length / places(length, sampling.batch_size)

    @property
    def prompts_left(self) -> int:
        """How many prompts lack a unit."""
        return int((~self._by_prompt()).any(axis=1).sum())

    def missing(self, count: int) -> list[WorkUnit]:
        """Up to `count` units of images that are missing, each of another prompt, at the seeds of
        the first that most prompts lack; none if all is done."""
        plan, missing = self.plan, ~self._by_prompt()
        missing[:, : plan.screens] = False
        place = int(missing.sum(axis=0).argmax())
        prompts = np.flatnonzero(missing[:, place])[:count].tolist()
        return [plan.unit(prompt * plan.per_prompt + place) for prompt in prompts]

    def _shared(self) -> NDArray[np.bool_]:
        """Which units take over what an earlier prompt has, (prompts, units of each): bool."""
        shared = np.zeros_like(self._by_prompt())
        if self.plan.shares:
            shared[list(self.plan.same_as)] = True
        return shared

    def _by_prompt(self) -> NDArray[np.bool_]:
        return self.done.reshape(-1, self.plan.per_prompt)


def take_stock(store: Store, plan: Plan) -> Stock:
    """See which units of a plan are done, by their shard or a receipt, and which files of its
    training set are left out."""
    done = stored_units(store, plan)
    if plan.campaign.keep == "flagged":
        done |= plan.receipted(list_receipts(store, plan.campaign.campaign_id))
    return Stock(plan, done, _left_out(plan.campaign.verification))


def _left_out(verification: Verification | None) -> dict[str, int]:
    if verification is None:
        return {}
    return dict(look_into(Path(verification.training_set), PictureColumn.of(verification)).left_out)
