"""The diffusers implementation of `Pipeline` for models without prompts."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from seedsweep.storage.errors import GenerationError, ModelLoadError
from seedsweep.storage.settings.sampling import Sampling
from seedsweep.workers.pipelines.assembly import one_line
from seedsweep.workers.pipelines.diffusers_pipeline import DiffusersPipeline
from seedsweep.workers.pipelines.sampler_watch import watched_scaling

_TRIAL_STEPS = 4


class UnconditionalPipeline(DiffusersPipeline):
    """A diffusers pipeline that makes pictures of seeds alone; the prompt is the empty text.

    It is loaded and makes pictures as `DiffusersPipeline` does: one generator per seed, in padded
    batches, and grey pictures as RGB. With each recipe a trial of a few steps shows that a picture
    follows from its seed alone: not from the other pictures of the batch, and not from noise of
    another source. Raises `ModelLoadError` if it does not, and for a sampler that wants scaled what
    the pipeline does not scale. The recorded guidance scale is null.
    """

    def _asked(self, prompt: str, count: int) -> dict[str, Any]:
        if prompt:
            raise GenerationError(
                f"The model {self._model.path} makes pictures of seeds alone, and is given the "
                f"prompt {prompt[:80]!r}; leave [prompts] out."
            )
        return {"batch_size": count}

    def _call(self, prompt: str, seeds: Sequence[int], arguments: Mapping[str, Any]) -> Any:
        # Some pipelines ask how strong the noise is before they set the steps: as of the last call.
        self._pipeline.scheduler.set_timesteps(arguments["num_inference_steps"])
        return super()._call(prompt, seeds, arguments)

    def _used(self, sampling: Sampling) -> Sampling:
        with_others = min(2, sampling.batch_size)
        scaled: list[bool] = []
        with watched_scaling(self._pipeline.scheduler, lambda: scaled.append(True)):
            one = self._trial([0, 1][:with_others])
        if sampling.sampler and not scaled and _wants_scaling(self._pipeline.scheduler):
            raise ModelLoadError(
                f"{type(self._pipeline).__name__} does not scale what the sampler "
                f"{sampling.sampler} wants scaled; name another as sampling.sampler, such as "
                "DDIMScheduler, or leave it out for the model's own."
            )
        if one == self._trial([1] * with_others):
            raise ModelLoadError(
                f"The model {self._model.path} makes the same picture of two seeds; check that its "
                "weights are whole."
            )
        if one != self._trial([0, 2][:with_others]):
            is_fixed = self._trial([0]) == self._trial([0])
            sampler = "name another as sampling.sampler, such as DDIMScheduler"
            raise ModelLoadError(
                f"{type(self._pipeline).__name__} makes pictures with the sampler "
                f"{type(self._pipeline.scheduler).__name__} that do not follow from their seeds "
                f"alone; {'set sampling.batch_size = 1' if is_fixed else sampler}."
            )
        return sampling.model_copy(update={"guidance_scale": None})

    def _require_promises(self) -> None:
        """`_used` has seen to it, with each recipe."""

    def _trial(self, seeds: Sequence[int]) -> bytes:
        """The picture of the first of these seeds after a few steps, and what the network was given
        last for it: a picture may hide it, where it is all black and white."""
        given: list[bytes] = []

        def see(_: Any, inputs: Sequence[Any]) -> None:
            given.append(inputs[0][0].detach().float().cpu().numpy().tobytes())

        arguments = {**self._arguments}
        wanted = arguments["num_inference_steps"]
        hook = self._pipeline.unet.register_forward_pre_hook(see)
        try:
            self._pipeline.scheduler.set_timesteps(wanted)
            few = {**arguments, "num_inference_steps": min(_TRIAL_STEPS, wanted)}
            output = self._call("", seeds, few)
        except torch.OutOfMemoryError as error:
            raise self._too_large() from error
        except Exception as error:  # a model's own files may bring diffusers to raise anything
            other = "" if self._model.dtype == "float32" else ', or set model.dtype = "float32"'
            raise ModelLoadError(
                f"{type(self._pipeline).__name__}, as the model {self._model.path} is loaded, "
                f"cannot make a picture ({one_line(error)}); correct [sampling]{other}."
            ) from error
        finally:
            hook.remove()
        picture: bytes = self._pictures(output, len(seeds))[0].tobytes()
        return given[-1] + picture


def _wants_scaling(sampler: Any) -> bool:
    """Whether a sampler that was told its steps wants other noise than of variance 1, or scales
    what the network is given."""
    if float(getattr(sampler, "init_noise_sigma", 1)) != 1:
        return True
    if not hasattr(sampler, "scale_model_input"):
        return False
    sample = torch.ones(1)
    return not torch.equal(sampler.scale_model_input(sample, sampler.timesteps[0]), sample)
