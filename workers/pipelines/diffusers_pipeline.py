"""The diffusers implementation of `Pipeline`: any text-to-image pipeline, from its folder.

Equal pixels: noise is drawn on the CPU by one generator per seed, every batch is padded to the
same shape, and the number of torch threads is fixed. A batch that does not fit in the device's
memory is halved, and the images so made say so.
"""

import contextlib
import copy
import inspect
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import torch
import transformers

from seedsweep.storage.errors import DeviceMemoryError, GenerationError, ModelLoadError
from seedsweep.storage.records import Model, Provenance, Sampling, canonical
from seedsweep.workers.pipelines.diffusers_loading import is_compilers_failure, load_diffusers
from seedsweep.workers.pipelines.protocol import Generation, to_pixels

VERSIONS = (
    f"diffusers {diffusers.__version__}, torch {torch.__version__}, "
    f"transformers {transformers.__version__}, numpy {np.__version__}"
)


class DiffusersPipeline:
    """A diffusers text-to-image pipeline on one device, loaded once from the model's folder.

    `model` says as what it is loaded; that the folder holds it is for `model_folder` to see to.

    The largest batch that fitted in the device's memory is remembered for each width, height and
    `batch_size`, while the pipeline is loaded: the next call starts with it. Another width, height
    or `batch_size` starts at its own `batch_size`.
    """

    def __init__(
        self, folder: Path, model: Model, sampling: Sampling, device: str, threads: int
    ) -> None:
        torch.set_num_threads(threads)
        diffusers.utils.logging.disable_progress_bar()
        self._model = model
        self._device = device
        self._threads = threads
        self._pipeline = load_diffusers(folder, model, device)
        self._own_sampler = getattr(self._pipeline, "scheduler", None)
        self._fitting: dict[tuple[int, int, int], int] = {}
        self._follow(sampling)

    def generate(self, prompt: str, seeds: Sequence[int]) -> list[Generation]:
        made: list[Generation] = []
        shape = (self._sampling.width, self._sampling.height, self._sampling.batch_size)
        batch_size = self._fitting.get(shape, self._sampling.batch_size)
        while len(made) < len(seeds):
            batch = seeds[len(made) : len(made) + batch_size]
            try:
                made += self._batch(prompt, batch, batch_size)
                self._fitting[shape] = batch_size
                continue
            except torch.OutOfMemoryError as error:
                if batch_size == 1:
                    raise DeviceMemoryError(
                        f"One picture of {self._sampling.width} x {self._sampling.height} is more "
                        f"than {self._device} has memory for; take a smaller size or dtype."
                    ) from error
            # Only now is the exception gone, and with it the tensors that its frames held.
            batch_size //= 2
            # What is offloaded was left on the device.
            self._pipeline.maybe_free_model_hooks()
            torch.cuda.empty_cache()
        return made

    def with_sampling(self, sampling: Sampling) -> "DiffusersPipeline":
        """The same loaded weights with another recipe: equal pixels to a fresh load with it, where
        its batches fit as they do here.

        Both share the weights and the sampler, so this one must not be used any more. Raises
        `ModelLoadError` where the model cannot take the recipe; this one then goes on as before.
        """
        other = copy.copy(self)
        other._follow(sampling)
        return other

    def _follow(self, sampling: Sampling) -> None:
        self._arguments = _arguments(self._pipeline, sampling)
        self._pipeline.scheduler = _sampler(sampling.sampler, self._own_sampler)
        self._sampling = sampling
        self._recipe = _recipe(self._model, sampling, self._pipeline.scheduler)

    def _batch(self, prompt: str, seeds: Sequence[int], batch_size: int) -> list[Generation]:
        padded = [*seeds, *[seeds[-1]] * (batch_size - len(seeds))]
        with self._translated(prompt), torch.inference_mode():
            output = self._pipeline(
                prompt=prompt,
                num_images_per_prompt=batch_size,
                generator=[torch.Generator("cpu").manual_seed(seed) for seed in padded],
                output_type="np",
                **self._arguments,
            )
        blanked = getattr(output, "nsfw_content_detected", None) or [False] * batch_size
        provenance = Provenance(
            batch_size=batch_size,
            threads=self._threads,
            device=_device_name(self._device),
            dtype=self._model.dtype,
            versions=VERSIONS,
            recipe=self._recipe,
        )
        pictures = np.asarray(output.images)
        return [
            Generation(seed, *to_pixels(pictures[i], bool(blanked[i])), provenance)
            for i, seed in enumerate(seeds)
        ]

    @contextlib.contextmanager
    def _translated(self, prompt: str) -> Iterator[None]:
        try:
            yield
        except torch.OutOfMemoryError:
            raise
        except (ValueError, RuntimeError, TypeError, LookupError, AttributeError) as error:
            if self._model.compile and is_compilers_failure(error):
                raise ModelLoadError(
                    f"The model {self._model.path} could not be compiled for {self._device} "
                    f"({str(error).partition(chr(10))[0]}); install on the worker's host what "
                    "torch.compile needs (a C++ compiler, for a GPU also Triton), or leave "
                    "model.compile out."
                ) from error
            raise GenerationError(
                f"The model failed on the prompt {prompt[:80]!r} ({error}); correct the campaign's "
                "sampling, or leave the prompt out."
            ) from error


def _sampler(name: str | None, own: Any) -> Any:
    if not name:
        return own
    kind: Any = getattr(diffusers, name, None)
    if not _is_sampler(kind):
        raise ModelLoadError(
            f"{name!r} is no sampler of diffusers; name one such as DDIMScheduler, or leave "
            "sampling.sampler out for the model's own."
        )
    try:
        return kind.from_config(own.config)
    except (TypeError, ValueError, LookupError, AttributeError) as error:
        raise ModelLoadError(
            f"The sampler {name} does not suit the model ({error}); name another as "
            "sampling.sampler, or leave it out for the model's own."
        ) from error


def _is_sampler(kind: object) -> bool:
    return inspect.isclass(kind) and issubclass(kind, diffusers.SchedulerMixin)


def _arguments(pipeline: Any, sampling: Sampling) -> dict[str, Any]:
    """What the pipeline's call takes of the recipe; a negative prompt only where it is wanted."""
    wanted: dict[str, Any] = {
        "num_inference_steps": sampling.steps,
        "guidance_scale": sampling.guidance_scale,
        "width": sampling.width,
        "height": sampling.height,
    }
    if sampling.negative_prompt:
        wanted["negative_prompt"] = sampling.negative_prompt
    known = inspect.signature(pipeline.__call__).parameters
    for name in wanted:
        if name not in known:
            raise ModelLoadError(
                f"A {type(pipeline).__name__} takes no {name}; choose a text-to-image pipeline."
            )
    return wanted


def _recipe(model: Model, sampling: Sampling, sampler: Any) -> str:
    """All settings that alter pixels, but for the batch's size, with the sampler that is used."""
    settings = {
        **model.model_dump(exclude={"path", "revision"}),
        **sampling.model_dump(exclude={"seeds", "first_seed", "batch_size", "images_per_unit"}),
        "sampler": type(sampler).__name__ if sampler else None,
    }
    return canonical(settings)


def _device_name(device: str) -> str:
    if torch.device(device).type == "cuda":
        return str(torch.cuda.get_device_name(torch.device(device)))
    return device
