"""The pictures that a call of a diffusers pipeline put out."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from seedsweep.storage.errors import ModelLoadError
from seedsweep.workers.pipelines.protocol import on_white


def pictures_of(output: Any, wanted: tuple[int, int, int, int], name: str) -> NDArray[Any]:
    """The pictures of a pipeline's output, of the `wanted` shape (count, height, width, 3).

    Grey ones have three equal channels then, transparent ones are on white. Raises `ModelLoadError`
    if it made none of that shape; `name` says which class it is.
    """
    pictures = np.asarray(output[0])
    if pictures.ndim == 4 and pictures.shape[-1] == 1:  # grey
        pictures = np.repeat(pictures, 3, axis=-1)
    if pictures.ndim == 4 and pictures.shape[-1] == 4:  # transparent
        pictures = on_white(pictures)
    shape = pictures.shape
    if shape == wanted:
        return pictures
    if len(shape) != 4 or shape[-1] != 3:
        raise ModelLoadError(
            f"{name} makes no pictures (it gave an array of shape {shape}); name a folder "
            "whose pipeline makes pictures of prompts."
        )
    raise ModelLoadError(
        f"{name} made {shape[0]} pictures of {shape[2]} x {shape[1]} where {wanted[0]} of "
        f"{wanted[2]} x {wanted[1]} were asked for; set sampling.width to {shape[2]} and "
        f"height to {shape[1]}."
    )
