"""What makes pictures: the `Pipeline` protocol, and what it makes."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from seedsweep.storage.records import Flaw, Provenance
from seedsweep.storage.settings.sampling import Sampling


@dataclass(frozen=True, slots=True)
class Generation:
    """One image with its seed: (height, width, 3) uint8 RGB, its flaw if any, and what made it."""

    seed: int
    pixels: NDArray[np.uint8]
    flaw: Flaw | None
    provenance: Provenance


class Pipeline(Protocol):
    """A loaded model with a recipe; one thread uses it.

    Equal prompt and seed give equal pixels, whichever other seeds are asked for with it, on one
    type of machine. Pictures have the size that the recipe asks for. A flaw is set where a picture
    is no evidence (`to_pixels` finds two of them). The provenance's `recipe` is the canonical JSON
    of every setting that was used.
    """

    def generate(self, prompt: str, seeds: Sequence[int]) -> list[Generation]:
        """Make one image per seed, in the order of `seeds`.

        Raises `DeviceMemoryError` where one image is too much for the device, `GenerationError`
        where the model cannot do what is asked, `ModelLoadError` where only its first images show
        that it cannot run as it was loaded, and `TransientError` where a service is away: the unit
        is handed back and tried again, however often.
        """

    def with_sampling(self, sampling: Sampling) -> "Pipeline":
        """The same model with another recipe, as if loaded with it, without loading it again.

        The pipeline that it was asked of must not be used any more. Raises `ModelLoadError` where
        the model cannot take the recipe.
        """


@runtime_checkable
class Comparing(Protocol):
    """A loaded model with a recipe that can say which prompts are one to it; one thread uses it."""

    def reads_alike(self, prompt: str, other: str) -> bool:
        """Whether the two prompts are the same to the model, so that their pictures of a seed are
        one, to the last bit. False if that cannot be said."""


def to_pixels(
    picture: NDArray[np.floating[Any]], blanked: bool
) -> tuple[NDArray[np.uint8], Flaw | None]:
    """Round (height, width, 3) in [0, 1] to uint8 as diffusers does, and say if it is no evidence.

    Values that are not finite become 0.
    """
    if not np.issubdtype(picture.dtype, np.floating):
        picture = picture.astype(np.float64)
    finite = bool(np.isfinite(picture).all())
    if not finite:
        picture = np.nan_to_num(picture, nan=0.0, posinf=0.0, neginf=0.0)
    # In place, since this runs in the thread that keeps the device busy.
    scaled = picture.clip(0, 1)
    scaled *= 255
    rounded = np.rint(scaled, out=scaled).astype(np.uint8)
    if not finite:
        return rounded, Flaw.NOT_FINITE
    if blanked:
        return rounded, Flaw.BLANKED
    if _is_constant(rounded):
        return rounded, Flaw.CONSTANT
    return rounded, None


def on_white(pictures: NDArray[np.floating[Any]]) -> NDArray[np.floating[Any]]:
    """Pictures (…, 4) in [0, 1] with an alpha channel, put on white as those of a training set are:
    (…, 3)."""
    alpha = pictures[..., 3:]
    on: NDArray[np.floating[Any]] = pictures[..., :3] * alpha + (1 - alpha)
    return on


def _is_constant(pixels: NDArray[np.uint8]) -> bool:
    """Whether all pixels are one colour; of most pictures, the first row says that they are not."""
    colour = pixels[0, 0]
    return bool((pixels[0] == colour).all() and (pixels == colour).all())
