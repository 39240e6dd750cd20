"""A picture that is a file of its own, and the captions that lie beside it."""

import contextlib
import csv
import json
import re
import stat
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from seedsweep.storage.errors import TrainingSetError

PICTURES = frozenset(
    {
        *(".png", ".jpg", ".jpeg", ".jfif", ".webp", ".bmp", ".avif", ".gif", ".tif", ".tiff"),
        *(".ppm", ".pgm"),
    }
)

PICTURE_BYTES = 1 << 30
"""A picture that is stored in more is not read."""

CAPTIONS = ("caption", "txt", "text")
"""The columns that may hold captions: the first that is there does."""

_HALF_CHARACTER = re.compile("[\ud800-\udfff]")

METADATA = ("metadata.csv", "metadata.jsonl")
"""What names pictures of its folder and says more of them, in a Hugging Face `imagefolder`."""


class NoPicturesError(TrainingSetError):
    """A file holds no pictures: a folder does without it."""


def picture_bytes(path: Path) -> bytes:
    """A file's bytes; raises `OSError` where there is none, `ValueError` for one too large."""
    about = path.stat()
    if not stat.S_ISREG(about.st_mode):
        raise OSError(f"{path} is no file")
    refuse_bytes(about.st_size)
    return path.read_bytes()


def refuse_bytes(size: int) -> None:
    """Raise `ValueError` for a picture of more than `PICTURE_BYTES`."""
    if size > PICTURE_BYTES:
        raise ValueError(f"it has {size:,} bytes, more than {PICTURE_BYTES:,}")


def captions_beside(folder: Path, names: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Of the pictures with these names in a folder: their captions, from the file of the same name
    with `.txt`, else from the `METADATA` of a folder that they are in."""
    left = set()
    for name in names:
        beside = (folder / name).with_suffix(".txt")
        if not beside.is_file():
            left.add(name)
        elif caption := caption_text(beside.read_bytes()):
            yield name, caption
    above = {parent for name in left for parent in Path(name).parents}
    for inside in sorted(above):
        for file in (folder / inside / name for name in METADATA):
            if file.is_file():
                about = file.stat()
                captions = _captions(file, about.st_size, about.st_mtime_ns, about.st_ino)
                for name in (name for name in left if inside in Path(name).parents):
                    if caption := captions.get(Path(name).relative_to(inside).as_posix()):
                        yield name, caption


@lru_cache(maxsize=4)
def _captions(file: Path, *stamp: int) -> dict[str, str]:
    """The captions that a table of a folder's pictures holds, by the names in it, of a file of this
    stamp: kept, since every slice of the folder asks for some of the same table."""
    found = {}
    for row in _rows(file):
        name = Path(str(row.get("file_name"))).as_posix()
        if caption := _caption(row):
            found[name] = caption
    return found


def caption_text(data: bytes) -> str | None:
    """The caption in a file of these bytes, without white space around it; None if they are no
    UTF-8."""
    try:
        return data.decode().strip()
    except UnicodeDecodeError:
        return None


def _rows(file: Path) -> Iterator[dict[str, Any]]:
    """The rows of a table; what is no UTF-8 is there as half characters, and a line that is no
    JSON object is left out."""
    with file.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as opened:
        if file.suffix == ".csv":
            yield from csv.DictReader(opened)
            return
        for line in opened:
            with contextlib.suppress(ValueError, RecursionError):
                if isinstance(row := json.loads(line), dict):
                    yield row


def _caption(row: dict[str, Any]) -> str | None:
    caption = next((row[column] for column in CAPTIONS if column in row), None)
    if not isinstance(caption, str) or _HALF_CHARACTER.search(caption):
        return None
    return caption.strip()
