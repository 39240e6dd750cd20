"""The diffusers implementation of `Pipeline`: any text-to-image pipeline, from its parts.

Equal pixels: noise is drawn on the CPU by one generator per seed, every batch is padded to the
same shape, and the number of torch threads is fixed. A batch that does not fit in the device's
memory is halved, and the images so made say so.
"""

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import diffusers
import numpy as np
import torch
import transformers
from numpy.typing import NDArray

from seedsweep.storage.errors import (
    ConfigError,
    DeviceMemoryError,
    GenerationError,
    ModelLoadError,
    SeedsweepError,
)
from seedsweep.storage.records import Provenance
from seedsweep.storage.settings.model import Model
from seedsweep.storage.settings.sampling import Sampling
from seedsweep.workers.models.parts import Places
from seedsweep.workers.pipelines.assembly import one_line, require_packages
from seedsweep.workers.pipelines.call_arguments import call_arguments, recorded_recipe
from seedsweep.workers.pipelines.call_failures import translated
from seedsweep.workers.pipelines.class_labels import classes_of
from seedsweep.workers.pipelines.diffusers_class import guidance_of, takes_generators
from seedsweep.workers.pipelines.diffusers_loading import load_diffusers
from seedsweep.workers.pipelines.first_step import FirstStep, first_step
from seedsweep.workers.pipelines.fitting_batches import FittingBatches, Made, padded_seeds
from seedsweep.workers.pipelines.output_pictures import pictures_of
from seedsweep.workers.pipelines.prediction_reader import read_predictions
from seedsweep.workers.pipelines.predictions import Predictions
from seedsweep.workers.pipelines.promises import require_promises, require_steps
from seedsweep.workers.pipelines.prompt_tokens import DIFFERENT, require_vocabularies, say_cuts_once
from seedsweep.workers.pipelines.protocol import Generation, to_pixels
from seedsweep.workers.pipelines.samplers import choose_sampler

VERSIONS = (
    f"diffusers {diffusers.__version__}, torch {torch.__version__}, "
    f"transformers {transformers.__version__}, numpy {np.__version__}"
)


