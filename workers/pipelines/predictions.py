"""What a network predicts of a seed with the prompt and without it, and who can tell."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

LOW_NOISE = 0.041
"""The timestep of little noise, as a share of the training timesteps: 41 of 1,000, the third from
the end of 50, in the code of Asthana and Belagiannis (arXiv 2601.20642)."""


@dataclass(frozen=True, slots=True, eq=False)
class PredictionPair:
    """The noise that the network predicts in one input with the prompt and without it, as
    `NoiseSchedule.predicted_noise` says: two float64 arrays (channels, height, width)."""

    conditional: NDArray[np.float64]
    unconditional: NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Predictions:
    """What the network predicts of one seed.

    `steps`: in its first passes, of which the first is at pure noise. `low_noise`: of that same
    pure noise, told that it is at the timestep of `LOW_NOISE`; None if not asked for.
    """

    seed: int
    guidance_scale: float
    steps: tuple[PredictionPair, ...]
    low_noise: PredictionPair | None


@runtime_checkable
class Predicting(Protocol):
    """A loaded model with a recipe whose network's predictions can be read; one thread uses it."""

    def predict(
        self, prompt: str, seeds: Sequence[int], *, at_once: int, steps: int, low_noise: bool
    ) -> list[Predictions]:
        """What the network predicts of each seed in its first `steps` passes, in the order of
        `seeds`; the negative prompt takes no part.

        Equal prompt and seed give equal predictions to the last bit, whichever other seeds are
        asked for with it, on one type of machine: batches are padded to `at_once`, or to the
        recipe's `batch_size` if that is less. Raises what `Pipeline.generate` does, and
        `ModelLoadError` if the model makes no predictions without the prompt.
        """
