"""A training picture as it is stored → its pixels at the size of the generations."""

import io
from functools import cache, lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms, ImageOps
from PIL.TiffImagePlugin import TiffImageFile

from seedsweep.storage.prompt_results import Transform
from seedsweep.storage.settings.analysis import Verification

PICTURE_PIXELS = 100_000_000
"""A picture of more is not decoded: so that no picture takes more than a gigabyte."""

_HALF_AS_MANY = {"AVIF", "WEBP"}
"""Formats whose decoders hold a second copy of the picture: half as many pixels are decoded."""

FORMATS = (
    *("AVIF", "BMP", "DIB", "GIF", "ICO", "JPEG", "JPEG2000", "PCX", "PNG", "PPM", "QOI", "SGI"),
    *("TGA", "TIFF", "WEBP"),
)
"""What Pillow is asked to read: pictures of pixels. Its reader of EPS would start a program."""

_ORIENTATION = 0x0112
_PHOTOMETRIC, _WHITE_IS_ZERO = 262, 0
_BAND_PIXELS = 1 << 22
_SRGB = ImageCms.createProfile("sRGB")
_SRGB_LEVELS = 2
"""So many of 255 levels a profile may be off sRGB and still be it: the usual one rounds otherwise,
by one."""
_PROBE = np.arange(0, 256, 15, dtype=np.uint8)
_PROBES = {
    "RGB": np.stack(np.meshgrid(_PROBE, _PROBE, _PROBE), axis=-1).reshape(len(_PROBE), -1, 3),
    "GRAY": np.arange(256, dtype=np.uint8)[None],
}
"""Colours that tell whether a profile is sRGB, by the space that it is of."""
_CONVERTED = {"RGB", "L", "CMYK"}
"""The modes that a colour profile is converted from; others become RGB first."""


def prepare(
    value: bytes | NDArray[np.uint8], settings: Verification, width: int, height: int
) -> tuple[NDArray[np.uint8], Transform]:
    """Decode a picture, a file's bytes or its 8-bit grey or RGB, and bring it to the size: its
    pixels (height, width, 3) uint8, and what was done to it.

    Of several frames the first is taken, and of 16 bits the upper 8. EXIF orientation is undone, a
    colour profile other than sRGB converted to that, and what is transparent put on white; then
    `short-side` scales so that the picture just covers the size and crops its centre, and `stretch`
    ignores its proportions. A profile that is no profile is left out.

    Raises what is in `UNREADABLE`: also, before it is decoded, for a picture of more than
    `PICTURE_PIXELS` (AVIF, WebP: half as many), and for one of 32-bit integers or floats, which
    does not say what is white.
    """
    stored, orientation, picture = _decode(value)
    transparent = picture.has_transparency_data
    picture, profile = _in_srgb(picture)
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


def _decode(
    value: bytes | NDArray[np.uint8],
) -> tuple[tuple[int, int], int, Image.Image]:
    """The size and the orientation that are stored, and the picture, upright."""
    with _open(value) as opened:
        orientation = int(opened.getexif().get(_ORIENTATION, 1))
        return opened.size, orientation, _in_eight_bits(ImageOps.exif_transpose(opened), opened)


def _open(value: bytes | NDArray[np.uint8]) -> Image.Image:
    """The picture, of which no more than the header is read."""
    if isinstance(value, np.ndarray):
        return Image.fromarray(value)
    try:
        opened = Image.open(io.BytesIO(value), formats=_formats())
    except Image.DecompressionBombError as error:
        raise ValueError(f"it has more than {PICTURE_PIXELS:,} pixels") from error
    most = PICTURE_PIXELS // (2 if opened.format in _HALF_AS_MANY else 1)
    if opened.width * opened.height > most:
        raise ValueError(f"it has {opened.width} x {opened.height} pixels, more than {most:,}")
    if opened.mode == "F" or (opened.mode == "I" and opened.format != "PPM"):
        what = "floats" if opened.mode == "F" else "32-bit integers"
        raise ValueError(f"its pixels are {what}, whose white is not known; save it with 8 bits")
    if opened.mode == "RGB" and opened.format == "PNG" and "16" in str(opened.tile):
        # Of the pixels Pillow takes the upper 8 bits, but not of the colour that is transparent.
        clear = opened.info.get("transparency", ())
        opened.info |= {"transparency": tuple(part >> 8 for part in clear)} if clear else {}
    return opened


@cache
def _formats() -> list[str]:
    """Those of `FORMATS` that this Pillow knows."""
    Image.init()
    return [name for name in FORMATS if name in Image.OPEN]


def _in_eight_bits(picture: Image.Image, opened: Image.Image) -> Image.Image:
    """The picture, where it is 16-bit grey the upper 8 bits of it; `opened` is how it is stored."""
    if picture.mode != "I" and not picture.mode.startswith("I;16"):
        return picture
    wide = np.asarray(picture)
    grey = Image.fromarray((wide >> 8).astype(np.uint8))
    if isinstance(opened, TiffImageFile) and opened.tag_v2.get(_PHOTOMETRIC) == _WHITE_IS_ZERO:
        grey = ImageOps.invert(grey)
    info = dict(picture.info)
    if (clear := info.pop("transparency", None)) is not None:
        grey.putalpha(Image.fromarray((wide != clear).astype(np.uint8) * 255))
    grey.info = info
    return grey


def _in_srgb(picture: Image.Image) -> tuple[Image.Image, str]:
    """The picture with the colours that it has in sRGB, and its profile's name: empty where it has
    none, or sRGB."""
    data = picture.info.get("icc_profile")
    if not data:
        return picture, ""
    try:
        name = _profile_name(data)
        if not name:
            return picture, ""
        return _converted(picture, ImageCms.ImageCmsProfile(io.BytesIO(data))), name
    except (ImageCms.PyCMSError, OSError, ValueError):
        return picture, ""


@lru_cache(maxsize=8)
def _profile_name(data: bytes) -> str:
    """What a colour profile is called, empty if it is sRGB: by what it does to colours, for linear
    ones are called sRGB too."""
    profile = ImageCms.ImageCmsProfile(io.BytesIO(data))
    space = profile.profile.xcolor_space.strip()
    if space in _PROBES:
        probe = Image.fromarray(_PROBES[space])
        intent = ImageCms.Intent.RELATIVE_COLORIMETRIC
        shown = ImageCms.profileToProfile(probe, profile, _SRGB, intent, "RGB")
        off = np.asarray(shown, np.int16) - np.asarray(probe.convert("RGB"), np.int16)
        if np.abs(off).max() <= _SRGB_LEVELS:
            return ""
    return ImageCms.getProfileDescription(profile).strip() or "unnamed"


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
    """Put a transparent picture on white, as most training pipelines do; by bands of it, since a
    whole one would be held four times."""
    if not picture.has_transparency_data:
        return picture.convert("RGB")
    flat = Image.new("RGB", picture.size)
    rows = max(1, _BAND_PIXELS // picture.width)
    for top in range(0, picture.height, rows):
        band = picture.crop((0, top, picture.width, min(top + rows, picture.height)))
        white = Image.new("RGBA", band.size, "white")
        on_white = Image.alpha_composite(white, band.convert("RGBA"))
        flat.paste(on_white.convert("RGB"), (0, top))
    return flat
