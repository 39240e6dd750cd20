"""The scores of one seed, each from what a network predicts of it: pure functions on arrays.

All are in the noise that the network predicts: with the prompt c, without it u. The published
formulas are in that noise too, for networks that predict it; what stands for it in others, and
where no signal is left, `NoiseSchedule.predicted_noise` says. The higher a score, the likelier the
prompt is memorised. Only scores of one model, recipe and setting can be compared: all grow with the
picture's size. A score is NaN if the network's predictions are not finite.
"""

import numpy as np
from numpy.typing import NDArray

from seedsweep.workers.pipelines.predictions import PredictionPair, Predictions

ALIGNMENT_WEIGHT = 2.0
"""γ₂ ÷ γ₁ of `anisotropy`: 2 is the published code's for Stable Diffusion 1.4 (0.1 for 2.0)."""

_LEAST_PRODUCT = 1e-8
"""Below it a product of two lengths counts as that, as in torch's `cosine_similarity`."""


def noise_magnitude(predictions: Predictions) -> float:
    """mean over the steps of ‖c - u‖, the l2 norm over all values.

    Wen, Liu, Chen and Lyu 2024, "Detecting, Explaining, and Mitigating Memorization in Diffusion
    Models" (ICLR, arXiv 2407.21720), section 3: the magnitude of text-conditional noise. Two
    passes of the network for each step. At the first step it does not depend on the guidance scale.
    """
    return float(np.mean([_norm(_guidance(pair)) for pair in predictions.steps]))


def one_step(predictions: Predictions) -> float:
    """mean(n²) over all values, of n = u + guidance scale · (c - u) at pure noise. Two passes.

    Webster 2023, "A Reproducible Extraction of Training Images from Diffusion Models" (arXiv
    2305.08694), the white-box attack's denoising confidence score, as its code has it: the mean
    squared difference of pure noise z and the picture that is made of it in one step, z - σ·n.
    That is σ² · mean(n²), and σ, the noise of the first step, is one for all prompts: it is left
    out. His guidance scale is 7.5, this is the recipe's.
    """
    return float(np.mean(np.square(_guided(predictions))))


def anisotropy(predictions: Predictions) -> float:
    """‖c - u‖ at pure noise + `ALIGNMENT_WEIGHT` · alignment. Four passes.

    The alignment is the mean over all places of the latents of the cosine of u and c - u, over
    their channels, both predicted of the same pure noise at the timestep of little noise,
    `predictions.LOW_NOISE`.

    Asthana and Belagiannis 2026, "Detecting and Mitigating Memorization in Diffusion Models through
    Anisotropy of the Log-Probability" (ICLR, arXiv 2601.20642), as their code has it for Stable
    Diffusion 1.4. For v-prediction their code takes the network's own output for the noise; here it
    is converted, as for the other scores.
    """
    if predictions.low_noise is None:
        raise ValueError("anisotropy needs the predictions at little noise")
    magnitude = _norm(_guidance(predictions.steps[0]))
    guidance, unconditional = _guidance(predictions.low_noise), predictions.low_noise.unconditional
    lengths = np.linalg.norm(unconditional, axis=0) * np.linalg.norm(guidance, axis=0)
    cosines = (unconditional * guidance).sum(axis=0) / np.maximum(lengths, _LEAST_PRODUCT)
    return magnitude + ALIGNMENT_WEIGHT * float(np.mean(cosines))


def _guidance(pair: PredictionPair) -> NDArray[np.float64]:
    return pair.conditional - pair.unconditional


def _guided(predictions: Predictions) -> NDArray[np.float64]:
    first = predictions.steps[0]
    return first.unconditional + predictions.guidance_scale * _guidance(first)


def _norm(values: NDArray[np.float64]) -> float:
    # Not of BLAS, whose sums depend on how many threads it has.
    return float(np.sqrt(np.sum(np.square(values))))
