"""What makes pictures: the `Pipeline` protocol, `noise`, and how one is chosen."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

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
    """A loaded model with a recipe.

    Equal prompt and seed give equal pixels, whichever other seeds are asked for with it, on one
    type of machine.
    """

    def generate(self, prompt: str, seeds: Sequence[int]) -> list[Generation]:
        """Make one image per seed, in the order of `seeds`.

        Raises `DeviceMemoryError` where one image is too much for the device, `GenerationError`
        where the model cannot do what is asked, and `ModelLoadError` where only its first images
        show that it cannot run as it was loaded.
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
    from workers.diffusion import DiffusersPipeline

    folder = model_folder(store, campaign.model)
    return DiffusersPipeline(folder, campaign.model, campaign.sampling, device, threads)


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
