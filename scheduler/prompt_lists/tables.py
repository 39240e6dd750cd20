"""Read columns of .csv, .tsv, .jsonl, .json and .parquet tables, strictly and streamed.

Text tables may be packed (.csv.gz). A row that does not have the table's form is refused by its
number. Nothing is guessed, so no row can hide another.
"""

import csv
import json
import re
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from seedsweep.scheduler.prompt_lists.json_values import NO_JSON, no_json, read_array
from seedsweep.scheduler.prompt_lists.text_files import (
    FIELD_CHARACTERS,
    PACKED,
    check_is_file,
    file_kind,
    read_lines,
    too_long,
)
from seedsweep.storage.errors import ConfigError

UNREADABLE = (OSError, EOFError, zlib.error, ValueError, RecursionError, pa.ArrowException)
"""Errors, beside `ConfigError`, of a file that is not what its name says."""

_BETWEEN = re.compile(r"[,;|\t]")
"""What may stand between cells."""


@dataclass(frozen=True, slots=True)
class Form:
    """How the cells of .csv and .tsv stand in their lines; without a `header` columns are numbers
    from 1, as text. `quoting` "none": a quote is a letter like others."""

    delimiter: str = ","
    quoting: Literal["csv", "none"] = "csv"
    header: bool = True


class Row(NamedTuple):
    """The wanted cells of a row, and where it stands: a line's number, or a row's, from 1.

    None: an empty cell of a .csv or .tsv, null, or a key that an object lacks.
    """

    where: str
    number: int
    cells: tuple[object, ...]


class NoColumnError(LookupError):
    """A wanted column, None for the only one, is not among `names`, or is there twice."""

    def __init__(self, wanted: str | None, names: Sequence[str]) -> None:
        self.wanted, self.names = wanted, names


def read_table(
    path: Path,
    wanted: Sequence[str] | None,
    form: Form,
    seen: Callable[[Iterable[str]], object] = tuple,
) -> Iterator[Row]:
    """Yield these columns' cells of each row; of a table with one column that one, if None.

    `seen` is told the names of all columns, as they come up. Raises `NoColumnError`, `ConfigError`
    for a row that is wrong, and `UNREADABLE`.
    """
    yield from _READERS[file_kind(path).removesuffix(PACKED)](path, wanted, form, seen)


def is_cells(path: Path) -> bool:
    """Whether the file's rows are cells with something between them, so that quotes matter."""
    return _READERS.get(file_kind(path).removesuffix(PACKED)) is _read_csv


def _places(wanted: Sequence[str] | None, names: Sequence[str]) -> list[int]:
    """Where the wanted columns stand among the names; raises `ValueError` if there are none."""
    if not names:
        raise ValueError("there is no column in it")
    if wanted is None:
        if len(names) != 1:
            raise NoColumnError(None, names)
        return [0]
    for name in wanted:
        if names.count(name) != 1:
            raise NoColumnError(name, names)
    return [names.index(name) for name in wanted]


def _read_csv(
    path: Path, wanted: Sequence[str] | None, form: Form, seen: Callable[[Iterable[str]], object]
) -> Iterator[Row]:
    rows = _csv_rows(path, form)
    line, first = next(rows, (1, []))
    names = first if form.header else [str(place) for place in range(1, len(first) + 1)]
    seen(names)
    if wanted is None and form.header and any(map(_BETWEEN.search, names)):
        # It is rather several columns with something else between them.
        raise NoColumnError(None, names)
    places = _places(wanted, names)
    if not form.header:
        yield _csv_row(path, line, first, names, places)
    for line, cells in rows:
        yield _csv_row(path, line, cells, names, places)


def _csv_row(
    path: Path, line: int, cells: list[str], names: Sequence[str], places: Sequence[int]
) -> Row:
    if not cells:
        return Row("Line", line, ("",) * len(places))
    if len(cells) != len(names):
        raise ConfigError(
            f"Line {line} of {path} has {len(cells)} cells, and the first line {len(names)}; "
            "quote the cells that hold what stands between cells, or correct the line."
        )
    return Row("Line", line, tuple(cells[place] or None for place in places))


