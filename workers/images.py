"""Pixels ↔ PNG, and the digest that names pixels whatever encoded them."""

import hashlib
import struct

import cv2
import numpy as np
from numpy.typing import NDArray

# Level 1 with run-length strategy: fast, and small on photographs.
_ENCODING = (
    cv2.IMWRITE_PNG_COMPRESSION,
    1,
    cv2.IMWRITE_PNG_STRATEGY,
    cv2.IMWRITE_PNG_STRATEGY_RLE,
)

_PLAIN = bytes([8, 2, 0, 0, 0])
"""What a PNG's header says of 8 bits of red, green and blue, row by row; nothing may follow it but
data, which nothing then alters."""
_BEGINNING = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + b"IHDR"
"""Of every PNG; its width and height follow."""
_ROOM = 1 << 12
"""A PNG of noise is a little larger than its pixels; what is far larger is not inflated."""


def encode_png(pixels: NDArray[np.uint8]) -> bytes:
    """Encode (height, width, 3) uint8 RGB without loss."""
    done, data = cv2.imencode(".png", cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR), _ENCODING)
    if not done:
        raise ValueError(f"Pixels of shape {pixels.shape} cannot be encoded as PNG.")
    return data.tobytes()


def decode_png(
    png: bytes, width: int, height: int, into: NDArray[np.uint8] | None = None
) -> NDArray[np.uint8]:
    """Decode a PNG of this size to (height, width, 3) uint8 RGB, which is `into` if that is given.

    Raises `ValueError` for anything else, and for another size, or far more data than its pixels
    take, before anything is inflated: less than a megabyte can come to gigabytes.
    """
    if png[: len(_BEGINNING)] != _BEGINNING or len(png) < len(_BEGINNING) + 8:
        raise ValueError("it is no PNG")
    size = struct.unpack_from(">II", png, len(_BEGINNING))
    if size != (width, height):
        raise ValueError(f"it is {size[0]} x {size[1]} and not {width} x {height} pixels")
    if len(png) > 2 * width * height * 3 + _ROOM:
        raise ValueError(f"its {len(png):,} bytes are more than its pixels take")
    pixels = _decode_plain(png, width, height)
    if pixels is None:
        turned = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR)
        if turned is None:
            raise ValueError("it is no whole PNG")
        return np.asarray(cv2.cvtColor(turned, cv2.COLOR_BGR2RGB, into), dtype=np.uint8)
    if into is None:
        return pixels
    into[:] = pixels
    return into


def _decode_plain(png: bytes, width: int, height: int) -> NDArray[np.uint8] | None:
    """The pixels of a PNG such as `encode_png` makes, in half of the time that OpenCV takes; None
    for any other, for one that is not whole, and on a machine without the library."""
    if png[24:29] != _PLAIN or png[37:41] != b"IDAT":
        return None
    try:
        # It also loads a library of CUDA's, if there is one, and only who reads pictures needs it.
        from kornia_rs.io import decode_image_png_u8

        return np.asarray(decode_image_png_u8(png, (height, width), "rgb"), dtype=np.uint8)
    except Exception:  # it has no narrower one
        return None


def digest_pixels(pixels: NDArray[np.uint8]) -> str:
    """Hash the raw RGB bytes: 64 hex digits of sha256."""
    return hashlib.sha256(np.ascontiguousarray(pixels).data).hexdigest()
