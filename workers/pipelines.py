"""What makes pictures: the `Pipeline` protocol, `noise`, and how one is chosen.

Anything that makes a picture of a prompt and a seed can be audited. A package provides a pipeline
as an entry point of the group `seedsweep.pipelines`, named as campaigns name it in `[model]
pipeline`; its object is a function

    load(model: Model, sampling: Sampling, device: str, threads: int) -> Pipeline

that gets the campaign's `[model]` and `[sampling]`, and the device (`cpu`, `cuda:0`, …) and number
of CPU threads to keep to. It raises `ModelLoadError` for what it cannot load or does not take of a
recipe, `TransientError` for what may pass. `model.path` is the plug-in's own, a URL or a name; a
file or folder that it names beside the campaign file becomes an absolute path, and is part of the
model's fingerprint with all its files. Code is known by its distribution's name and version: raise
the version whenever pixels change. The names of the built-in pipelines cannot be taken.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from storage.records import Campaign, Flaw, Prompt, Provenance, Sampling, canonical
from storage.store import Store
from workers.model_files import model_folder


@dataclass(frozen=True, slots=True)
class Generation:
    """One image with its seed: (height, width, 3) uint8 RGB, its flaw if any, and what made it."""

    seed: int
    pixels: NDArray[np.uint8]
    flaw: Flaw | None
    provenance: Provenance


class Pipeline(Protocol):
    """A loaded model with a recipe; one thread uses it.

    Equal prompt and seed give equal pixels, whichever other seeds are asked for with it, on one
    type of machine. Pictures have the size that the recipe asks for. A flaw is set where a picture
    is no evidence (`to_pixels` finds two of them). The provenance's `recipe` is the canonical JSON
    of every setting that was used.
    """

    def generate(self, prompt: str, seeds: Sequence[int]) -> list[Generation]:
        """Make one image per seed, in the order of `seeds`.

        Raises `DeviceMemoryError` where one image is too much for the device, `GenerationError`
        where the model cannot do what is asked, `ModelLoadError` where only its first images show
        that it cannot run as it was loaded, and `TransientError` where a service is away: the unit
        is handed back and tried again, however often.
        """

    def with_sampling(self, sampling: Sampling) -> "Pipeline":
        """The same model with another recipe, as if loaded with it, without loading it again.

        The pipeline that it was asked of must not be used any more. Raises `ModelLoadError` where
        the model cannot take the recipe.
        """


def load_pipeline(store: Store, campaign: Campaign, device: str, threads: int) -> Pipeline:
    """Load the campaign's model on a device (`cpu`, `cuda:0`, …) with so many CPU threads.

    Raises `ModelLoadError` where it cannot be loaded as `[model]` says, or is not the one that was
    submitted, and `TransientError` where what holds it does not answer or the device is full.
    """
    if campaign.model.pipeline == "noise":
        return NoisePipeline(campaign.sampling)
    if campaign.model.pipeline != "diffusers":
        from workers.foreign import load_function, load_plugin

        load = load_function if campaign.model.pipeline == "python" else load_plugin
        return load(campaign.model, campaign.sampling, device, threads)
    from workers.diffusion import DiffusersPipeline

    folder = model_folder(store, campaign.model)
    return DiffusersPipeline(folder, campaign.model, campaign.sampling, device, threads)


def to_pixels(
    picture: NDArray[np.floating[Any]], blanked: bool
) -> tuple[NDArray[np.uint8], Flaw | None]:
    """Round (height, width, 3) in [0, 1] to uint8 as diffusers does, and say if it is no evidence.

    Values that are not finite become 0.
    """
    finite = bool(np.isfinite(picture).all())
    pixels = np.nan_to_num(picture, nan=0.0, posinf=0.0, neginf=0.0)
    rounded = (pixels.clip(0, 1) * 255).round().astype(np.uint8)
    if not finite:
        return rounded, Flaw.NOT_FINITE
    if blanked:
        return rounded, Flaw.BLANKED
    if (rounded == rounded[0, 0]).all():
        return rounded, Flaw.CONSTANT
    return rounded, None


class NoisePipeline:
    """Instant, deterministic pictures, for tests and load: no model at all.

    A quarter of the prompts each repeats one picture at no seed, a twentieth, a quarter or all of
    them; every other picture is noise of its own. Repeats differ by one level in places.
    """

    SHARES = (0.0, 0.05, 0.25, 1.0)

    def __init__(self, sampling: Sampling) -> None:
        self._shape = (sampling.height, sampling.width, 3)
        self._provenance = Provenance(
            batch_size=sampling.batch_size,
            threads=1,
            device="cpu",
            dtype="uint8",
            versions=f"numpy {np.__version__}",
            recipe=canonical(
                {"height": sampling.height, "pipeline": "noise", "width": sampling.width}
            ),
        )

    def generate(self, prompt: str, seeds: Sequence[int]) -> list[Generation]:
        return [
            Generation(seed, self._picture(prompt, seed), None, self._provenance) for seed in seeds
        ]

    def with_sampling(self, sampling: Sampling) -> "NoisePipeline":
        return NoisePipeline(sampling)

    def _picture(self, prompt: str, seed: int) -> NDArray[np.uint8]:
        own = _generator(prompt, seed)
        if own.random() >= noise_share(prompt):
            return own.integers(0, 256, self._shape, dtype=np.uint8)
        repeated = _generator(prompt, -1).integers(1, 255, self._shape, dtype=np.uint8)
        return repeated + own.integers(0, 2, self._shape, dtype=np.uint8)


def noise_share(prompt: str) -> float:
    """The share of seeds at which `noise` repeats the prompt's picture."""
    return NoisePipeline.SHARES[int(Prompt(text=prompt).prompt_id[0], 16) % 4]


def _generator(prompt: str, seed: int) -> np.random.Generator:
    key = hashlib.sha256(f"{seed} {prompt}".encode()).digest()
    return np.random.Generator(np.random.PCG64(int.from_bytes(key[:16])))
