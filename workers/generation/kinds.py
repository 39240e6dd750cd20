"""The kinds of work: what a worker makes of a unit, and where it is stored."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from seedsweep.storage import keys
from seedsweep.storage.errors import ConfigError, ModelLoadError, OpaqueModelError
from seedsweep.storage.records import KindName, WorkUnit
from seedsweep.storage.scores import Scored, encode_scores, read_scores
from seedsweep.storage.settings.campaign import Campaign
from seedsweep.storage.settings.sampling import ScreenSettings
from seedsweep.storage.shards import encode_shard
from seedsweep.storage.store import Store
from seedsweep.workers.generation.shard_writer import Encode, encode_unit
from seedsweep.workers.pipelines.protocol import Generation, Pipeline
from seedsweep.workers.screening.screen import screen_prompt
from seedsweep.workers.stored_images import decode_pixels, read_images


@dataclass(frozen=True, slots=True)
class Workplace:
    """What a worker computes on."""

    device: str
    threads: int


Told = TypeVar("Told")


class Kind(Protocol[Told]):
    """One kind of work. Lease, ledger, redelivery and the one shard of a unit are the same for all.

    Which units of it a prompt has, and under which ids, is in `storage/pieces.py`; what follows
    when they are done is the analysts': `workers/analysts/stage_rules.py`.
    """

    def key(self, unit: WorkUnit) -> str:
        """The key of the unit's shard: whoever makes it, for whichever campaign."""

    def images(self, unit: WorkUnit) -> int:
        """How many images the unit makes."""

    def wants(self, campaign: Campaign, unit: WorkUnit) -> tuple[Campaign, ...]:
        """The campaign with each of the models that the unit is made with, and the recipe there.

        Which models these are follows from campaign, kind and `kind_id` alone, for units that want
        the same ones lie in one queue; nothing is raised.
        """

    def ask(self, pipeline: Pipeline, wanted: Campaign, unit: WorkUnit, place: Workplace) -> Told:
        """What one of the models tells of the unit, computed on the device; `pipeline` is that of
        `wanted`. It holds on to nothing of the pipeline.

        Models are asked one after the other, in whichever order costs least. Raises what
        `Pipeline.generate` does.
        """

    def encode(
        self, told: Sequence[Told], campaign: Campaign, unit: WorkUnit, place: Workplace
    ) -> bytes:
        """The unit's shard, of what each of `wants` told, in that order; in a thread of its own.

        Equal units give equal shards on one type of machine.
        """

    def take_over(
        self, store: Store, campaign: Campaign, unit: WorkUnit, earlier: WorkUnit
    ) -> Encode | None:
        """What the shard of an earlier unit holds, for this one: the same with a note of whence.
        None if that shard is not there.

        Raises `ShardCorruptError` if it is not what was written.
        """


class Generating:
    """`generate`: images of a prompt, one for each seed."""

    def key(self, unit: WorkUnit) -> str:
        return keys.unit_shard(unit)

    def images(self, unit: WorkUnit) -> int:
        return len(unit.seeds)

    def wants(self, campaign: Campaign, unit: WorkUnit) -> tuple[Campaign, ...]:
        return (campaign,)

    def ask(
        self, pipeline: Pipeline, wanted: Campaign, unit: WorkUnit, place: Workplace
    ) -> list[Generation]:
        return pipeline.generate(unit.prompt, _seeds(unit))

    def encode(
        self, told: Sequence[list[Generation]], campaign: Campaign, unit: WorkUnit, place: Workplace
    ) -> bytes:
        (generations,) = told
        return encode_unit(unit, generations, campaign.descriptors)

    def take_over(
        self, store: Store, campaign: Campaign, unit: WorkUnit, earlier: WorkUnit
    ) -> Encode | None:
        images = read_images(store, self.key(earlier))
        if images is None:
            return None
        for image in images:
            decode_pixels(image, campaign.sampling)
        taken = [replace(image, same_as=image.same_as or earlier.prompt_id) for image in images]
        return partial(encode_shard, unit, taken)


class Screening:
    """`screen`: a score of a prompt from the inside of the model, one for each seed."""

    def key(self, unit: WorkUnit) -> str:
        return keys.unit_shard(unit)

    def images(self, unit: WorkUnit) -> int:
        return 0

    def wants(self, campaign: Campaign, unit: WorkUnit) -> tuple[Campaign, ...]:
        return (campaign,)

    def ask(
        self, pipeline: Pipeline, wanted: Campaign, unit: WorkUnit, place: Workplace
    ) -> NDArray[np.float64]:
        """Raises `OpaqueModelError` for a model that no screen can look inside."""
        settings = _settings(wanted, unit)
        try:
            return screen_prompt(pipeline, unit.prompt, _seeds(unit), settings)
        except ModelLoadError as error:
            raise OpaqueModelError(str(error)) from error

    def encode(
        self,
        told: Sequence[NDArray[np.float64]],
        campaign: Campaign,
        unit: WorkUnit,
        place: Workplace,
    ) -> bytes:
        (scores,) = told
        scored = Scored(tuple(scores.tolist()), place.device, place.threads, _versions())
        return encode_scores(unit, scored)

    def take_over(
        self, store: Store, campaign: Campaign, unit: WorkUnit, earlier: WorkUnit
    ) -> Encode | None:
        scored = read_scores(store, self.key(earlier))
        if scored is None:
            return None
        taken = replace(scored, same_as=scored.same_as or earlier.prompt_id)
        return partial(encode_scores, unit, taken)


KINDS: dict[KindName, Kind[Any]] = {"generate": Generating(), "screen": Screening()}


def _seeds(unit: WorkUnit) -> range:
    return range(unit.seeds.first, unit.seeds.last + 1)


def _settings(campaign: Campaign, unit: WorkUnit) -> ScreenSettings:
    for screen in campaign.screens:
        if campaign.screen_id(screen) == unit.kind_id:
            return screen
    raise ConfigError(
        f"The campaign {campaign.campaign_id} has no screen {unit.kind_id!r}; have workers and "
        "schedulers run one version."
    )


def _versions() -> str:
    said = []
    for name in ("diffusers", "torch", "transformers", "numpy"):
        try:
            said.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            continue
    return ", ".join(said)
