"""What is asked of a generator that is not ours, and of each of its pictures."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from seedsweep.storage.errors import GenerationError, ModelLoadError
from seedsweep.storage.settings.model import Model
from seedsweep.storage.settings.sampling import Sampling

_BEYOND = 0.5 / 255
"""How far outside [0, 1] a float is still a rounding error: half a level."""


def require_submitted(model: Model, fingerprint: str) -> None:
    if fingerprint != model.fingerprint:
        raise ModelLoadError(
            f"This worker's {model.pipeline} pipeline is not the one that was submitted "
            f"({fingerprint}, not {model.fingerprint}); bring the same code and files here, or "
            "submit the campaign again."
        )


def require_picture(maker: str, picture: NDArray[Any], sampling: Sampling, *, floats: bool) -> None:
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
