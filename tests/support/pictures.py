"""Sets of pictures as tests need them: Parquet files, tars and folders."""

import io
import struct
import tarfile
import zlib

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image, ImageDraw

DRAWN = 512
"""What drawings are drawn at, in pixels."""


def data_of(picture, kind="PNG", **options):
    """A picture, or its pixels (height, width, 3) uint8, as a file's bytes."""
    buffer = io.BytesIO()
    made = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
    made.save(buffer, kind, **options)
    return buffer.getvalue()


def pixels_of(data):
    """The pixels of a picture's file, (height, width, 3) uint8, by another reader than ours."""
    with Image.open(io.BytesIO(data)) as opened:
        return np.array(opened.convert("RGB"))


def black_png(width, height):
    """A sound PNG of black pixels, in a thousandth of their bytes."""
    values, together = height * (3 * width + 1), 1 << 20
    deflated = zlib.compressobj(9, wbits=-zlib.MAX_WBITS)
    # What follows a full flush stands by itself, so that it can be repeated.
    block = deflated.compress(bytes(together)) + deflated.flush(zlib.Z_FULL_FLUSH)
    rest = deflated.compress(bytes(values % together)) + deflated.flush()
    # The Adler-32 of so many zeros is their number, above a 1.
    check = struct.pack(">HH", values % 65521, 1)
    data = b"\x78\xda" + block * (values // together) + rest + check
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    parts = [(b"IHDR", header), (b"IDAT", data), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in parts
    )


def write_parquet(path, images, rows=None, **columns):
    """Write images, bytes or the Hugging Face feature, in row groups of so many rows."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table({"image": images, **columns}), path, row_group_size=rows)
    return path


def write_tar(path, files):
    """Write (name, bytes) in this order."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as opened:
        for name, data in files:
            member = tarfile.TarInfo(name)
            member.size = len(data)
            opened.addfile(member, io.BytesIO(data))
    return path


def drawings(count, seed, side=64):
    """Shapes of several colours on a gradient, each another picture: (count, side, side, 3) uint8.
    The same at every side, but for what averaging over areas leaves."""
    rng = np.random.default_rng([seed, 5])
    made = np.empty((count, side, side, 3), np.uint8)
    for place in range(count):
        corners = rng.integers(0, 256, (2, 2, 3), dtype=np.uint8)
        canvas = Image.fromarray(corners).resize((DRAWN, DRAWN), Image.Resampling.BILINEAR)
        pen = ImageDraw.Draw(canvas)
        for _ in range(rng.integers(3, 7)):
            middle, radius = rng.uniform(0.2, 0.8, 2) * DRAWN, rng.uniform(0.1, 0.3) * DRAWN
            turns = np.sort(rng.uniform(0, 2 * np.pi, rng.integers(3, 7)))
            corner = middle + radius * np.stack([np.cos(turns), np.sin(turns)], axis=1)
            colour = tuple(int(value) for value in rng.integers(0, 256, 3))
            pen.polygon([tuple(point) for point in corner.tolist()], fill=colour)
        made[place] = np.asarray(canvas.resize((side, side), Image.Resampling.BOX))
    return made


def stored_anew(picture, quality):
    """The picture once it was a JPEG of that quality."""
    with Image.open(io.BytesIO(data_of(picture, "JPEG", quality=quality))) as opened:
        return np.asarray(opened)


def scaled_and_back(picture, scale):
    """The picture once it was that many times as large."""
    side = picture.shape[0]
    small = Image.fromarray(picture).resize((round(side * scale),) * 2, Image.Resampling.BICUBIC)
    return np.asarray(small.resize((side, side), Image.Resampling.BICUBIC))


def cut(picture, left, top, right, bottom):
    """The picture without these shares of its borders, at its size again."""
    side = picture.shape[0]
    box = (left * side, top * side, side - right * side, side - bottom * side)
    scaled = Image.fromarray(picture).resize((side, side), Image.Resampling.BICUBIC, box=box)
    return np.asarray(scaled)
