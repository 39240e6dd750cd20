"""Generators that are not ours, loaded and held to what they promise: plug-ins and functions."""

import copy
import importlib
import importlib.util
import os
import platform
import sys
from collections.abc import Callable, Sequence
from importlib.metadata import EntryPoint
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from storage.errors import (
    ConfigError,
    GenerationError,
    ModelLoadError,
    SeedsweepError,
    TransientError,
)
from storage.records import Model, Provenance, Sampling, canonical
from workers.models import fingerprint_model
from workers.pipelines import Generation, Pipeline, to_pixels
from workers.plugins import FoundFunction, find_function, find_plugin, name_distribution

ALLOWED = "SEEDSWEEP_ALLOW_PYTHON"
"""The variable that lists, separated by commas, the functions that may run on this machine."""

_first_versions: dict[str, str] = {}
"""The distribution, with its version, that each entry point was first loaded from."""

_BEYOND = 0.5 / 255
"""How far outside [0, 1] a float is still a rounding error: half a level."""


def load_plugin(model: Model, sampling: Sampling, device: str, threads: int) -> Pipeline:
    """Load a pipeline that an entry point provides; what it makes is checked.

    Raises `ModelLoadError` where no plug-in of that name is installed, it or the file at
    `model.path` is not the one that was submitted, it was updated since this process loaded it, or
    it fails to load.
    """
    try:
        entry, found = find_plugin(model.pipeline), fingerprint_model(model)
    except ConfigError as error:
        raise ModelLoadError(str(error)) from error
    _require_submitted(model, found)
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
            _require_picture(
                f"The pipeline {self._name}", generation.pixels, self._sampling, floats=False
            )
        return made

    def with_sampling(self, sampling: Sampling) -> "CheckedPipeline":
        return CheckedPipeline(self._name, self._pipeline.with_sampling(sampling), sampling)


def load_function(model: Model, sampling: Sampling, device: str, threads: int) -> Pipeline:
    """Import the function that `model.path` names, if the environment allows it here.

    What runs is the source that was hashed, whatever the process imported before. Raises
    `ModelLoadError` where the function is not allowed (then nothing of it is looked at), is not
    here, is not the one that was submitted, or fails to import.
    """
    allowed = [name.strip() for name in os.environ.get(ALLOWED, "").split(",")]
    if model.path not in allowed:
        raise ModelLoadError(
            f"The function {model.path} may not run on this worker; start it with {ALLOWED} set to "
            "that name, if you trust the code."
        )
    try:
        found = find_function(model.path)
    except ConfigError as error:
        raise ModelLoadError(str(error)) from error
    _require_submitted(model, found.fingerprint)
    return FunctionPipeline(found, _import(found), sampling, device, threads)


