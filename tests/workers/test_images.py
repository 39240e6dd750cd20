import hashlib
import io
import struct
import subprocess
import sys
import zlib

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from seedsweep.workers.images import decode_png, digest_pixels, encode_png
from tests.support.pictures import black_png, data_of

modest = settings(max_examples=100, derandomize=True, deadline=None)
pictures = arrays(np.uint8, st.tuples(st.integers(1, 24), st.integers(1, 24), st.just(3)))


def decoded(png, like):
    height, width = like.shape[:2]
    return decode_png(png, width, height)


@modest
@given(pictures)
def test_pixels_come_back_from_png_as_they_were(pixels):
    again = decoded(encode_png(pixels), pixels)
    assert again.dtype == np.uint8
    assert np.array_equal(again, pixels)
    room = np.zeros((2, *pixels.shape), np.uint8)
    decode_png(encode_png(pixels), pixels.shape[1], pixels.shape[0], into=room[1])
    assert np.array_equal(room[1], pixels)
    assert not room[0].any()


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
    assert digest_pixels(decoded(buffer.getvalue(), pixels)) == digest
    assert digest_pixels(np.asfortranarray(pixels)) == digest


def test_one_level_in_one_channel_changes_the_digest():
    pixels = np.zeros((4, 4, 3), np.uint8)
    other = pixels.copy()
    other[3, 3, 2] = 1
    assert digest_pixels(pixels) != digest_pixels(other)
    assert digest_pixels(other) != digest_pixels(other[..., ::-1])


def test_a_view_is_encoded_as_what_it_shows():
    pixels = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    assert np.array_equal(decoded(encode_png(pixels[::2, ::-1]), pixels[::2]), pixels[::2, ::-1])


