"""A training set cut into slices, and what is stored in each: Parquet files, tars and pictures."""

import tarfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from pathlib import Path, PurePosixPath
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from seedsweep.storage.errors import ConfigError, TrainingSetError

PICTURES = {".png", ".jpg", ".jpeg", ".webp", ".bmp"}
PARQUET, TAR = ".parquet", ".tar"
UNREADABLE = (
    OSError,
    EOFError,
    KeyError,
    SyntaxError,
    TypeError,
    ValueError,
    Image.DecompressionBombError,
    pa.ArrowException,
    tarfile.TarError,
)
"""What reading a training set raises where it is not one."""

SLICE_PICTURES = 1024
"""A slice of single pictures or of small row groups has about so many."""

# Else a whole row group is held, which may be the whole file, and not only a page of it.
_READ_BYTES = 1 << 20
_READ_ROWS = 32

Entry = tuple[str, Callable[[], Any]]
"""A picture's name, and what reads it: its file's bytes, or what a Parquet row holds."""


@dataclass(frozen=True, slots=True)
class Slice:
    """A part of the training set at `root` that is read by itself, in order.

    `file`, relative to `root` ("." for itself): a Parquet file, of which only the row groups
    `groups`, the first of them beginning at `first_row`; a tar; or, where there are `pictures`, a
    folder that holds these. `count` is how many pictures that is, None where only reading tells.
    """

    root: str
    file: str
    pictures: tuple[str, ...] = ()
    groups: tuple[int, ...] = ()
    first_row: int = 0
    count: int | None = None

    @property
    def path(self) -> Path:
        """Where the file or folder lies."""
        return Path(self.root) / self.file

    @property
    def name(self) -> str:
        """What its pictures are named after: the file, or its path in the training set's folder."""
        return Path(self.root).name if self.file == "." else self.file


def training_files(path: Path) -> list[Path]:
    """The files that the training set is made of, by name: a Parquet file or a tar, or all of those
    and all pictures in a folder. A folder's Parquet files without an `image` column are left out.

    Raises `TrainingSetError` where there is no picture, and what is in `UNREADABLE`.
    """
    if path.is_dir():
        files = sorted(f for f in path.rglob("*") if _is_wanted(f))
        if not files:
            raise TrainingSetError(f"no picture in {path}")
        return files
    if path.suffix.lower() == TAR:
        path.stat()
        return [path]
    names = pq.read_schema(path).names
    if "image" not in names:
        raise TrainingSetError(f"columns are {names}")
    if pq.read_metadata(path).num_rows == 0:
        raise TrainingSetError("it has no rows")
    return [path]


def cut_training_set(path: Path) -> list[Slice]:
    """The slices of a training set, which hold each of its pictures once, in its order.

    A Parquet file of a folder that cannot be opened is a slice of unknown size. Errors as of
    `training_files`.
    """
    slices: list[Slice] = []
    for run in _runs(training_files(path)):
        kind, file = run[0].suffix.lower(), run[0].relative_to(path).as_posix()
        if path.is_dir() and kind in PICTURES:
            slices += _cut_pictures(path, run)
        elif kind == TAR:
            slices.append(Slice(str(path), file))
        else:
            slices += _cut_parquet(path, file)
    return slices


def not_readable(what: str, path: Path, error: BaseException) -> ConfigError:
    """What to raise where there are no pictures to read: `what` says whose they are."""
    return ConfigError(
        f"The {what} {path} cannot be read ({error}); give a Parquet file with an `image` column, "
        "a WebDataset tar, or a folder of pictures or of such files."
    )


def count_pictures(path: Path) -> int:
    """How many pictures the training set has; errors as of `training_files`."""
    return sum(
        part.count if part.count is not None else sum(1 for _ in read_slice(part))
        for part in cut_training_set(path)
    )


def read_slice(part: Slice) -> Iterator[Entry]:
    """Every picture of the slice, in order; each can be read until the next one is asked for.

    Raises what is in `UNREADABLE` where the file breaks off, at the place where it does.
    """
    if part.pictures:
        return _read_folder(part)
    if part.path.suffix.lower() == TAR:
        return _read_tar(part)
    return _read_parquet(part)


