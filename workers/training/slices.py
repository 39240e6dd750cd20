"""A training set cut into slices, and what is stored in each: Parquet files, tars, arrays and
pictures."""

import contextlib
import csv
import struct
import tarfile
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any, Self

import pyarrow as pa
from PIL import Image

from seedsweep.storage.errors import TrainingSetError
from seedsweep.storage.settings.analysis import Verification
from seedsweep.workers.training.array_file import ARRAYS, picture_array, read_array
from seedsweep.workers.training.file_kinds import (
    files_in,
    kind_of,
    left_out_words,
    refuse_other_kinds,
)
from seedsweep.workers.training.parquet_file import (
    captions_of,
    named_files,
    picture_column,
    read_rows,
    row_groups,
)
from seedsweep.workers.training.picture_file import (
    PICTURES,
    NoPicturesError,
    captions_beside,
    picture_bytes,
)
from seedsweep.workers.training.tar_file import TARS, captions_in, read_members

UNREADABLE = (
    OSError,
    EOFError,
    LookupError,
    ArithmeticError,
    AttributeError,
    MemoryError,
    RuntimeError,
    SyntaxError,
    TypeError,
    ValueError,
    Image.DecompressionBombError,
    csv.Error,
    pa.ArrowException,
    struct.error,
    tarfile.TarError,
    zipfile.BadZipFile,
    zlib.error,
)
"""What reading a training set raises where it is not one: the libraries that read it raise more
than they say."""

SLICE_PICTURES = 1024
"""A slice of single pictures or of small row groups has about so many."""

Entry = tuple[str, Callable[[], Any]]
"""A picture's name, and what reads it: its file's bytes, or its pixels."""


@dataclass(frozen=True, slots=True)
class PictureColumn:
    """Which column of Parquet files holds pictures, or array of `.npz` files; "" for the usual one.
    `folder`: where a column's paths begin, "" for the folder that its file is in."""

    name: str = ""
    folder: str = ""

    @classmethod
    def of(cls, settings: Verification) -> Self:
        """The one that the settings name."""
        return cls(settings.column, settings.folder)


USUAL = PictureColumn()


@dataclass(frozen=True, slots=True)
class Slice:
    """A part of the training set at `root` that is read by itself, in order.

    `file`, relative to `root` ("." for itself): a Parquet file, of which only the row groups
    `groups`, the first of them beginning at `first_row`; a tar; an array; or, where there are
    `pictures`, a folder that holds these. `count` is how many pictures that is at most, None where
    only reading tells. `column` is where a Parquet file or an archive of arrays holds them, and
    `folder` where that column's paths begin.
    """

    root: str
    file: str
    pictures: tuple[str, ...] = ()
    groups: tuple[int, ...] = ()
    first_row: int = 0
    count: int | None = None
    column: str = ""
    folder: str = ""

    @property
    def path(self) -> Path:
        """Where the file or folder lies."""
        return Path(self.root) / self.file

    @property
    def name(self) -> str:
        """What its pictures are named after: the file, or its path in the training set's folder."""
        return Path(self.root).name if self.file == "." else self.file

    @property
    def paths_from(self) -> Path:
        """Where the paths in its column begin."""
        return Path(self.folder) if self.folder else self.path.parent

    def names_files(self) -> bool:
        """Whether a row of its file names a picture instead of holding it."""
        return bool(self.groups) and any(named_files(self.path, self.column, self.paths_from))


@dataclass(frozen=True, slots=True)
class SetContents:
    """What a training set is made of: its files by name, the slices of all, and of its folder what
    is left out, by kind."""

    path: Path
    files: list[Path] = field(default_factory=list)
    slices: list[Slice] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)

    def all_files(self) -> Iterator[tuple[str, Path]]:
        """Every file that holds or is a picture of it, with its name in the set: also those that
        rows of Parquet files name, which need not be there."""
        by_path = {part.path: part for part in self.slices if part.groups}
        for file in self.files:
            yield file.relative_to(self.path).as_posix(), file
            if part := by_path.get(file):
                # What a damaged file names beyond the damage is not read either.
                with contextlib.suppress(*UNREADABLE):
                    for row, named in named_files(file, part.column, part.paths_from):
                        yield f"{part.name}#{row} {named.name}", named


