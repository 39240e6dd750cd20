"""The screen of a prompt from the inside of its model: one score for each seed."""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from seedsweep.storage.errors import ConfigError, ModelLoadError
from seedsweep.storage.settings.model import Model
from seedsweep.storage.settings.sampling import Sampling, ScreenSettings
from seedsweep.workers.models.folder import read_index
from seedsweep.workers.models.local_folder import folder_here
from seedsweep.workers.pipelines.diffusers_class import class_of, is_installed, why_opaque
from seedsweep.workers.pipelines.predictions import Predicting, Predictions
from seedsweep.workers.pipelines.protocol import Pipeline
from seedsweep.workers.screening.scores import anisotropy, noise_magnitude, one_step

_SCORES: dict[str, Callable[[Predictions], float]] = {
    "noise-magnitude": noise_magnitude,
    "one-step": one_step,
    "anisotropy": anisotropy,
}


def screen_names() -> tuple[str, ...]:
    """The names of the scores, as `ScreenSettings.score` takes them."""
    return tuple(_SCORES)


def network_passes(settings: ScreenSettings) -> int:
    """How many passes of the network a prompt takes: each with one noisy picture of one seed, with
    the prompt or without it. Of a picture of n steps with guidance it is 2n for each seed.

    Batches are padded: a device does as many as fill them, which is no more unless some of the
    seeds of a prompt are asked for alone.
    """
    at_once = 4 if settings.score == "anisotropy" else 2
    return at_once * settings.steps * settings.seeds


def check_screen(settings: ScreenSettings, model: Model, sampling: Sampling) -> None:
    """Refuse what is known to be impossible before a model is loaded; its class is looked at if its
    folder and diffusers are on this machine. Raises `ConfigError`."""
    if model.pipeline != "diffusers":
        raise ConfigError(
            f"No screen can look inside the pipeline {model.pipeline!r}; leave the screen out, or "
            "use a diffusers model."
        )
    if sampling.guidance_scale <= 1:
        raise ConfigError(
            f"A screen compares predictions with and without the prompt, and sampling."
            f"guidance_scale is {sampling.guidance_scale:g}, so that there are none without; set "
            "it above 1, or leave the screen out."
        )
    if settings.steps > sampling.steps:
        raise ConfigError(
            f"A screen of {settings.steps} steps is longer than sampling.steps, {sampling.steps}; "
            "take fewer."
        )
    folder = folder_here(model)
    if folder is None or not is_installed():
        return
    kind = class_of((read_index(folder) or {}).get("_class_name"))
    opaque = why_opaque(kind) if kind else ""
    if opaque:
        raise ConfigError(f"No screen can look inside: {opaque}; leave the screen out.")


def screen_prompt(
    pipeline: Pipeline, prompt: str, seeds: Sequence[int], settings: ScreenSettings
) -> NDArray[np.float64]:
    """Score each of `seeds`, which are some of the settings', in their order: (len(seeds),).

    The higher, the likelier the prompt is memorised; NaN if the model's predictions are not
    finite. Equal prompt and seed give an equal score to the last bit on one type of machine, in
    whatever company: batches are padded to the number of the settings' seeds, or to the recipe's
    `batch_size` if that is less. `pipeline` is one that `load_pipeline` gave.

    Raises `ModelLoadError` for a pipeline that no screen can look inside, and whatever
    `Pipeline.generate` raises.
    """
    if not isinstance(pipeline, Predicting):
        raise ModelLoadError(
            f"No screen can look inside a {type(pipeline).__name__}; leave the screen out, or use "
            "a diffusers model."
        )
    predictions = pipeline.predict(
        prompt,
        seeds,
        at_once=settings.seeds,
        steps=settings.steps,
        low_noise=settings.score == "anisotropy",
    )
    score = _SCORES[settings.score]
    return np.array([score(each) for each in predictions], dtype=np.float64)
