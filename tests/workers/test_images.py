import hashlib
import io
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from seedsweep.storage.errors import ShardCorruptError
from seedsweep.workers.images import decode_png, digest_pixels, encode_png

modest = settings(max_examples=100, derandomize=True, deadline=None)
pictures = arrays(np.uint8, st.tuples(st.integers(1, 24), st.integers(1, 24), st.just(3)))


@modest
@given(pictures)
def test_pixels_come_back_from_png_as_they_were(pixels):
    again = decode_png(encode_png(pixels))
    assert again.dtype == np.uint8
    assert np.array_equal(again, pixels)


@modest
@given(pictures)
def test_other_readers_see_the_same_colours(pixels):
    with Image.open(io.BytesIO(encode_png(pixels))) as opened:
        assert opened.mode == "RGB"
        assert np.array_equal(np.asarray(opened), pixels)


@modest
@given(pictures)
def test_the_digest_is_that_of_the_raw_rgb_bytes_whatever_encoded_them(pixels):
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", compress_level=9)
    digest = hashlib.sha256(pixels.tobytes()).hexdigest()
    assert digest_pixels(pixels) == digest
    assert digest_pixels(decode_png(buffer.getvalue())) == digest
    assert digest_pixels(np.asfortranarray(pixels)) == digest


def test_one_level_in_one_channel_changes_the_digest():
    pixels = np.zeros((4, 4, 3), np.uint8)
    other = pixels.copy()
    other[3, 3, 2] = 1
    assert digest_pixels(pixels) != digest_pixels(other)
    assert digest_pixels(other) != digest_pixels(other[..., ::-1])


def test_a_view_is_encoded_as_what_it_shows():
    pixels = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    assert np.array_equal(decode_png(encode_png(pixels[::2, ::-1])), pixels[::2, ::-1])


def test_a_photograph_like_picture_is_smaller_than_its_pixels():
    ramp = np.add.outer(np.arange(64), np.arange(64)).astype(np.uint8)
    pixels = np.stack([ramp, ramp // 2, ramp // 3], axis=-1)
    assert len(encode_png(pixels)) < pixels.nbytes / 2


WHOLE = encode_png(np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8))


def claiming(width, height):
    """The beginning of a PNG of that size."""
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    end = struct.pack(">I", zlib.crc32(header))
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + header + end + WHOLE[33:]


@pytest.mark.parametrize("size", [(100_000, 100_000), (2**31 - 1, 1), (0, 0)])
def test_a_picture_that_claims_a_size_that_none_has_is_corrupt(size):
    with pytest.raises(ShardCorruptError):
        decode_png(claiming(*size))


@pytest.mark.parametrize(
    "data", [b"", b"no picture", WHOLE[:100], WHOLE[:-20], WHOLE[:8], b"\x89PNG\r\n\x1a\n" * 9]
)
def test_what_is_no_whole_picture_is_corrupt(data):
    with pytest.raises(ShardCorruptError):
        decode_png(data)


@modest
@given(st.integers(37, len(WHOLE) - 13), st.integers(1, 255))
def test_a_wrong_byte_in_the_pixels_is_noticed(position, change):
    wrong = bytearray(WHOLE)
    wrong[position] ^= change
    try:
        pixels = decode_png(bytes(wrong))
    except ShardCorruptError:
        return
    assert np.array_equal(pixels, decode_png(WHOLE))
