"""`python`: a function makes the pictures."""

import copy
import importlib
import importlib.util
import os
import platform
import sys
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seedsweep.storage.errors import (
    ConfigError,
    GenerationError,
    ModelLoadError,
    SeedsweepError,
    TransientError,
)
from seedsweep.storage.record import canonical
from seedsweep.storage.records import Provenance
from seedsweep.storage.settings.model import Model
from seedsweep.storage.settings.sampling import Sampling
from seedsweep.workers.models.plugins import FoundFunction, find_function
from seedsweep.workers.pipelines.checks import require_picture, require_submitted
from seedsweep.workers.pipelines.protocol import Generation, Pipeline, to_pixels

ALLOWED = "SEEDSWEEP_ALLOW_PYTHON"
"""The variable that lists, separated by commas, the functions that may run on this machine."""


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
        definition = find_function(model.path)
    except ConfigError as error:
        raise ModelLoadError(str(error)) from error
    require_submitted(model, definition.fingerprint)
    return FunctionPipeline(definition, _import(definition), sampling, device, threads)


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
        definition: FoundFunction,
        function: Callable[[str, int, int, int], object],
        sampling: Sampling,
        device: str,
        threads: int,
    ) -> None:
        self._definition, self._function = definition, function
        self._sampling, self._device, self._threads = sampling, device, threads

    def generate(self, prompt: str, seeds: Sequence[int]) -> list[Generation]:
        return [self._generation(prompt, int(seed)) for seed in seeds]

    def with_sampling(self, sampling: Sampling) -> "FunctionPipeline":
        other = copy.copy(self)
        other._sampling = sampling
        return other

    def _generation(self, prompt: str, seed: int) -> Generation:
        picture = self._call(prompt, seed)
        require_picture(
            f"The function {self._definition.name}", picture, self._sampling, floats=True
        )
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
                f"The function {self._definition.name} failed on the prompt {prompt[:80]!r} and "
                f"seed {seed} ({error!r}); repair it, or leave the prompt out."
            ) from error

    def _provenance(self, dtype: np.dtype[Any]) -> Provenance:
        recipe = {
            "fingerprint": self._definition.fingerprint,
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


def _import(definition: FoundFunction) -> Callable[[str, int, int, int], object]:
    try:
        function = getattr(_run(definition), definition.name.partition(":")[2])
    except TransientError:
        raise
    except Exception as error:
        raise ModelLoadError(
            f"The function {definition.name} could not be imported ({error!r}); install what its "
            "module needs, or repair it."
        ) from error
    if not callable(function):
        raise ModelLoadError(
            f"{definition.name} is no function, but {function!r:.80}; name a function."
        )
    return function  # type: ignore[no-any-return]


def _run(definition: FoundFunction) -> ModuleType:
    """Import the source that was found; the process and its bytecode files may remember older."""
    name = definition.spec.name
    if "." in name:
        importlib.import_module(name.rpartition(".")[0])
    code = compile(definition.source, str(definition.spec.origin), "exec", dont_inherit=True)
    sys.modules[name] = module = importlib.util.module_from_spec(definition.spec)
    try:
        exec(code, module.__dict__)  # noqa: S102 - the environment allows it
    except BaseException:
        sys.modules.pop(name, None)
        raise
    return module
