"""What a call of a diffusers pipeline raises, in our words."""

import contextlib
from collections.abc import Iterator

import torch

from seedsweep.storage.errors import GenerationError, ModelLoadError, SeedsweepError
from seedsweep.storage.settings.model import Model
from seedsweep.workers.pipelines.assembly import one_line
from seedsweep.workers.pipelines.diffusers_loading import is_compilers_failure


@contextlib.contextmanager
def translated(model: Model, device: str, prompt: str) -> Iterator[None]:
    """Raise what a call with this prompt raises as `GenerationError`, or, if the model could not be
    compiled, as `ModelLoadError`. A lack of memory passes as it is."""
    try:
        yield
    except (torch.OutOfMemoryError, SeedsweepError):
        raise
    except Exception as error:  # a model's own files may bring diffusers to raise anything
        if model.compile and is_compilers_failure(error):
            raise ModelLoadError(
                f"The model {model.path} could not be compiled for {device} "
                f"({str(error).partition(chr(10))[0]}); install on the worker's host what "
                "torch.compile needs (a C++ compiler, for a GPU also Triton), or leave "
                "model.compile out."
            ) from error
        on = f" on the prompt {prompt[:80]!r}" if prompt else ""
        remedy = ", or leave the prompt out" if prompt else ""
        raise GenerationError(
            f"The model failed{on} ({one_line(error)}); correct the campaign's sampling{remedy}."
        ) from error
