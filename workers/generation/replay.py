"""Images made again from their records, and compared with what is stored.

Nothing is written. An image is made as it was: with the recipe of its campaign, the number of
threads and the size of batch that its provenance names (a halved one after out-of-memory among
them), in the very batch in which its unit had it. `Pipeline` promises that company does not alter
pixels; composing the batch alike costs nothing, since batches are padded, and leaves even that
promise out of what a difference may come from.
"""

import contextlib
import json
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seedsweep.storage import keys
from seedsweep.storage.errors import ConfigError, DeviceMemoryError, PermanentError, TransientError
from seedsweep.storage.image_rows import Described
from seedsweep.storage.receipts import read_receipt
from seedsweep.storage.record import SeedRange, canonical
from seedsweep.storage.records import Prompt, Provenance, WorkUnit
from seedsweep.storage.replay_results import Distance, FactDifference, Replay
from seedsweep.storage.settings.campaign import Campaign
from seedsweep.storage.settings.sampling import Sampling
from seedsweep.storage.store import Store
from seedsweep.workers.analysis.distances import l2_to_all, tiled_to
from seedsweep.workers.devices import visible_devices
from seedsweep.workers.images import digest_pixels
from seedsweep.workers.pipelines.loading import load_pipeline
from seedsweep.workers.pipelines.protocol import Generation, Pipeline
from seedsweep.workers.stored_images import (
    BrokenShardError,
    decode_pixels,
    naming_shard,
    read_images,
)


@dataclass(frozen=True, slots=True)
class Recorded:
    """What the store knows of an image.

    `shard`: the key of the one that holds its picture, None where only a receipt knows of it;
    `batch`: the seeds of its `unit` that were in one tensor with it.
    """

    unit: WorkUnit
    seed: int
    shard: str | None
    sha256: str
    provenance: Provenance
    batch: SeedRange

    @property
    def prompt(self) -> str:
        """The text that it was made of."""
        return self.unit.prompt


@dataclass(frozen=True, slots=True, order=True)
class _Setting:
    """What a pipeline needs beside the campaign's recipe and a prompt to make an image as it was
    made; `sampling` is that of the prompt, as JSON."""

    device: str
    threads: int
    batch_size: int
    sampling: str

    @property
    def place(self) -> tuple[str, int]:
        """What only another load can change."""
        return self.device, self.threads


def read_recorded(
    store: Store, campaign: Campaign, unit: WorkUnit, seeds: Collection[int]
) -> list[Recorded]:
    """Read what is recorded of these images of a unit, ascending; empty where it is not made.

    Their pictures are decoded and held against the recorded digests, where they were kept. Raises
    `ShardCorruptError` where shard or receipt is not what was written.
    """
    key, campaign = keys.unit_shard(unit), campaign.of(unit.settings)
    images = read_images(store, key)
    if images is not None:
        with naming_shard(key):
            for image in images:
                if image.seed in seeds:
                    decode_pixels(image, campaign.sampling)
        return _recorded(unit, key, images, seeds)
    receipt = read_receipt(store, campaign, unit.prompt_id)
    return _recorded(unit, None, receipt.of(unit.seeds), seeds) if receipt else []


def make_again(
    store: Store,
    campaign: Campaign,
    images: Iterable[Recorded],
    device: str | None = None,
    threads: int | None = None,
) -> Iterator[Replay]:
    """Make images of a campaign again and compare them, one after another that were made alike.

    `device` and `threads` are as recorded unless given; for a recorded device that is not here, the
    first visible one stands in. Raises `ConfigError` where the model is not the one that was
    submitted (found out as a worker does, when it is loaded) or cannot make an image here,
    `ShardCorruptError` where a picture is no longer what it was when it was read, and
    `TransientError` where what holds the model does not answer.
    """

    def made_by(image: Recorded) -> _Setting:
        made, sampling = image.provenance, campaign.of(image.unit.settings).sampling
        place = device or _here(made.device), threads or made.threads
        return _Setting(*place, made.batch_size, sampling.model_dump_json())

    def batch(image: Recorded) -> tuple[_Setting, str, int]:
        return made_by(image), image.prompt, image.batch.first

    loader = _Loader(store, campaign)
    for (setting, prompt, _), group in groupby(sorted(images, key=batch), key=batch):
        wanted = list(group)
        seeds = range(wanted[0].batch.first, wanted[0].batch.last + 1)
        with _refusing(setting.device):
            made = {g.seed: g for g in loader.load(setting).generate(prompt, seeds)}
        for image in wanted:
            own = campaign.of(image.unit.settings)
            yield _compare(store, own, image, made[image.seed])


def compare_facts(recorded: Provenance, here: Provenance) -> tuple[FactDifference, ...]:
    """Every recorded fact that is another one here, by its name."""
    then, now = _facts(recorded), _facts(here)
    return tuple(
        FactDifference(fact=name, recorded=then.get(name, ""), here=now.get(name, ""))
        for name in sorted({*then, *now})
        if then.get(name) != now.get(name)
    )


