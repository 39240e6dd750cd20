"""What a diffusers pipeline's call is given of a recipe, and what is recorded of it."""

from typing import Any

from seedsweep.storage.errors import ModelLoadError
from seedsweep.storage.record import canonical
from seedsweep.storage.settings.model import Model
from seedsweep.storage.settings.sampling import Sampling
from seedsweep.workers.pipelines.diffusers_class import (
    call_parameters,
    guidance_of,
    is_unconditional,
    takes_classes,
    why_unfit,
)

_REWRITES = ("enable_prompt_rewrite", "use_pe")
"""The arguments that have a language model write each prompt anew, in words that no seed fixes."""


def call_arguments(pipeline: Any, sampling: Sampling) -> dict[str, Any]:
    """What the pipeline's call is given of the recipe; a negative prompt only if there is one. No
    prompt is written anew: pictures are of the prompt as it stands.

    Raises `ModelLoadError` if the pipeline's class makes no pictures of a prompt, a class or a seed
    alone.
    """
    reason = why_unfit(type(pipeline))
    if reason:
        raise ModelLoadError(f"The model cannot be used: {reason}.")
    wanted: dict[str, Any] = {"num_inference_steps": sampling.steps}
    kind = type(pipeline)
    if not takes_classes(kind) and not is_unconditional(kind):  # their pictures have one size
        wanted |= {"width": sampling.width, "height": sampling.height}
    known = call_parameters(pipeline)
    guidance = guidance_of(pipeline)
    if guidance:
        wanted[guidance] = sampling.guidance_scale
        if "guidance_schedule" in known:
            wanted["guidance_schedule"] = None  # one scale for all steps takes its place
    if "max_area" in known:
        # It would make pictures of that area, whatever width and height are.
        wanted["max_area"] = sampling.width * sampling.height
    wanted |= dict.fromkeys((name for name in _REWRITES if name in known), False)
    if sampling.negative_prompt and "negative_prompt" in known:
        wanted["negative_prompt"] = sampling.negative_prompt
    return wanted


def recorded_recipe(model: Model, used: Sampling, sampler: Any) -> str:
    """All settings that alter pixels, but for the batch's size, with the sampler that is used; null
    is what the pipeline does not use."""
    settings = {
        **model.identity,
        **used.model_dump(exclude={"seeds", "first_seed", "batch_size", "images_per_unit"}),
        "sampler": None if sampler is None else type(sampler).__name__,
    }
    return canonical(settings)
