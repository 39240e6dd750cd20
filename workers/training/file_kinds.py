"""Which kinds of files a training set is made of, and what is said of the others."""

import os
from collections import Counter
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from seedsweep.storage.errors import ConfigError, TrainingSetError
from seedsweep.workers.training.array_file import ARRAYS, WANTED
from seedsweep.workers.training.picture_file import METADATA, PICTURES, NoPicturesError
from seedsweep.workers.training.tar_file import TARS

_PARQUET_BEGINS = b"PAR1"
_CONTAINERS = frozenset({".parquet", *TARS, *ARRAYS})


def kind_of(file: Path) -> str:
    """A file's kind: what its name ends with, in small letters."""
    name = file.name.lower()
    return ".tar.gz" if name.endswith(".tar.gz") else PurePosixPath(name).suffix


def files_in(root: Path, left_out: Counter[str]) -> list[Path]:
    """The files of a folder that are read, by name; the others are counted, captions aside. Raises
    `TrainingSetError` for a name that is not UTF-8, since results name pictures by theirs."""

    def refuse(error: OSError) -> None:
        raise error

    found = []
    for folder, folders, names in os.walk(root, onerror=refuse):
        inside = Path(folder)
        if links := sum((inside / name).is_symlink() for name in folders):
            left_out["link to a folder"] += links
        for file in (inside / name for name in names):
            kind = kind_of(file)
            if (kind in PICTURES or kind in _CONTAINERS) and file.is_file():
                _require_text(file.relative_to(root))
                found.append(file)
            elif kind != ".txt" and file.name not in METADATA:
                left_out[kind or "file without suffix"] += 1
    return sorted(found)


def _require_text(name: Path) -> None:
    try:
        str(name).encode()
    except UnicodeEncodeError:
        raise TrainingSetError(
            f"the name of its file {os.fsencode(name)!r} is not UTF-8; rename it, or set "
            "LC_ALL=C.UTF-8 if it is"
        ) from None


def refuse_other_kinds(file: Path) -> None:
    """Raise unless a file is of a kind that may hold pictures, or Parquet whatever its name ends
    with."""
    with file.open("rb") as opened:
        begins = opened.read(len(_PARQUET_BEGINS))
    if kind_of(file) in PICTURES:
        raise NoPicturesError("it is a single picture; name its folder")
    if kind_of(file) not in _CONTAINERS and begins != _PARQUET_BEGINS:
        raise NoPicturesError(
            f"{kind_of(file) or 'such a file'} holds no pictures that are read; name a folder of "
            "pictures, Parquet or tars, or convert what is pickled, or compressed in another way, "
            "to an array (N, H, W, 3) of uint8, saved with numpy.savez"
        )


def not_readable(what: str, path: Path, error: BaseException) -> ConfigError:
    """What to raise where there are no pictures to read: `what` says whose they are."""
    if kind_of(path) in ARRAYS:
        remedy = f"give one with an array {WANTED}."
    else:
        remedy = (
            "give a folder of pictures, or a Parquet file, tar (.tar, .tar.gz) or array (.npy, "
            ".npz) of pictures, or a folder of such files."
        )
    return ConfigError(f"The {what} {path} cannot be read ({error}); {remedy}")


def left_out_words(left_out: Mapping[str, int]) -> str:
    """What is left out, by kind: `12 .heic, 3 .json, 2 rows without a picture` and the like."""
    return ", ".join(_counted(count, kind) for kind, count in sorted(left_out.items()))


def _counted(count: int, kind: str) -> str:
    noun, _, rest = kind.partition(" ")
    is_plural = count > 1 and not noun.startswith(".")
    return f"{count:,} {noun}{'s' if is_plural else ''} {rest}".strip()