def test_a_photograph_like_picture_is_smaller_than_its_pixels():
    ramp = np.add.outer(np.arange(64), np.arange(64)).astype(np.uint8)
    pixels = np.stack([ramp, ramp // 2, ramp // 3], axis=-1)
    assert len(encode_png(pixels)) < pixels.nbytes / 2


PIXELS = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
WHOLE = encode_png(PIXELS)


def claiming(width, height):
    """The picture, with a sound header that says another size."""
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return WHOLE[:12] + header + struct.pack(">I", zlib.crc32(header)) + WHOLE[33:]


@pytest.mark.parametrize(
    "size", [(100_000, 100_000), (8192, 8192), (2**31 - 1, 1), (16, 17), (17, 16), (0, 0)]
)
def test_a_picture_of_another_size_is_refused_by_its_header(size):
    """Sixteen rows of it are there: whoever decodes before the check says that it is not whole."""
    with pytest.raises(ValueError, match=f"it is {size[0]} x {size[1]} and not 16 x 16 pixels"):
        decode_png(claiming(*size), 16, 16)


def test_a_bomb_is_refused_without_the_memory_that_it_wants():
    """In a process of its own, which may take no more than a tenth of it."""
    script = """
import resource, sys
from seedsweep.workers.images import decode_png
from tests.support.pictures import black_png
data = black_png(12_000, 12_000)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    decode_png(data, 512, 512)
except ValueError as error:
    print(error)
print(len(data), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    said, sizes = ended.stdout.splitlines()
    stored, kilobytes = map(int, sizes.split())
    assert said == "it is 12000 x 12000 and not 512 x 512 pixels"
    assert stored < 12_000 * 12_000 * 3 / 1000
    assert kilobytes * 1024 < 12_000 * 12_000 * 3 / 10


def test_a_picture_with_far_more_data_than_pixels_is_refused():
    """Its header is right; a decoder would inflate the rest to throw it away."""
    more = WHOLE[:33] + black_png(3000, 3000)[33:]
    assert len(more) > 3 * 16 * 16 * 3
    with pytest.raises(ValueError, match="bytes are more than its pixels take"):
        decode_png(more, 16, 16)


@pytest.mark.parametrize("side", [1, 2, 16, 300])
def test_noise_that_no_encoder_makes_smaller_is_no_such_picture(side):
    pixels = np.random.default_rng(side).integers(0, 256, (side, side, 3), dtype=np.uint8)
    for level in (0, 1, 9):
        assert np.array_equal(decoded(data_of(pixels, compress_level=level), pixels), pixels)


def chunk(name, data):
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def interlaced(pixels):
    """As few encoders write it: seven passes, each of every so many rows and columns (Adam7)."""
    passes = [(0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2)]
    rows = [
        b"\0" + row.tobytes()
        for top, left, down, right in [*passes, (1, 0, 2, 1)]
        for row in pixels[top::down, left::right]
    ]
    header = struct.pack(">IIBBBBB", *pixels.shape[1::-1], 8, 2, 0, 0, 1)
    data = chunk(b"IDAT", zlib.compress(b"".join(rows)))
    return WHOLE[:8] + chunk(b"IHDR", header) + data + chunk(b"IEND", b"")


GREY = PIXELS[..., :1].repeat(3, axis=2)
OTHERS = {
    "interlaced": (interlaced(PIXELS), PIXELS),
    "with a palette": (
        data_of(Image.fromarray(PIXELS // 128 * 255).quantize(8)),
        PIXELS // 128 * 255,
    ),
    "grey": (data_of(PIXELS[..., 0]), GREY),
    "opaque": (data_of(Image.fromarray(PIXELS).convert("RGBA")), PIXELS),
    "with words first": (WHOLE[:33] + chunk(b"tEXt", b"Comment\0a") + WHOLE[33:], PIXELS),
    "with words last": (WHOLE[:-12] + chunk(b"tEXt", b"Comment\0a") + WHOLE[-12:], PIXELS),
    "in many pieces": (
        WHOLE[:33]
        + b"".join(chunk(b"IDAT", WHOLE[41:-16][at : at + 9]) for at in range(0, len(WHOLE), 9))
        + WHOLE[-12:],
        PIXELS,
    ),
}


def test_our_own_pictures_are_read_without_opencv(monkeypatch):
    monkeypatch.setattr(cv2, "imdecode", None)
    assert np.array_equal(decode_png(WHOLE, 16, 16), PIXELS)


def test_without_the_faster_library_opencv_reads_them(monkeypatch):
    monkeypatch.setitem(sys.modules, "kornia_rs.io", None)
    assert np.array_equal(decode_png(WHOLE, 16, 16), PIXELS)


@pytest.mark.parametrize("kind", OTHERS)
def test_what_other_encoders_write_is_read_as_well(kind):
    data, pixels = OTHERS[kind]
    assert np.array_equal(decode_png(data, 16, 16), pixels)
    room = np.zeros_like(pixels)
    assert decode_png(data, 16, 16, into=room) is room
    assert np.array_equal(room, pixels)


@pytest.mark.parametrize(
    "data", [b"", b"no picture", WHOLE[:100], WHOLE[:-20], WHOLE[:8], WHOLE[:20], WHOLE[:8] * 9]
)
def test_what_is_no_whole_picture_is_refused(data):
    with pytest.raises(ValueError, match="it is no"):
        decode_png(data, 16, 16)


@pytest.mark.parametrize("kind", ["JPEG", "BMP", "TIFF", "WEBP", "PPM"])
def test_another_kind_of_picture_is_refused(kind):
    with pytest.raises(ValueError, match="it is no PNG"):
        decode_png(data_of(PIXELS, kind), 16, 16)


@modest
@given(st.integers(37, len(WHOLE) - 13), st.integers(1, 255))
def test_a_wrong_byte_in_the_pixels_is_noticed(position, change):
    wrong = bytearray(WHOLE)
    wrong[position] ^= change
    try:
        pixels = decode_png(bytes(wrong), 16, 16)
    except ValueError:
        return
    assert np.array_equal(pixels, PIXELS)
