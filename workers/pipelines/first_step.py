"""What a diffusers pipeline makes at its first step: whether prompt and settings alter anything."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from seedsweep.workers.pipelines.sampler_watch import Enough, watched_steps


@dataclass(frozen=True, slots=True)
class FirstStep:
    """What the denoiser made for the sampler's first step, guidance included.

    If the pipeline's sampler was never asked for a step, it is the picture, and `sampled` is False.
    """

    made: Any
    sampled: bool

    def has_equal_row(self, other: "FirstStep") -> bool:
        """Whether some picture of a batch is one in both, to the last bit."""
        if not np.isfinite(self.made).all() or self.made.shape != other.made.shape:
            return False
        return any(map(np.array_equal, self.made, other.made))

    def equals(self, other: "FirstStep") -> bool:
        """Whether both are one, to the last bit; of what is not finite, that cannot be said."""
        return bool(np.isfinite(self.made).all() and np.array_equal(self.made, other.made))

    def apart(self, other: "FirstStep") -> float:
        """The largest difference of the two; 0 if they are of other shapes, or not finite."""
        if self.made.shape != other.made.shape or not self.made.size:
            return 0.0
        most = float(np.abs(self.made - other.made).max())
        return most if np.isfinite(most) else 0.0


def first_step(
    pipeline: Any, arguments: Mapping[str, Any], seeds: Sequence[int] = (0,)
) -> FirstStep:
    """Have the pipeline make pictures at the seeds, up to its first step; the arguments of its call
    say of what, and as many.

    Nothing is compiled for it. Raises what the pipeline raises.
    """
    seen: list[FirstStep] = []

    def see(model_output: Any) -> None:
        made = model_output.detach().float().cpu().numpy()
        seen.append(FirstStep(made, sampled=True))
        raise Enough

    try:
        with (
            watched_steps(getattr(pipeline, "scheduler", None), see),
            torch.inference_mode(),
            torch.compiler.set_stance("force_eager"),
        ):
            output = pipeline(
                generator=[torch.Generator("cpu").manual_seed(seed) for seed in seeds],
                output_type="np",
                **arguments,
            )
    except Enough:
        return seen[0]
    finally:
        # What is offloaded was left on the device.
        pipeline.maybe_free_model_hooks()
    return FirstStep(np.asarray(output[0]), sampled=False)