def look_into(path: Path, column: PictureColumn = USUAL) -> SetContents:
    """What the training set at `path` is made of: a Parquet file, tar or array, or all of those and
    all pictures in a folder, in the order of their names.

    A file of a folder that holds no pictures is left out, and one that cannot be opened is a slice
    of unknown size. Raises `TrainingSetError` where there is no picture, and what is in
    `UNREADABLE`.
    """
    if not path.is_dir():
        slices = _cut_file(path, path, column)
        if all(part.count == 0 for part in slices):
            raise TrainingSetError("it holds nothing")
        return SetContents(path, [path], slices)
    contents, refused = SetContents(path), []
    for are_pictures, run in groupby(files_in(path, contents.left_out), _is_picture):
        files = list(run)
        if are_pictures:
            contents.files.extend(files)
            contents.slices.extend(_cut_pictures(path, files))
            continue
        for file in files:
            try:
                slices = _cut_file(path, file, column)
            except NoPicturesError as error:
                refused.append(f"{file.name}: {error}")
                contents.left_out[f"{kind_of(file)} without pictures"] += 1
            except UNREADABLE:
                contents.files.append(file)
                contents.slices.append(Slice(str(path), file.relative_to(path).as_posix()))
            else:
                contents.files.append(file)
                contents.slices.extend(slices)
    if not contents.files:
        said = [f"left out: {left_out_words(contents.left_out)}"] if contents.left_out else []
        raise TrainingSetError("; ".join(["there is no picture in it", *said, *refused[:1]]))
    return contents


def cut_training_set(path: Path, column: PictureColumn = USUAL) -> list[Slice]:
    """The slices of a training set, which hold each of its pictures once, in its order; errors as
    of `look_into`."""
    return look_into(path, column).slices


def count_pictures(slices: Sequence[Slice]) -> int:
    """How many pictures there are at most."""
    return sum(_count(part) if part.count is None else part.count for part in slices)


def read_slice(part: Slice, left_out: Counter[str] | None = None) -> Iterator[Entry]:
    """Every picture of the slice, in order; each can be read until the next one is asked for. What
    is there and is none is counted in `left_out`.

    Raises what is in `UNREADABLE` where the file breaks off, at the place where it does.
    """
    count = Counter[str]() if left_out is None else left_out
    kind = kind_of(part.path)
    if part.pictures:
        yield from ((name, partial(picture_bytes, part.path / name)) for name in part.pictures)
    elif kind in TARS:
        for member, read in read_members(part.path, kind, count):
            yield f"{part.name}#{member}", read
    elif kind in ARRAYS:
        for place, pixels in read_array(part.path, part.column):
            yield f"{part.name}#{place}", pixels
    else:
        for row, read in read_rows(part.path, part.groups, part.column, part.paths_from, count):
            yield f"{part.name}#{part.first_row + row}", read


def read_captions(part: Slice, names: Sequence[str]) -> dict[str, str]:
    """The training captions of the pictures with these names, where there are any: the column
    `caption`, `txt` or `text`, the file of the picture's name with `.txt`, or the folder's
    `metadata.csv` or `.jsonl`. One that cannot be read is none; the others come all the same."""
    found = {}
    with contextlib.suppress(*UNREADABLE):
        for name, caption in _captions(part, names):
            found[name] = caption
    return found


def _captions(part: Slice, names: Sequence[str]) -> Iterator[tuple[str, str]]:
    kind = kind_of(part.path)
    if part.pictures:
        yield from captions_beside(part.path, names)
    elif kind in TARS:
        members = {name.removeprefix(f"{part.name}#"): name for name in names}
        yield from captions_in(part.path, kind, members)
    elif kind not in ARRAYS:
        rows = {int(name.rpartition("#")[2]) - part.first_row: name for name in names}
        yield from captions_of(part.path, part.groups, rows)


def _is_picture(file: Path) -> bool:
    return kind_of(file) in PICTURES


def _cut_pictures(root: Path, files: Sequence[Path]) -> Iterator[Slice]:
    for at in range(0, len(files), SLICE_PICTURES):
        run = files[at : at + SLICE_PICTURES]
        names = tuple(file.relative_to(root).as_posix() for file in run)
        yield Slice(str(root), ".", pictures=names, count=len(names))


def _cut_file(root: Path, file: Path, column: PictureColumn) -> list[Slice]:
    """The slices of a file of pictures; raises `NoPicturesError` where it is another one."""
    name, kind = file.relative_to(root).as_posix(), kind_of(file)
    refuse_other_kinds(file)
    if kind in TARS:
        return [Slice(str(root), name)]
    if kind in ARRAYS:
        array, count = picture_array(file, column.name)
        return [Slice(str(root), name, count=count, column=array)]
    whole = Slice(str(root), name, column=picture_column(file, column.name), folder=column.folder)
    slices, first, row, sizes = [], 0, 0, row_groups(file)
    for group in range(len(sizes)):
        rows = sum(sizes[first : group + 1])
        if rows >= SLICE_PICTURES or group == len(sizes) - 1:
            groups = tuple(range(first, group + 1))
            slices.append(replace(whole, groups=groups, first_row=row, count=rows))
            first, row = group + 1, row + rows
    return slices


def _count(part: Slice) -> int:
    count = 0
    try:
        for _ in read_slice(part):
            count += 1
    except UNREADABLE:
        pass
    return count
