"""What a plug-in is written against.

Anything that makes a picture of a prompt and a seed can be audited, or of a seed alone: a campaign
without `[prompts]` has the empty text for its one prompt. A package provides a pipeline
as an entry point of the group `seedsweep.pipelines`, named as campaigns name it in `[model]
pipeline`; its object is a function

    load(model: Model, sampling: Sampling, device: str, threads: int) -> Pipeline

that gets the campaign's `[model]` and `[sampling]`, and the device (`cpu`, `cuda:0`, …) and number
of CPU threads to keep to. It raises `ModelLoadError` for what it cannot load or does not take of a
recipe, `TransientError` for what may pass. `model.path` is the plug-in's own, a URL or a name; a
file or folder that it names beside the campaign file becomes an absolute path, and is part of the
model's fingerprint with all its files. Code is known by its distribution's name and version: raise
the version whenever pixels change. The names of the built-in pipelines cannot be taken.
"""

from seedsweep.storage.errors import (
    ConfigError,
    DeviceMemoryError,
    GenerationError,
    ModelLoadError,
    SeedsweepError,
    TransientError,
)
from seedsweep.storage.record import canonical
from seedsweep.storage.records import Flaw, Provenance
from seedsweep.storage.settings.model import Model
from seedsweep.storage.settings.sampling import Sampling
from seedsweep.workers.pipelines.protocol import Generation, Pipeline, to_pixels

__all__ = [
    "ConfigError",
    "DeviceMemoryError",
    "Flaw",
    "Generation",
    "GenerationError",
    "Model",
    "ModelLoadError",
    "Pipeline",
    "Provenance",
    "Sampling",
    "SeedsweepError",
    "TransientError",
    "canonical",
    "to_pixels",
]