class DiffusersPipeline:
    """A diffusers text-to-image pipeline on one device, loaded once from the model's parts.

    `model` says as what they are loaded; that `places` hold them is for `model_places` to see to.
    Prompts are given to it with the triggers of its adapters (`Model.given`), or are the numbers or
    names of its classes if it is class-conditional.
    Raises `ModelLoadError` if it does not make pictures of a prompt alone, makes the same of two
    prompts, or does not use the sampler or the negative prompt that is asked for. A guidance scale
    that it does not use is null in the recorded recipe.

    Batches are as large as fit in the device's memory, `batch_size` at most (`FittingBatches`).
    """

    def __init__(
        self, places: Places, model: Model, sampling: Sampling, device: str, threads: int
    ) -> None:
        torch.set_num_threads(threads)
        diffusers.utils.logging.disable_progress_bar()
        transformers.utils.logging.disable_progress_bar()
        say_cuts_once()
        self._model = model
        self._device = device
        self._threads = threads
        self._pipeline = load_diffusers(places, model, device)
        self._own_sampler = getattr(self._pipeline, "scheduler", None)
        self._batches = FittingBatches()
        self._classes = classes_of(self._pipeline, places.config or places.model)
        self._different = ("0", "1") if self._classes else DIFFERENT
        require_vocabularies(self._pipeline)
        self._follow(sampling)
        self._require_promises()

    def generate(self, prompt: str, seeds: Sequence[int]) -> list[Generation]:
        return self._in_batches(
            seeds, self._sampling.batch_size, lambda batch, size: self._batch(prompt, batch, size)
        )

    def predict(
        self, prompt: str, seeds: Sequence[int], *, at_once: int, steps: int, low_noise: bool
    ) -> list[Predictions]:
        """As `Predicting` promises; the network's parts are read as `read_predictions` says."""
        arguments = {**self._arguments}
        arguments.pop("negative_prompt", None)

        def begin(batch: Sequence[int], size: int) -> list[Predictions]:
            padded = padded_seeds(batch, size)
            with translated(self._model, self._device, prompt):
                made = read_predictions(
                    self._pipeline,
                    self._model.given(prompt),
                    padded,
                    arguments,
                    steps,
                    low_noise,
                )
            return made[: len(batch)]

        return self._in_batches(seeds, min(at_once, self._sampling.batch_size), begin)

    def reads_alike(self, prompt: str, other: str) -> bool:
        """As `Comparing` promises: the denoiser makes the same of both at its first step."""
        try:
            return self._first_step(prompt).equals(self._first_step(other))
        except (DeviceMemoryError, GenerationError, ModelLoadError):
            return False  # what it was shows once pictures are made

    def _in_batches(
        self, seeds: Sequence[int], most: int, make: Callable[[Sequence[int], int], list[Made]]
    ) -> list[Made]:
        size = (self._sampling.width, self._sampling.height)
        try:
            return self._batches.make(seeds, size, most, make, self._free)
        except torch.OutOfMemoryError as error:
            raise self._too_large() from error

    def _free(self) -> None:
        """What is offloaded was left on the device."""
        self._pipeline.maybe_free_model_hooks()

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
        before = getattr(self._pipeline, "scheduler", None)
        self._arguments = call_arguments(self._pipeline, sampling)
        self._sampling = sampling
        try:
            self._pipeline.scheduler = choose_sampler(sampling.sampler, self._own_sampler)
            self._recipe = recorded_recipe(
                self._model, self._used(sampling), self._pipeline.scheduler
            )
        except SeedsweepError:
            self._pipeline.scheduler = before
            raise

    def _used(self, sampling: Sampling) -> Sampling:
        """The recipe as the pipeline uses it, found out at its first step."""
        usual = self._usual = self._first_step(self._different[0])
        if sampling.sampler and not usual.sampled:
            raise self._unused("sampler", "leave it out for the model's own")
        require_steps(self._model.path, self._pipeline.scheduler, sampling.steps)
        if sampling.negative_prompt and self._is_unused(usual, "negative_prompt", ""):
            raise self._unused("negative_prompt", "leave it out")
        # 0 and 1 say that there is to be no guidance.
        guidance = guidance_of(self._pipeline) or "guidance_scale"
        if sampling.guidance_scale not in (0, 1) and self._is_unused(usual, guidance, 1.0):
            return sampling.model_copy(update={"guidance_scale": None})
        return sampling

    def _is_unused(self, usual: FirstStep, name: str, other: object) -> bool:
        if name not in self._arguments:
            return True
        try:
            changed = self._first_step(self._different[0], changes={name: other})
        except ModelLoadError:  # some classes fail without guidance
            return False
        return usual.equals(changed)

    def _require_promises(self) -> None:
        """Raise `ModelLoadError` unless prompt and seed, and nothing else, decide a picture."""
        require_promises(
            self._model.path,
            type(self._pipeline).__name__,
            self._usual,
            lambda text, seeds: self._first_step(text, seeds),
            self._different,
            in_batches=self._sampling.batch_size > 1 and self._usual.sampled,
        )
        self._require_generators()

    def _require_generators(self) -> None:
        """A class that does not say that it takes a generator for each picture may: it is tried."""
        if takes_generators(self._pipeline):
            return
        try:
            self._batch(self._different[0], [0, 1], 2)
        except GenerationError as error:
            raise ModelLoadError(
                f"{type(self._pipeline).__name__} takes one generator for a whole batch, so that "
                "no seed would fix one picture; use a model of another pipeline."
            ) from error

    def _first_step(
        self,
        prompt: str,
        seeds: Sequence[int] = (0,),
        changes: Mapping[str, object] | None = None,
    ) -> FirstStep:
        try:
            asked = self._asked(prompt, len(seeds))
            arguments = {**asked, **self._arguments, **(changes or {})}
            return first_step(self._pipeline, arguments, seeds)
        except torch.OutOfMemoryError as error:
            raise self._too_large() from error
        except Exception as error:  # a model's own files may bring diffusers to raise anything
            require_packages(self._model, error)
            raise ModelLoadError(
                f"{type(self._pipeline).__name__}, as the model {self._model.path} is loaded, "
                f"cannot begin a picture of a prompt alone ({one_line(error)}); correct "
                "[sampling], or name a folder whose pipeline makes pictures of prompts."
            ) from error

    def _asked(self, prompt: str, count: int) -> dict[str, Any]:
        """What the pipeline's call is given to make so many pictures of the prompt."""
        if self._classes:
            try:
                return {"class_labels": [self._classes.number_of(prompt)] * count}
            except ConfigError as error:
                raise GenerationError(str(error)) from error
        if not prompt:
            raise GenerationError(
                f"The model {self._model.path} makes pictures of prompts, and there are none; name "
                "a file of them in [prompts]."
            )
        return {"prompt": self._model.given(prompt), "num_images_per_prompt": count}

    def _unused(self, setting: str, remedy: str) -> ModelLoadError:
        return ModelLoadError(
            f"sampling.{setting} alters nothing: {type(self._pipeline).__name__}, as the model "
            f"{self._model.path} is loaded, does not use it; {remedy}."
        )

    def _too_large(self) -> DeviceMemoryError:
        return DeviceMemoryError(
            f"One picture of {self._sampling.width} x {self._sampling.height} is more "
            f"than {self._device} has memory for; take a smaller size or dtype."
        )

    def _pictures(self, output: Any, count: int) -> NDArray[Any]:
        """The pictures of a pipeline's output, (count, height, width, 3), if it made such."""
        wanted = (count, self._sampling.height, self._sampling.width, 3)
        return pictures_of(output, wanted, type(self._pipeline).__name__)

    def _batch(self, prompt: str, seeds: Sequence[int], batch_size: int) -> list[Generation]:
        padded = padded_seeds(seeds, batch_size)
        with translated(self._model, self._device, prompt):
            output = self._call(prompt, padded, self._arguments)
        pictures = self._pictures(output, batch_size)
        blanked = getattr(output, "nsfw_content_detected", None) or [False] * batch_size
        provenance = Provenance(
            batch_size=batch_size,
            threads=self._threads,
            device=_device_name(self._device),
            dtype=self._model.dtype,
            versions=VERSIONS,
            recipe=self._recipe,
        )
        return [
            Generation(seed, *to_pixels(pictures[i], bool(blanked[i])), provenance)
            for i, seed in enumerate(seeds)
        ]

    def _call(self, prompt: str, seeds: Sequence[int], arguments: Mapping[str, Any]) -> Any:
        """What the pipeline makes of a prompt at these seeds."""
        with torch.inference_mode():
            return self._pipeline(
                **self._asked(prompt, len(seeds)),
                generator=[torch.Generator("cpu").manual_seed(seed) for seed in seeds],
                output_type="np",
                **arguments,
            )


def _device_name(device: str) -> str:
    if torch.device(device).type == "cuda":
        return str(torch.cuda.get_device_name(torch.device(device)))
    return device
