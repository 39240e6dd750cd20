"""Pictures in a Parquet file: the column that holds or names them, and their captions."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
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
            "[verification] to one of them"
        )
    if not usual:
        which = f"`{wanted}`" if wanted else f"`{COLUMN}` (or `{'`, `'.join(OTHERS)}`)"
        columns = ", ".join(f"{field.name}: {field.type}" for field in fields)
        raise NoPicturesError(
            f"it has no column {which} of pictures or paths; set `column` in [verification] to one "
            f"of its own that is: {columns}"
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
    if _holds_all(path, column):
        return
    row = 0
    for batch in _batches(path, range(len(row_groups(path))), column):
        for value in batch.column(column):
            held = value.as_py() if value.is_valid else None
            if isinstance(held, dict) and held.get("bytes") is None:
                held = held.get("path")
            if isinstance(held, str):
                yield row, folder / held
            row += 1


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


def _holds_all(path: Path, column: str) -> bool:
    """Whether the file is known to name no other one: it holds the bytes of each picture."""
    kind = pq.read_schema(path).field(column).type
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    if not pa.types.is_struct(kind):
        return not _is_text(kind)
    if kind.get_field_index("path") < 0:
        return True
    about = pq.read_metadata(path)
    for group in map(about.row_group, range(about.num_row_groups)):
        chunks = map(group.column, range(group.num_columns))
        held = next((c for c in chunks if c.path_in_schema == f"{column}.bytes"), None)
        if held is None or held.statistics is None or held.statistics.null_count != 0:
            return False
    return True


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
