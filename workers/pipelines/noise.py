"""`noise`: pictures without any model, for tests and load."""

import hashlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from seedsweep.storage.record import canonical
from seedsweep.storage.records import Prompt, Provenance
from seedsweep.storage.settings.sampling import Sampling
from seedsweep.workers.pipelines.protocol import Generation


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
