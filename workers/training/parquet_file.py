"""Pictures in a Parquet file: the column that holds or names them, and their captions."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from seedsweep.storage.errors import TrainingSetError
from seedsweep.workers.training.picture_file import CAPTIONS, NoPicturesError, picture_bytes

COLUMN = "image"
"""The column that holds the pictures unless another one is named."""

OTHERS = ("jpg", "img", "png", "webp", "jpeg")
"""Where there is no such column, that one of these which there is."""

# Else a whole row group is held, which may be the whole file, and not only a page of it.
_READ_BYTES = 1 << 20
_READ_ROWS = 32

_STATUS = "status"
_ABSENT = "row without a picture"
_STATUSES = 20
_STATUS_LETTERS = 40


def picture_column(path: Path, wanted: str) -> str:
    """The column of pictures, or of paths of pictures: `wanted`, else the usual one.

    Raises `NoPicturesError` where there is none, `TrainingSetError` where two may be meant.
    """
    fields = list(pq.read_schema(path))
    names = [field.name for field in fields if _may_hold_pictures(field.type)]
    if wanted or COLUMN in names:
        usual = [wanted or COLUMN] if (wanted or COLUMN) in names else []
    else:
        usual = [name for name in OTHERS if name in names]
    if len(usual) > 1:
        raise TrainingSetError(
            f"its columns `{'` and `'.join(usual)}` may all be meant; set `column` in "
            "[verification], or --column of `select`, to one of them"
        )
    if not usual:
        which = f"`{wanted}`" if wanted else f"`{COLUMN}` (or `{'`, `'.join(OTHERS)}`)"
        columns = ", ".join(f"{field.name}: {field.type}" for field in fields)
        raise NoPicturesError(
            f"it has no column {which} of pictures or paths; set `column` in "
            f"[verification], or --column of `select`, to one of its own that is: {columns}"
        )
    return usual[0]


def row_groups(path: Path) -> list[int]:
    """How many rows each of the file's row groups has."""
    about = pq.read_metadata(path)
    return [about.row_group(group).num_rows for group in range(about.num_row_groups)]


def read_rows(
    path: Path, groups: Sequence[int], column: str, folder: Path, left_out: Counter[str]
) -> Iterator[tuple[int, Callable[[], bytes]]]:
    """The pictures of the row groups, by the number of the row in them. Paths are relative to
    `folder`. Rows that hold none are counted in `left_out`, by their status if there is one."""
    row = 0
    for batch in _batches(path, groups, column):
        statuses = batch.column(_STATUS) if _STATUS in batch.schema.names else None
        for place, value in enumerate(batch.column(column)):
            if _is_absent(value):
                left_out[_absent(statuses and statuses[place].as_py(), left_out)] += 1
            else:
                yield row, partial(_stored, value, folder)
            row += 1


def named_files(path: Path, column: str, folder: Path) -> Iterator[tuple[int, Path]]:
    """The files that rows name instead of holding a picture, by row."""
    about = path.stat()
    if _names_files(path, column, about.st_size, about.st_mtime_ns, about.st_ino):
        rows = _named(path, range(len(row_groups(path))), column)
        yield from ((row, folder / name) for row, name in rows)


def captions_of(
    path: Path, groups: Sequence[int], rows: Mapping[int, str]
) -> Iterator[tuple[str, str]]:
    """The captions of these rows of the row groups, by what `rows` calls them."""
    names = pq.read_schema(path).names
    column = next((column for column in CAPTIONS if column in names), None)
    if column is None:
        return
    with pq.ParquetFile(path) as opened:
        captions = opened.read_row_groups(list(groups), columns=[column]).column(0)
    for row, name in rows.items():
        caption = captions[row].as_py()
        if isinstance(caption, str):
            yield name, caption


def _batches(path: Path, groups: Sequence[int], column: str) -> Iterator[pa.RecordBatch]:
    with pq.ParquetFile(path, buffer_size=_READ_BYTES, pre_buffer=False) as opened:
        columns = [name for name in opened.schema_arrow.names if name in (column, _STATUS)]
        yield from opened.iter_batches(
            batch_size=_READ_ROWS, row_groups=list(groups), columns=columns
        )


def _may_hold_pictures(kind: Any) -> bool:
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    if pa.types.is_struct(kind):
        return any(kind.get_field_index(part) >= 0 for part in ("bytes", "path"))
    return _is_text(kind) or any(
        is_it(kind)
        for is_it in (
            pa.types.is_null,
            pa.types.is_binary,
            pa.types.is_large_binary,
            pa.types.is_fixed_size_binary,
            pa.types.is_binary_view,
        )
    )


def _is_text(kind: Any) -> bool:
    types = pa.types
    return types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind)


@lru_cache(maxsize=1 << 16)
def _names_files(path: Path, column: str, *stamp: int) -> bool:
    """Whether a row names a file. Where rows may do either, those row groups are read in which a
    picture's bytes lack, which takes long, so the answer is kept for a file of this stamp."""
    kind = pq.read_schema(path).field(column).type
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    if not pa.types.is_struct(kind):
        return _is_text(kind)
    about = pq.read_metadata(path)
    groups = [
        number
        for number in range(about.num_row_groups)
        if _may_lack(about.row_group(number), f"{column}.bytes")
    ]
    return any(True for _ in _named(path, groups, column))


def _may_lack(group: Any, part: str) -> bool:
    """Whether a row of the row group may be null in this part of its column."""
    chunks = map(group.column, range(group.num_columns))
    held = next((chunk for chunk in chunks if chunk.path_in_schema == part), None)
    return held is None or held.statistics is None or held.statistics.null_count != 0


def _named(path: Path, groups: Sequence[int], column: str) -> Iterator[tuple[int, str]]:
    """What rows of the row groups name, by row."""
    row = 0
    for batch in _batches(path, groups, column):
        for value in batch.column(column):
            held = None if _holds_bytes(value) else value.as_py()
            name = held.get("path") if isinstance(held, dict) else held
            if isinstance(name, str):
                yield row, name
            row += 1


def _holds_bytes(value: Any) -> bool:
    is_struct = value.is_valid and isinstance(value, pa.StructScalar)
    return is_struct and "bytes" in value and value["bytes"].is_valid


def _is_absent(value: Any) -> bool:
    if value.is_valid and isinstance(value, pa.StructScalar):
        return not any(value[part].is_valid for part in ("bytes", "path") if part in value)
    return not value.is_valid


def _absent(status: Any, known: Counter[str]) -> str:
    """What a row without a picture is counted as; of what may be different in each row, little."""
    if not isinstance(status, str):
        return _ABSENT
    said = "".join(filter(str.isprintable, status))[:_STATUS_LETTERS]
    kind = f"{_ABSENT} ({said})"
    return kind if kind in known or len(known) < _STATUSES else _ABSENT


def _stored(value: Any, folder: Path) -> bytes:
    held = value.as_py()
    if isinstance(held, dict):
        held = held["path"] if held.get("bytes") is None else held["bytes"]
    if isinstance(held, str):
        if "://" in held:
            raise ValueError(f"{held} is an address and not a picture; download the pictures")
        return picture_bytes(folder / held)
    if not isinstance(held, bytes):
        raise TypeError(f"it holds {type(held).__name__} and no picture")
    return held
