"""The kinds of work: what a worker makes of a unit, and where it is stored."""

from dataclasses import dataclass, replace
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from typing import Protocol

from seedsweep.storage import keys
from seedsweep.storage.errors import ConfigError, ModelLoadError, OpaqueModelError
from seedsweep.storage.records import KindName, WorkUnit
from seedsweep.storage.scores import Scored, encode_scores, read_scores
from seedsweep.storage.settings.campaign import Campaign
from seedsweep.storage.settings.sampling import ScreenSettings
from seedsweep.storage.shards import encode_shard
from seedsweep.storage.store import Store
from seedsweep.workers.generation.shard_writer import Encode, encode_unit
from seedsweep.workers.pipelines.protocol import Pipeline
from seedsweep.workers.screening.screen import screen_prompt
from seedsweep.workers.stored_images import decode_pixels, read_images


@dataclass(frozen=True, slots=True)
class Place:
    """What a worker computes on."""

    device: str
    threads: int


class Kind(Protocol):
    """One kind of work. Lease, ledger, redelivery and the one shard of a unit are the same for all.

    Which units of it a prompt has, and under which ids, is in `storage/pieces.py`; what follows
    when they are done is the analysts': `workers/analysts/stage_rules.py`.
    """

    def key(self, unit: WorkUnit) -> str:
        """The key of the unit's shard: whoever makes it, for whichever campaign."""

    def images(self, unit: WorkUnit) -> int:
        """How many images the unit makes."""

    def wanted(self, campaign: Campaign, unit: WorkUnit) -> Campaign:
        """The campaign with the model and the recipe that the unit is made with."""

    def make(self, pipeline: Pipeline, campaign: Campaign, unit: WorkUnit, place: Place) -> Encode:
        """Do the unit's work on the device; `pipeline` is that of `wanted`.

        Equal units give equal shards on one type of machine. Raises what `Pipeline.generate` does.
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

    def wanted(self, campaign: Campaign, unit: WorkUnit) -> Campaign:
        return campaign

    def make(self, pipeline: Pipeline, campaign: Campaign, unit: WorkUnit, place: Place) -> Encode:
        generations = pipeline.generate(unit.prompt, _seeds(unit))
        return partial(encode_unit, unit, generations, campaign.descriptors)

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

    def wanted(self, campaign: Campaign, unit: WorkUnit) -> Campaign:
        return campaign

    def make(self, pipeline: Pipeline, campaign: Campaign, unit: WorkUnit, place: Place) -> Encode:
        """Raises `OpaqueModelError` for a model that no screen can look inside."""
        settings = _settings(campaign, unit)
        try:
            scores = screen_prompt(pipeline, unit.prompt, _seeds(unit), settings)
        except ModelLoadError as error:
            raise OpaqueModelError(str(error)) from error
        scored = Scored(tuple(scores.tolist()), place.device, place.threads, _versions())
        return partial(encode_scores, unit, scored)

    def take_over(
        self, store: Store, campaign: Campaign, unit: WorkUnit, earlier: WorkUnit
    ) -> Encode | None:
        scored = read_scores(store, self.key(earlier))
        if scored is None:
            return None
        taken = replace(scored, same_as=scored.same_as or earlier.prompt_id)
        return partial(encode_scores, unit, taken)


KINDS: dict[KindName, Kind] = {"generate": Generating(), "screen": Screening()}


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
