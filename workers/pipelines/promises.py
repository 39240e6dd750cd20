"""What every model is held to as it is loaded: prompt and seed alone decide a picture."""

from collections.abc import Callable, Sequence
from typing import Any

from seedsweep.storage.errors import DeviceMemoryError, ModelLoadError
from seedsweep.workers.pipelines.first_step import FirstStep

TakeFirst = Callable[[str, Sequence[int]], FirstStep]
"""Has the model take its first step of pictures of a prompt at these seeds, all in one batch."""

_ROUNDING = 0.25
"""What comes again on a GPU may be rounded otherwise: far less than this part of what another
prompt makes of it."""


def require_promises(
    path: str,
    name: str,
    usual: FirstStep,
    take: TakeFirst,
    prompts: Sequence[str],
    *,
    in_batches: bool,
) -> None:
    """Raise `ModelLoadError` unless two prompts differ, a prompt and seed come again, and, if
    pictures are made in batches, each follows a prompt and a seed of its own.

    `usual` is the first step of the first of `prompts` at the seed 0; `path` and `name` say which
    model and class it is.
    """
    other = take(prompts[1], (0,))
    if usual.equals(other):
        raise ModelLoadError(
            f"The model {path} makes the same of two different prompts; check its tokenizer and "
            "text encoder, or use one that takes prompts."
        )
    if usual.apart(take(prompts[0], (0,))) > _ROUNDING * usual.apart(other):
        raise ModelLoadError(
            f"The model {path} makes another picture of the same prompt and seed each time, since "
            f"a {name} draws more by lot than what its generator fixes; use a model of another "
            "pipeline."
        )
    mixed = _mixed_up(take, prompts) if in_batches else ""
    if mixed:
        raise ModelLoadError(
            f"{name} makes pictures in a batch that {mixed}; set sampling.batch_size = 1."
        )


def require_steps(path: str, sampler: Any, steps: int) -> None:
    """Raise `ModelLoadError` unless the sampler takes as many steps as it was asked for: a pipeline
    may have been saved with noise levels of its own, whose number it keeps to."""
    taken = getattr(sampler, "num_inference_steps", None)
    if isinstance(taken, int) and taken != steps:
        raise ModelLoadError(
            f"The model {path} makes pictures in {taken} steps, whatever sampling.steps is; set "
            f"sampling.steps = {taken}."
        )


def _mixed_up(take: TakeFirst, prompts: Sequence[str]) -> str:
    """What some pipelines of diffusers do to the pictures of a batch, in a clause; empty if they
    keep them apart, or if a batch does not fit."""
    try:
        one, other = (take(text, (0, 1)) for text in prompts[:2])
        turned = take(prompts[0], (1, 0))
    except DeviceMemoryError:
        return ""
    if len(one.made) != 2:
        return ""
    if one.has_equal_row(other):
        return "do not follow the prompt"
    if one.apart(FirstStep(turned.made[::-1], turned.sampled)) > _ROUNDING * one.apart(other):
        return "do not each follow a seed of their own"
    return ""
