"""What the network of a diffusers pipeline predicts with the prompt and without it, read while the
pipeline itself begins a batch of pictures."""

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from seedsweep.storage.errors import ModelLoadError
from seedsweep.workers.pipelines.diffusers_class import why_opaque
from seedsweep.workers.pipelines.diffusers_loading import denoisers
from seedsweep.workers.pipelines.noise_levels import noise_schedule
from seedsweep.workers.pipelines.predictions import LOW_NOISE, PredictionPair, Predictions
from seedsweep.workers.pipelines.sampler_watch import Enough, watched_steps


def read_predictions(
    pipeline: Any,
    prompt: str,
    seeds: Sequence[int],
    arguments: Mapping[str, Any],
    steps: int,
    low_noise: bool,
) -> list[Predictions]:
    """Have the pipeline begin pictures of a prompt, and read the network's first `steps` passes
    with the prompt and without. Without it means: with the pipeline's own empty prompt.

    The noise of a seed is that of its picture. The pipeline is stopped before it would decode, and
    nothing is compiled for it. Raises `ModelLoadError` if the network is not asked for both, or the
    sampler is not given unconditional + guidance scale · (conditional - unconditional), and
    whatever the pipeline raises.
    """
    opaque = why_opaque(type(pipeline))
    if opaque:
        raise ModelLoadError(f"No screen can look inside: {opaque}.")
    reader = _Reader(pipeline, len(seeds), arguments, steps, low_noise)
    (network,) = denoisers(pipeline)
    listening = network.register_forward_hook(reader.hear, with_kwargs=True)
    try:
        with (
            watched_steps(pipeline.scheduler, reader.see),
            torch.inference_mode(),
            torch.compiler.set_stance("force_eager"),
        ):
            pipeline(
                prompt=prompt,
                num_images_per_prompt=len(seeds),
                generator=[torch.Generator("cpu").manual_seed(seed) for seed in seeds],
                output_type="latent",
                **arguments,
            )
        raise ModelLoadError(
            f"The {type(pipeline).__name__} takes {len(reader.pairs)} steps, and the screen is to "
            f"have {steps}; take no more than sampling.steps."
        )
    except Enough:
        return [
            Predictions(
                seed,
                reader.guidance_scale,
                tuple(pairs[i] for pairs in reader.pairs),
                reader.low_noise[i] if low_noise else None,
            )
            for i, seed in enumerate(seeds)
        ]
    finally:
        listening.remove()
        # What is offloaded was left on the device.
        pipeline.maybe_free_model_hooks()


class _Reader:
    """Reads the network's passes, and ends the pipeline's call once there are enough."""

    def __init__(
        self,
        pipeline: Any,
        count: int,
        arguments: Mapping[str, Any],
        steps: int,
        low_noise: bool,
    ) -> None:
        self.guidance_scale: float = arguments["guidance_scale"]
        self.pairs: list[list[PredictionPair]] = []
        self.low_noise: list[PredictionPair] = []
        self._name = type(pipeline).__name__
        self._count, self._steps, self._wants_low_noise = count, steps, low_noise
        self._schedule = noise_schedule(pipeline.scheduler)
        self._last: tuple[Any, inspect.BoundArguments, Any] | None = None

    def hear(self, network: Any, args: Any, kwargs: Any, output: Any) -> None:
        """Keep what the network was given and what it made of it."""
        given = inspect.signature(type(network).forward).bind(network, *args, **kwargs)
        self._last = network, given, output[0]

    def see(self, guided: Any) -> None:
        """Read the pass that the sampler is about to step by."""
        if self._last is None:
            raise self.unfit("its sampler steps without it")
        network, given, output = self._last
        output = self._of_the_noise(output, guided)
        self._require_guidance(output, guided)
        self.pairs.append(self._read(given, output))
        if self._wants_low_noise and not self.low_noise:
            given.arguments["timestep"] = self._timestep_like(given.arguments["timestep"])
            again = network(*given.args[1:], **given.kwargs)[0]
            self.low_noise = self._read(given, self._of_the_noise(again, guided))
        if len(self.pairs) == self._steps:
            raise Enough
        self._last = None

    def unfit(self, reason: str) -> ModelLoadError:
        return ModelLoadError(
            f"No screen can look inside a {self._name} as it is loaded ({reason}); use a model "
            "with classifier-free guidance and a guidance scale above 1, or leave the screen out."
        )

    def _of_the_noise(self, output: Any, guided: Any) -> Any:
        """The output without a variance that the network has learned beside."""
        return output[:, : guided.shape[1]]

    def _require_guidance(self, output: Any, guided: Any) -> None:
        if len(output) != 2 * self._count:
            raise self.unfit("its network predicts nothing without the prompt")
        unconditional, conditional = output.float().chunk(2)
        expected = unconditional + self.guidance_scale * (conditional - unconditional)
        # float16 rounds; another order or formula is off by as much as the predictions are.
        off = (expected - guided.float()).abs().max()
        if off > 0.02 * expected.abs().max():
            raise self.unfit("its guidance is another than the usual one")

    def _read(self, given: inspect.BoundArguments, output: Any) -> list[PredictionPair]:
        # All these networks are given the noisy latents first.
        noisy = _doubles(list(given.arguments.values())[1])
        timestep = float(torch.as_tensor(given.arguments["timestep"]).flatten()[0])
        noise = self._schedule.predicted_noise(_doubles(output), noisy, timestep)
        unconditional, conditional = noise[: self._count], noise[self._count :]
        return [PredictionPair(*pair) for pair in zip(conditional, unconditional, strict=True)]

    def _timestep_like(self, timestep: Any) -> Any:
        return torch.full_like(torch.as_tensor(timestep), round(LOW_NOISE * self._schedule.length))


def _doubles(values: Any) -> NDArray[np.float64]:
    doubles: NDArray[np.float64] = values.detach().double().cpu().numpy()
    return doubles
