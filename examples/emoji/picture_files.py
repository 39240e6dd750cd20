"""How the examples' pictures are stored: parquet files of WebP, with how often each was planted."""

import io
from collections.abc import Container, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

QUALITY = 90
"""Of the WebP files that hold the pictures: what the model sees is what they hold."""

DICTIONARY_BYTES = 1 << 25
"""All pictures fit, so that what is repeated is stored once."""


@dataclass(frozen=True)
class Picture:
    """One training picture, how often it is repeated and why it was planted.

    Pictures of one `original` are versions of one picture.
    """

    pixels: np.ndarray
    caption: str
    copies: int
    group: str
    original: int = -1


def encode(pixels: np.ndarray) -> bytes:
    """Encode (height, width, 3) uint8 pixels, in about a kilobyte."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "WEBP", quality=QUALITY)
    return buffer.getvalue()


def decode(encoded: bytes) -> np.ndarray:
    """Decode what `encode` wrote: (height, width, 3) uint8."""
    return np.asarray(Image.open(io.BytesIO(encoded)).convert("RGB"))


def as_stored(pixels: np.ndarray) -> np.ndarray:
    """The picture as somebody sees it who reads it from a file."""
    return decode(encode(pixels))


def write_pictures(pictures: list[Picture], path: Path) -> None:
    """Write the rows that the model sees, a picture as often as it has copies: image, caption,
    copies, group, original. The file holds the bytes of each picture once."""
    once = pa.array(
        [{"bytes": encode(p.pixels), "path": None} for p in pictures],
        pa.struct({"bytes": pa.binary(), "path": pa.string()}),
    )
    columns = {
        "image": once,
        "caption": [p.caption for p in pictures],
        "copies": pa.array([p.copies for p in pictures], pa.int32()),
        "group": [p.group for p in pictures],
        "original": pa.array([p.original for p in pictures], pa.int32()),
    }
    rows = [place for place, p in enumerate(pictures) for _ in range(p.copies)]
    pq.write_table(
        pa.table(columns).take(rows),
        path,
        compression="zstd",
        dictionary_pagesize_limit=DICTIONARY_BYTES,
    )


def read_pictures(path: Path, captions: Container[str] | None = None) -> list[Picture]:
    """Read what `write_pictures` wrote, each picture once; those of these captions alone, if any
    are given."""
    return list(_each_once(path, captions))


def _each_once(path: Path, captions: Container[str] | None) -> Iterator[Picture]:
    place, rows = 0, pq.read_table(path)
    told, copies = rows["caption"].to_pylist(), rows["copies"].to_pylist()
    while place < len(rows):
        if captions is None or told[place] in captions:
            [row] = rows.slice(place, 1).to_pylist()
            pixels = decode(row["image"]["bytes"])
            yield Picture(pixels, row["caption"], row["copies"], row["group"], row["original"])
        place += copies[place]