def _csv_rows(path: Path, form: Form) -> Iterator[tuple[int, list[str]]]:
    """Each row with the number of its first line; one of no characters has no cells."""
    if form.delimiter in '"\r\n':
        raise ConfigError(f"{form.delimiter!r} cannot stand between cells; correct `delimiter`.")
    csv.field_size_limit(FIELD_CHARACTERS)
    rows = csv.reader(
        read_lines(path, newline=""),
        delimiter=form.delimiter,
        quoting=csv.QUOTE_NONE if form.quoting == "none" else csv.QUOTE_MINIMAL,
        strict=True,
    )
    while True:
        line = rows.line_num + 1
        try:
            cells = next(rows)
        except StopIteration:
            return
        except csv.Error as error:
            raise ConfigError(
                f"Line {line} of {path} opens a quote that does not close as it should ({error}); "
                'close it, or set `quoting = "none"` if quotes are part of the text.'
            ) from error
        yield line, cells


def _read_jsonl(
    path: Path, wanted: Sequence[str] | None, _: Form, seen: Callable[[Iterable[str]], object]
) -> Iterator[Row]:
    def values() -> Iterator[tuple[int, object]]:
        for number, line in enumerate(read_lines(path), 1):
            if not line.strip():
                yield number, ""
                continue
            try:
                yield number, json.loads(line)
            except NO_JSON as error:
                raise no_json(f"Line {number} of {path}", error) from error

    return _objects("Line", path, values(), wanted, seen)


def _read_json(
    path: Path, wanted: Sequence[str] | None, _: Form, seen: Callable[[Iterable[str]], object]
) -> Iterator[Row]:
    return _objects("Item", path, read_array(path), wanted, seen)


def _objects(
    where: str,
    path: Path,
    values: Iterator[tuple[int, object]],
    wanted: Sequence[str] | None,
    seen: Callable[[Iterable[str]], object],
) -> Iterator[Row]:
    """Rows of texts, which are the only cell, and of objects; columns are the keys of all."""
    names: dict[str, None] = {}
    lacking = set(wanted or ())
    for number, value in values:
        if isinstance(value, dict):
            if new := [name for name in value if name not in names]:
                names |= dict.fromkeys(new)
                seen(new)
                lacking -= set(new)
            if wanted is None:
                _places(None, list(names))
            yield Row(where, number, tuple(value.get(name) for name in wanted or names))
        elif value is None or isinstance(value, str):
            yield Row(where, number, (value, *[None] * (len(wanted or [0]) - 1)))
        else:
            raise ConfigError(
                f"{where} {number} of {path} holds neither a text nor an object but "
                f"{json.dumps(value)[:60]}; correct it."
            )
    if names and lacking:
        raise NoColumnError(min(lacking), list(names))


def _read_parquet(
    path: Path, wanted: Sequence[str] | None, _: Form, seen: Callable[[Iterable[str]], object]
) -> Iterator[Row]:
    check_is_file(path)
    with pq.ParquetFile(path) as file:
        names = file.schema_arrow.names
        seen(names)
        chosen = [names[place] for place in _places(wanted, names)]
        number = 0
        for batch in file.iter_batches(columns=chosen):
            columns = [_cells(path, name, batch.column(name)) for name in chosen]
            for cells in zip(*columns, strict=True):
                number += 1
                yield Row("Row", number, cells)


def _cells(path: Path, name: str, column: "pa.Array[Any]") -> list[object]:
    """The cells, as text if they are bytes, however Parquet keeps them."""
    kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
    if any(is_kind(kind) for is_kind in _TEXT):
        column = column.cast(pa.large_string())
        longest: int | None = pc.max(pc.call_function("binary_length", [column])).as_py()
        if (longest or 0) > FIELD_CHARACTERS:
            raise too_long(f"A cell of column {name!r} of {path}")
    cells: list[object] = column.to_pylist()
    return cells


_TEXT = (
    pa.types.is_string,
    pa.types.is_large_string,
    pa.types.is_string_view,
    pa.types.is_binary,
    pa.types.is_large_binary,
    pa.types.is_binary_view,
)

_READERS = {
    ".csv": _read_csv,
    ".tsv": _read_csv,
    ".jsonl": _read_jsonl,
    ".json": _read_json,
    ".parquet": _read_parquet,
}

TABLES = (*_READERS, *(kind + PACKED for kind in _READERS if kind != ".parquet"))
"""The ends of names that `read_table` reads."""