def _recorded(
    unit: WorkUnit, shard: str | None, images: Sequence[Described], seeds: Collection[int]
) -> list[Recorded]:
    return [
        Recorded(unit, image.seed, shard, image.sha256, image.provenance, _batch(images, image))
        for image in images
        if image.seed in seeds
    ]


def _batch(unit: Sequence[Described], image: Described) -> SeedRange:
    """Batches only ever get smaller in a unit: those of one size lie side by side from its first
    image of that size on."""
    size = image.provenance.batch_size
    alike = [other.seed for other in unit if other.provenance.batch_size == size]
    first = image.seed - (image.seed - alike[0]) % size
    return SeedRange(first=first, last=min(first + size - 1, alike[-1]))


def _here(device: str) -> str:
    visible = visible_devices()
    return device if device in {*visible, "cpu"} else visible[0]


class _Loader:
    """Holds one pipeline, which is loaded anew only where it has to be."""

    def __init__(self, store: Store, campaign: Campaign) -> None:
        self._store, self._campaign = store, campaign
        self._loaded: tuple[_Setting, Pipeline] | None = None

    def load(self, setting: _Setting) -> Pipeline:
        """The campaign's model, set so."""
        if self._loaded is None or self._loaded[0] != setting:
            self._loaded = setting, self._load(setting)
        return self._loaded[1]

    def _load(self, setting: _Setting) -> Pipeline:
        recipe = Sampling.model_validate_json(setting.sampling)
        sampling = recipe.model_copy(update={"batch_size": setting.batch_size})
        if self._loaded and self._loaded[0].place == setting.place:
            return self._loaded[1].with_sampling(sampling)
        # The old one goes first: a device seldom holds two.
        self._loaded = None
        campaign = self._campaign.model_copy(update={"sampling": sampling})
        return load_pipeline(self._store, campaign, *setting.place)


@contextlib.contextmanager
def _refusing(device: str) -> Iterator[None]:
    """Say in one sentence whatever a model, ours or not, raises."""
    try:
        yield
    except DeviceMemoryError as error:
        raise ConfigError(str(error)) from error
    except (ConfigError, TransientError):
        raise
    except PermanentError as error:
        raise ConfigError(str(error)) from error
    except Exception as error:  # a generator that is not ours may raise anything
        raise ConfigError(
            f"No image can be made again on {device} ({' '.join(repr(error).split())}); mend that, "
            "or choose another --device."
        ) from error


def _compare(store: Store, campaign: Campaign, image: Recorded, made: Generation) -> Replay:
    digest = digest_pixels(made.pixels)
    if digest == image.sha256:
        distance: Distance | None = Distance(l2=0, tiled_l2=0, levels=0, share=0)
    elif image.shard is None:
        distance = None
    else:
        stored = _stored_pixels(store, campaign, image, image.shard)
        distance = _distance(made.pixels, stored, campaign.analysis.tiles)
    return Replay(
        prompt_id=Prompt(text=image.prompt).prompt_id,
        prompt=image.prompt,
        seed=image.seed,
        sha256=image.sha256,
        sha256_here=digest,
        distance=distance,
        here=made.provenance,
        differences=compare_facts(image.provenance, made.provenance),
    )


def _stored_pixels(
    store: Store, campaign: Campaign, image: Recorded, key: str
) -> NDArray[np.uint8]:
    images = read_images(store, key, [image.seed])
    if images is None:
        raise BrokenShardError(key, "It is gone.")
    (stored,) = images
    with naming_shard(key):
        return decode_pixels(stored, campaign.sampling)


def _distance(made: NDArray[np.uint8], stored: NDArray[np.uint8], tiles: int) -> Distance:
    apart = np.abs(made.astype(np.int16) - stored)
    return Distance(
        l2=float(l2_to_all(made, stored[None])[0]),
        tiled_l2=tiled_to(made, stored, tiles),
        levels=int(apart.max()),
        share=float(apart.any(axis=2).mean()),
    )


def _facts(made: Provenance) -> dict[str, str]:
    """The provenance's facts by name; versions and settings each on their own."""
    whole = {"batch_size": str(made.batch_size), "threads": str(made.threads)}
    whole |= {"device": made.device, "dtype": made.dtype}
    versions = {f"versions.{name}": version for name, version in _versions(made.versions)}
    return whole | versions | _settings(made.recipe)


def _versions(versions: str) -> Iterator[tuple[str, str]]:
    """Take "torch 2.13.0, numpy 2.3" apart; what has no version stands for itself."""
    for part in versions.split(", "):
        name, _, version = part.rpartition(" ")
        yield name or part, version


def _settings(recipe: str) -> dict[str, str]:
    """Each setting of a recipe as its JSON; a plug-in's that is no JSON object stays whole."""
    with contextlib.suppress(ValueError):
        settings: Any = json.loads(recipe)
        if isinstance(settings, dict):
            return {f"recipe.{name}": canonical(value) for name, value in settings.items()}
    return {"recipe": recipe}