class FunctionPipeline:
    """`python`: a function makes the pictures, one at a call.

    It is called as `function(prompt, seed, width, height)`, and returns an array (height, width, 3)
    of RGB: uint8, or floats in [0, 1]. One picture at a call, since then no picture can depend on
    its company; a generator that wants batches, a device or settings of its own is a plug-in.

    Of its errors a `SeedsweepError` is passed on (a `TransientError` has the unit tried again), and
    any other is a `GenerationError`. The recorded device and threads are the worker's: the function
    is not told of them. The recorded dtype is that of the array that it returned.
    """

    def __init__(
        self,
        found: FoundFunction,
        function: Callable[[str, int, int, int], object],
        sampling: Sampling,
        device: str,
        threads: int,
    ) -> None:
        self._found, self._function = found, function
        self._sampling, self._device, self._threads = sampling, device, threads

    def generate(self, prompt: str, seeds: Sequence[int]) -> list[Generation]:
        return [self._generation(prompt, int(seed)) for seed in seeds]

    def with_sampling(self, sampling: Sampling) -> "FunctionPipeline":
        other = copy.copy(self)
        other._sampling = sampling
        return other

    def _generation(self, prompt: str, seed: int) -> Generation:
        picture = self._call(prompt, seed)
        _require_picture(f"The function {self._found.name}", picture, self._sampling, floats=True)
        scale = 255 if picture.dtype == np.uint8 else 1
        pixels, flaw = to_pixels(picture.astype(np.float64) / scale, blanked=False)
        return Generation(seed, pixels, flaw, self._provenance(picture.dtype))

    def _call(self, prompt: str, seed: int) -> NDArray[Any]:
        try:
            return np.asarray(
                self._function(prompt, seed, self._sampling.width, self._sampling.height)
            )
        except SeedsweepError:
            raise
        except Exception as error:
            raise GenerationError(
                f"The function {self._found.name} failed on the prompt {prompt[:80]!r} and seed "
                f"{seed} ({error!r}); repair it, or leave the prompt out."
            ) from error

    def _provenance(self, dtype: np.dtype[Any]) -> Provenance:
        recipe = {
            "fingerprint": self._found.fingerprint,
            "height": self._sampling.height,
            "pipeline": "python",
            "width": self._sampling.width,
        }
        return Provenance(
            batch_size=1,
            threads=self._threads,
            device=self._device,
            dtype=str(dtype),
            versions=f"Python {platform.python_version()}, numpy {np.__version__}",
            recipe=canonical(recipe),
        )


def _require_first_version(entry: EntryPoint) -> None:
    """Refuse a plug-in that was updated below a running worker, which still has the old code."""
    now = name_distribution(entry)
    before = _first_versions.setdefault(entry.value, now)
    if before != now:
        raise ModelLoadError(
            f"This worker began with {before}, and {now} is installed since; restart the worker."
        )


def _require_submitted(model: Model, found: str) -> None:
    if found != model.fingerprint:
        raise ModelLoadError(
            f"This worker's {model.pipeline} pipeline is not the one that was submitted ({found}, "
            f"not {model.fingerprint}); bring the same code and files here, or submit the campaign "
            "again."
        )


def _require_picture(
    maker: str, picture: NDArray[Any], sampling: Sampling, *, floats: bool
) -> None:
    wanted = (sampling.height, sampling.width, 3)
    is_float = floats and np.issubdtype(picture.dtype, np.floating)
    if picture.shape != wanted or not (is_float or picture.dtype == np.uint8):
        also = " or floats in [0, 1]" if floats else ""
        raise GenerationError(
            f"{maker} gave {picture.dtype} of shape {picture.shape}, not uint8{also} of shape "
            f"{wanted} (height, width, 3); correct it, or sampling.width and height."
        )
    finite = picture[np.isfinite(picture)] if is_float else picture[:0]
    if finite.size and (finite.min() < -_BEYOND or finite.max() > 1 + _BEYOND):
        raise GenerationError(
            f"{maker} gave floats from {finite.min():g} to {finite.max():g}; scale them to [0, 1]."
        )


def _import(found: FoundFunction) -> Callable[[str, int, int, int], object]:
    try:
        function = getattr(_run(found), found.name.partition(":")[2])
    except TransientError:
        raise
    except Exception as error:
        raise ModelLoadError(
            f"The function {found.name} could not be imported ({error!r}); install what its module "
            "needs, or repair it."
        ) from error
    if not callable(function):
        raise ModelLoadError(f"{found.name} is no function, but {function!r:.80}; name a function.")
    return function  # type: ignore[no-any-return]


def _run(found: FoundFunction) -> ModuleType:
    """Import the source that was found; the process and its bytecode files may remember older."""
    name = found.spec.name
    if "." in name:
        importlib.import_module(name.rpartition(".")[0])
    code = compile(found.source, str(found.spec.origin), "exec", dont_inherit=True)
    sys.modules[name] = module = importlib.util.module_from_spec(found.spec)
    try:
        exec(code, module.__dict__)  # noqa: S102 - the environment allows it
    except BaseException:
        sys.modules.pop(name, None)
        raise
    return module
