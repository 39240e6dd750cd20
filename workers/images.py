"""Pixels ↔ PNG, and the digest that names pixels whatever encoded them."""

import hashlib

import cv2
import numpy as np
from numpy.typing import NDArray

from seedsweep.storage.errors import ShardCorruptError

# Level 1 with run-length strategy: fast, and small on photographs.
_ENCODING = (
    cv2.IMWRITE_PNG_COMPRESSION,
    1,
    cv2.IMWRITE_PNG_STRATEGY,
    cv2.IMWRITE_PNG_STRATEGY_RLE,
)


def encode_png(pixels: NDArray[np.uint8]) -> bytes:
    """Encode (height, width, 3) uint8 RGB without loss."""
    done, data = cv2.imencode(".png", cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR), _ENCODING)
    if not done:
        raise ValueError(f"Pixels of shape {pixels.shape} cannot be encoded as PNG.")
    return data.tobytes()


def decode_png(png: bytes) -> NDArray[np.uint8]:
    """Decode a PNG to (height, width, 3) uint8 RGB.

    Raises `ShardCorruptError` for anything that is no picture.
    """
    try:
        pixels = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR) if png else None
    except cv2.error:  # it claims to be larger than any picture may be
        pixels = None
    if pixels is None:
        raise ShardCorruptError("A stored image is not a PNG; make its shard anew.")
    return np.asarray(cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB), dtype=np.uint8)


def digest_pixels(pixels: NDArray[np.uint8]) -> str:
    """Hash the raw RGB bytes: 64 hex digits of sha256."""
    return hashlib.sha256(np.ascontiguousarray(pixels).tobytes()).hexdigest()
