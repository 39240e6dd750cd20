"""Units of prompts that are the same to the model as an earlier one: made once, and shared."""

import logging
from collections.abc import Callable, Sequence
from typing import Any

from seedsweep.storage.errors import ShardCorruptError
from seedsweep.storage.records import WorkUnit
from seedsweep.storage.settings.campaign import Campaign
from seedsweep.storage.store import Store
from seedsweep.workers.generation.kinds import Kind
from seedsweep.workers.generation.shard_writer import Encode
from seedsweep.workers.pipelines.protocol import Comparing, Pipeline

log = logging.getLogger(__name__)

REMEMBERED = 10_000
"""So many units that were postponed are remembered: far more than a worker meets again soon."""


class EarlierPrompts:
    """What one worker takes over from earlier prompts of a campaign.

    That two prompts are one is what the model's tokenizers said when the campaign was submitted;
    nothing is taken over unless the loaded model says so too. What cannot be taken over is made.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._postponed: dict[tuple[str, int], None] = {}
        self._compared: tuple[tuple[object, ...], bool] | None = None

    def postpones(self, kind: Kind[Any], unit: WorkUnit, holds: Callable[[str], bool]) -> bool:
        """Whether the unit should come again later, since what it could take over is not there
        yet. A unit is postponed while the worker itself stores that (`holds` its key), and
        otherwise once: nothing waits for what may never come."""
        earlier, name = unit.earlier, (unit.campaign_id, unit.index)
        if earlier is None:
            return False
        if holds(kind.key(earlier)):
            return True
        if name in self._postponed or self._store.exists(kind.key(earlier)):
            return False
        while len(self._postponed) >= REMEMBERED:
            del self._postponed[next(iter(self._postponed))]
        self._postponed[name] = None
        return True

    def take_over(
        self,
        kind: Kind[Any],
        campaign: Campaign,
        unit: WorkUnit,
        wanted: Sequence[Campaign],
        ask: Callable[[Callable[[Pipeline, Campaign], bool]], Sequence[bool]],
    ) -> Encode | None:
        """What the earlier prompt's shard gives the unit; None if the unit must be made.

        `ask` asks the model of each of `wanted`, which the unit wants. A shard that is gone, or not
        what was written, is left alone, and the unit is made.
        """
        earlier = unit.earlier
        if earlier is None or not self._store.exists(kind.key(earlier)):
            return None
        recipes = [each.generation_id for each in wanted]
        asked = *recipes, unit.prompt, earlier.prompt
        if self._compared is None or self._compared[0] != asked:
            self._compared = asked, self._are_one(ask, unit.prompt, earlier.prompt)
        if not self._compared[1]:
            return None
        try:
            return kind.take_over(self._store, campaign, unit, earlier)
        except ShardCorruptError as error:
            log.warning("Unit %d is made, since it cannot be taken over: %s", unit.index, error)
            return None

    @staticmethod
    def _are_one(
        ask: Callable[[Callable[[Pipeline, Campaign], bool]], Sequence[bool]],
        prompt: str,
        other: str,
    ) -> bool:
        """Whether the two prompts are one to every model that the unit wants."""

        def reads_alike(pipeline: Pipeline, _: Campaign) -> bool:
            return isinstance(pipeline, Comparing) and pipeline.reads_alike(prompt, other)

        if all(ask(reads_alike)):
            return True
        log.warning(
            "The model does not show that the prompts %r and %r are one to it, though its "
            "tokenizers do; the pictures of both are made.",
            *(prompt[:80], other[:80]),
        )
        return False
