"""Read prompts from .txt, .csv, .jsonl and .parquet files, streamed.

The rules, the same for every kind of file: white space around a prompt is removed, blank prompts
are skipped, a text that was seen before is the same prompt and is skipped, and nothing else is
changed: quotes, HTML and accents go to the model as they stand. Files are UTF-8.
"""

import csv
import json
import re
import sys
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from seedsweep.storage.errors import ConfigError
from seedsweep.storage.records import PromptList

_SURROGATE = re.compile("[\ud800-\udfff]")


def read_prompts(settings: PromptList) -> Iterator[str]:
    """Yield the distinct prompts of the file in its order, `limit` of them at most.

    Raises `ConfigError` where the file, its column or its text cannot be read.
    """
    path = Path(settings.file)
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        raise ConfigError(
            f"The prompts file {path} is of no known kind; give a {', '.join(_READERS)} file."
        )
    try:
        yield from islice(_distinct(reader(path, settings)), settings.limit)
    except UnicodeDecodeError as error:
        raise ConfigError(f"The prompts file {path} is not UTF-8; save it as UTF-8.") from error
    except (OSError, pa.ArrowException, csv.Error) as error:
        raise ConfigError(
            f"The prompts file {path} cannot be read ({error}); correct `file` in [prompts]."
        ) from error


def _distinct(texts: Iterable[str]) -> Iterator[str]:
    seen: set[str] = set()
    for text in map(str.strip, texts):
        if text and text not in seen:
            seen.add(text)
            yield text


def _read_txt(path: Path, settings: PromptList) -> Iterator[str]:
    if settings.column is not None:
        raise ConfigError(f"The prompts file {path} has no columns; leave `column` out.")
    with path.open(encoding="utf-8-sig") as file:
        yield from file


def _read_csv(path: Path, settings: PromptList) -> Iterator[str]:
    csv.field_size_limit(min(sys.maxsize, 2**31 - 1))
    with path.open(encoding="utf-8-sig", newline="") as file:
        rows = csv.DictReader(file, delimiter=settings.delimiter)
        column = _column(path, rows.fieldnames or [], settings)
        for row in rows:
            yield row[column] or ""


def _read_jsonl(path: Path, settings: PromptList) -> Iterator[str]:
    with path.open(encoding="utf-8-sig") as file:
        for number, line in enumerate(file, 1):
            if line.strip():
                yield _json_prompt(line, f"Line {number} of the prompts file {path}", settings)


def _json_prompt(line: str, where: str, settings: PromptList) -> str:
    try:
        value = json.loads(line)
    except json.JSONDecodeError as error:
        raise ConfigError(f"{where} is not JSON ({error.msg}); correct the line.") from error
    if isinstance(value, dict):
        if settings.column not in value:
            raise ConfigError(
                f"{where} has no {settings.column!r}; set `column` to one of {sorted(value)}."
            )
        value = value[settings.column]
    if not isinstance(value, str) or _SURROGATE.search(value):
        raise ConfigError(f"{where} holds {value!r} and no text; correct the line.")
    return value


def _read_parquet(path: Path, settings: PromptList) -> Iterator[str]:
    with pq.ParquetFile(path) as file:
        column = _column(path, file.schema_arrow.names, settings)
        kind = file.schema_arrow.field(column).type
        if not (pa.types.is_string(kind) or pa.types.is_large_string(kind)):
            raise ConfigError(f"Column {column!r} of {path} holds {kind}; name one of text.")
        for batch in file.iter_batches(columns=[column]):
            for text in batch.column(0).to_pylist():
                yield text or ""


def _column(path: Path, names: Iterable[str], settings: PromptList) -> str:
    names = list(names)
    wanted = settings.column if settings.column is not None or len(names) != 1 else names[0]
    if wanted is None or wanted not in names:
        missing = "no `column` is set" if wanted is None else f"there is no column {wanted!r}"
        raise ConfigError(
            f"In the prompts file {path} {missing}; set it to one of {names}, and `delimiter` "
            f"if {settings.delimiter!r} is not what stands between the columns."
        )
    return wanted


_READERS = {
    ".txt": _read_txt,
    ".csv": _read_csv,
    ".jsonl": _read_jsonl,
    ".parquet": _read_parquet,
}
