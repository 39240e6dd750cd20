"""The pictures of a training set, brought to the size of the generations."""

import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms, ImageOps

from seedsweep.storage.errors import TrainingSetError
from seedsweep.storage.prompt_results import Transform
from seedsweep.storage.records import Verification
from seedsweep.workers.training.slices import UNREADABLE, cut_training_set, read_slice

_ORIENTATION = 0x0112
_SRGB = ImageCms.createProfile("sRGB")
_CONVERTED = {"RGB", "L", "CMYK"}
"""The modes that a colour profile is converted from; others become RGB first."""


def read_pictures(
    settings: Verification,
    width: int,
    height: int,
    wanted: Callable[[str], bool] = lambda name: True,
) -> Iterator[tuple[str, NDArray[np.uint8], Transform]]:
    """The training pictures that are `wanted` by name, in order, one at a time: (name, pixels
    (height, width, 3) uint8, what was done to it); the others are not decoded.

    They are prepared as `prepare` says. Raises `TrainingSetError` naming the first picture that
    cannot be read.
    """
    path, at = Path(settings.training_set), "its beginning"
    try:
        for part in cut_training_set(path):
            for at, read in read_slice(part):
                if wanted(at):
                    yield at, *prepare(read(), settings, width, height)
    except (TrainingSetError, *UNREADABLE) as error:
        raise TrainingSetError(
            f"The training set {path} cannot be read at {at} ({error}); mend or remove that "
            "picture."
        ) from error


def prepare(
    value: Any, settings: Verification, width: int, height: int
) -> tuple[NDArray[np.uint8], Transform]:
    """Decode a picture, a file's bytes or the Hugging Face image feature, and bring it to the size:
    its pixels (height, width, 3) uint8, and what was done to it.

    EXIF orientation is undone, a colour profile other than sRGB converted to that, and what is
    transparent put on white; then `short-side` scales so that the picture just covers the size and
    crops its centre, and `stretch` ignores its proportions. A profile that is no profile is left
    out. Raises what is in `UNREADABLE`.
    """
    data = value["bytes"] if isinstance(value, dict) else value
    with Image.open(io.BytesIO(data)) as opened:
        stored, orientation = opened.size, int(opened.getexif().get(_ORIENTATION, 1))
        upright = ImageOps.exif_transpose(opened)
    transparent = upright.has_transparency_data
    picture, profile = _in_srgb(upright)
    picture = _flattened(picture)
    fits = picture.size == (width, height)
    if not fits and settings.resize == "short-side":
        picture = ImageOps.fit(picture, (width, height), Image.Resampling.BICUBIC)
    elif not fits:
        picture = picture.resize((width, height), Image.Resampling.BICUBIC)
    return np.asarray(picture), Transform(
        width=stored[0],
        height=stored[1],
        orientation=orientation,
        transparent=transparent,
        profile=profile,
        resize="none" if fits else settings.resize,
        crop="none" if fits or settings.resize == "stretch" else settings.crop,
    )


def _in_srgb(picture: Image.Image) -> tuple[Image.Image, str]:
    """The picture with the colours that it has in sRGB, and its profile's name: empty where it has
    none, or sRGB."""
    data = picture.info.get("icc_profile")
    if not data:
        return picture, ""
    try:
        profile = ImageCms.ImageCmsProfile(io.BytesIO(data))
        name = ImageCms.getProfileDescription(profile).strip() or "unnamed"
        return (picture, "") if "srgb" in name.lower() else (_converted(picture, profile), name)
    except (ImageCms.PyCMSError, OSError, ValueError):
        return picture, ""


def _converted(picture: Image.Image, profile: ImageCms.ImageCmsProfile) -> Image.Image:
    alpha = picture.convert("RGBA").getchannel("A") if picture.has_transparency_data else None
    opaque = picture if picture.mode in _CONVERTED else picture.convert("RGB")
    colours = ImageCms.profileToProfile(opaque, profile, _SRGB, outputMode="RGB")
    if colours is None:
        raise ValueError("it was converted in place")
    if alpha is not None:
        colours.putalpha(alpha)
    return colours


def _flattened(picture: Image.Image) -> Image.Image:
    """Put a transparent picture on white, as most training pipelines do."""
    if picture.has_transparency_data:
        rgba = picture.convert("RGBA")
        white = Image.new("RGBA", rgba.size, "white")
        picture = Image.alpha_composite(white, rgba)
    return picture.convert("RGB")
