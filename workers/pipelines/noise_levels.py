"""How much signal and noise a diffusers sampler leaves at a timestep, and what a network's output
says of the noise there, whatever it was trained to predict."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seedsweep.storage.errors import ModelLoadError

LEAST_SIGNAL = 0.0684
"""Signal ÷ noise at the last training step of Stable Diffusion 1: sqrt(0.00466 / 0.99534)."""

_KINDS = ("epsilon", "v_prediction", "sample", "flow_prediction")
_FLOW = ("FlowMatchEulerDiscreteScheduler", "FlowMatchHeunDiscreteScheduler")
_DISTILLED = ("LCMScheduler", "TCDScheduler")


@dataclass(frozen=True, slots=True)
class NoiseSchedule:
    """What a network's output means: `kind` as diffusers names prediction types, and the noise
    schedule that it was trained with.

    The network is given x = signal · clean + noise · gaussian. `ratios`: noise ÷ signal at each of
    the `length` training timesteps, ascending; None for flow matching, where timestep t has the
    noise t ÷ length and the signal 1 - t ÷ length.
    """

    kind: str
    length: int
    ratios: NDArray[np.float64] | None

    def levels(self, timestep: float) -> tuple[float, float]:
        """Signal and noise at a timestep; between two training timesteps diffusers' samplers take
        the logarithm of noise ÷ signal as linear."""
        if self.ratios is None:
            noise = timestep / self.length
            return 1 - noise, noise
        below = min(int(timestep), self.length - 1)
        ratio = self.ratios[below]
        if below < timestep < self.length - 1:
            low, high = np.log(self.ratios[[below, below + 1]])
            ratio = np.exp(low + (timestep - below) * (high - low))
        if np.isinf(ratio):
            return 0.0, 1.0
        signal = 1 / np.sqrt(1 + ratio * ratio)
        return float(signal), float(signal * ratio)

    def predicted_noise(
        self, output: NDArray[np.float64], noisy: NDArray[np.float64], timestep: float
    ) -> NDArray[np.float64]:
        """The noise that the network takes `noisy` to hold: n = noisy ÷ noise - w · clean, with
        w = signal ÷ noise, and with `LEAST_SIGNAL` where that is more.

        Of a network that predicts the noise it is the output itself. Where no signal is left, as at
        the first step of flow matching and of a schedule with zero terminal SNR, the noise would
        say nothing of the prompt; the clean picture that the network predicts does.
        """
        if self.kind == "epsilon":
            return output
        signal, noise = self.levels(timestep)
        if self.kind == "sample":
            clean = output
        elif self.kind == "v_prediction":
            clean = signal * noisy - noise * output
        else:
            clean = noisy - noise * output
        return noisy / noise - max(signal / noise, LEAST_SIGNAL) * clean


def noise_schedule(sampler: Any) -> NoiseSchedule:
    """The schedule of a diffusers sampler. Raises `ModelLoadError` for one that is not known, or is
    for distilled models."""
    name, config = type(sampler).__name__, sampler.config
    length = config.get("num_train_timesteps")
    kind = "flow_prediction" if name in _FLOW else config.get("prediction_type")
    if kind in _KINDS and name not in _DISTILLED and length:
        if kind == "flow_prediction":
            return NoiseSchedule(kind, length, None)
        if hasattr(sampler, "alphas_cumprod"):
            left = sampler.alphas_cumprod.double().cpu().numpy()
            with np.errstate(divide="ignore"):
                return NoiseSchedule(kind, length, np.sqrt((1 - left) / left))
    raise ModelLoadError(
        f"No screen knows what a network predicts for the sampler {name}; name another as "
        "sampling.sampler, such as DDIMScheduler, or leave the screen out."
    )
