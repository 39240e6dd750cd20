"""Generators that are not ours, loaded and held to what they promise: plug-ins and functions."""

from collections.abc import Sequence
from importlib.metadata import EntryPoint

from seedsweep.storage.errors import ConfigError, GenerationError, ModelLoadError, TransientError
from seedsweep.storage.settings.model import Model
from seedsweep.storage.settings.sampling import Sampling
from seedsweep.workers.models.fingerprint import fingerprint_model
from seedsweep.workers.models.plugins import find_plugin, name_distribution
from seedsweep.workers.pipelines.checks import require_picture, require_submitted
from seedsweep.workers.pipelines.protocol import Generation, Pipeline

_first_versions: dict[str, str] = {}
"""The distribution, with its version, that each entry point was first loaded from."""


def load_plugin(model: Model, sampling: Sampling, device: str, threads: int) -> Pipeline:
    """Load a pipeline that an entry point provides; what it makes is checked.

    Raises `ModelLoadError` where no plug-in of that name is installed, it or the file at
    `model.path` is not the one that was submitted, it was updated since this process loaded it, or
    it fails to load.
    """
    try:
        entry, fingerprint = find_plugin(model.pipeline), fingerprint_model(model)
    except ConfigError as error:
        raise ModelLoadError(str(error)) from error
    require_submitted(model, fingerprint)
    _require_first_version(entry)
    try:
        loaded = entry.load()(model, sampling, device, threads)
    except (ModelLoadError, TransientError):
        raise
    except Exception as error:
        raise ModelLoadError(
            f"The pipeline {entry.name} of {name_distribution(entry)} could not be loaded "
            f"({error!r}); correct [model], or repair the plug-in."
        ) from error
    return CheckedPipeline(entry.name, loaded, sampling)


class CheckedPipeline:
    """A plug-in's pipeline, from which nothing is taken but one right picture for each seed."""

    def __init__(self, name: str, pipeline: Pipeline, sampling: Sampling) -> None:
        self._name, self._pipeline, self._sampling = name, pipeline, sampling

    def generate(self, prompt: str, seeds: Sequence[int]) -> list[Generation]:
        made = self._pipeline.generate(prompt, seeds)
        given = [generation.seed for generation in made]
        if given != list(seeds):
            raise GenerationError(
                f"The pipeline {self._name} was asked for the seeds {list(seeds)[:10]}… and gave "
                f"{given[:10]}…; repair the plug-in."
            )
        for generation in made:
            require_picture(
                f"The pipeline {self._name}", generation.pixels, self._sampling, floats=False
            )
        return made

    def with_sampling(self, sampling: Sampling) -> "CheckedPipeline":
        return CheckedPipeline(self._name, self._pipeline.with_sampling(sampling), sampling)


def _require_first_version(entry: EntryPoint) -> None:
    """Refuse a plug-in that was updated below a running worker, which still has the old code."""
    now = name_distribution(entry)
    before = _first_versions.setdefault(entry.value, now)
    if before != now:
        raise ModelLoadError(
            f"This worker began with {before}, and {now} is installed since; restart the worker."
        )