def read_captions(part: Slice, names: Sequence[str]) -> dict[str, str]:
    """The training captions of the pictures with these names, where there are any: the column
    `caption`, or the file of the picture's name with `.txt`. What cannot be read has none."""
    try:
        if part.pictures:
            return dict(_folder_captions(part, names))
        if part.path.suffix.lower() == TAR:
            return dict(_tar_captions(part, names))
        return dict(_parquet_captions(part, names))
    except UNREADABLE:
        return {}


def _is_wanted(file: Path) -> bool:
    kind = file.suffix.lower()
    if kind not in {*PICTURES, PARQUET, TAR} or not file.is_file():
        return False
    return kind != PARQUET or _may_hold_pictures(file)


def _may_hold_pictures(file: Path) -> bool:
    try:
        return "image" in pq.read_schema(file).names
    except UNREADABLE:
        return True


def _runs(files: Sequence[Path]) -> Iterator[list[Path]]:
    """Pictures that follow one another, and every other file alone."""
    for are_pictures, run in groupby(files, lambda file: file.suffix.lower() in PICTURES):
        if are_pictures:
            yield list(run)
        else:
            yield from ([file] for file in run)


def _cut_pictures(root: Path, files: Sequence[Path]) -> Iterator[Slice]:
    for at in range(0, len(files), SLICE_PICTURES):
        run = files[at : at + SLICE_PICTURES]
        names = tuple(file.relative_to(root).as_posix() for file in run)
        yield Slice(str(root), ".", pictures=names, count=len(names))


def _cut_parquet(root: Path, file: str) -> list[Slice]:
    whole = Slice(str(root), file)
    try:
        about = pq.read_metadata(whole.path)
        sizes = [about.row_group(group).num_rows for group in range(about.num_row_groups)]
    except UNREADABLE:
        return [whole]
    slices, first, row = [], 0, 0
    for group in range(len(sizes)):
        rows = sum(sizes[first : group + 1])
        if rows >= SLICE_PICTURES or group == len(sizes) - 1:
            groups = tuple(range(first, group + 1))
            slices.append(Slice(str(root), file, groups=groups, first_row=row, count=rows))
            first, row = group + 1, row + rows
    return slices


def _read_folder(part: Slice) -> Iterator[Entry]:
    return ((name, (part.path / name).read_bytes) for name in part.pictures)


def _read_parquet(part: Slice) -> Iterator[Entry]:
    row = part.first_row
    with pq.ParquetFile(part.path, buffer_size=_READ_BYTES, pre_buffer=False) as opened:
        for batch in opened.iter_batches(
            batch_size=_READ_ROWS, row_groups=list(part.groups), columns=["image"]
        ):
            for value in batch.column(0):
                yield f"{part.name}#{row}", value.as_py
                row += 1


def _read_tar(part: Slice) -> Iterator[Entry]:
    with tarfile.open(part.path, "r:") as opened:
        for member in opened:
            if member.isfile() and PurePosixPath(member.name).suffix.lower() in PICTURES:
                yield f"{part.name}#{member.name}", partial(_member_bytes, opened, member)
        if opened.offset >= part.path.stat().st_size:
            raise EOFError("it has no end mark")


def _member_bytes(opened: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    file = opened.extractfile(member)
    return file.read() if file else b""


def _folder_captions(part: Slice, names: Sequence[str]) -> Iterator[tuple[str, str]]:
    for name in names:
        beside = (part.path / name).with_suffix(".txt")
        if beside.is_file():
            yield name, beside.read_text().strip()


def _tar_captions(part: Slice, names: Sequence[str]) -> Iterator[tuple[str, str]]:
    wanted = {_without_suffix(name): name for name in names}
    with tarfile.open(part.path, "r:") as opened:
        for member in opened:
            name = f"{part.name}#{member.name}"
            if name.endswith(".txt") and _without_suffix(name) in wanted:
                yield wanted[_without_suffix(name)], _member_bytes(opened, member).decode().strip()


def _without_suffix(name: str) -> str:
    return name.rpartition(".")[0]


def _parquet_captions(part: Slice, names: Sequence[str]) -> Iterator[tuple[str, str]]:
    if "caption" not in pq.read_schema(part.path).names:
        return
    with pq.ParquetFile(part.path) as opened:
        table = opened.read_row_groups(list(part.groups), columns=["caption"])
    for name in names:
        row = int(name.rpartition("#")[2]) - part.first_row
        caption = table.column(0)[row].as_py()
        if isinstance(caption, str):
            yield name, caption
