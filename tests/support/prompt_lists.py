"""Lists of prompts in files of every kind, and what reading them gives."""

import csv
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from seedsweep.scheduler.prompt_lists.prompt_files import read_prompts
from seedsweep.scheduler.prompt_lists.row_counts import RowCounts
from seedsweep.storage.errors import ConfigError
from seedsweep.storage.settings.sampling import PromptList


def read(path, **changes):
    return list(read_prompts(PromptList(file=str(path), **changes)))


def count(path, **changes):
    """The prompts, and what became of the rows."""
    rows = RowCounts()
    prompts = list(read_prompts(PromptList(file=str(path), **changes), rows))
    assert rows.read == len(prompts) + rows.skipped
    return prompts, rows


def write(path, text, encoding="utf-8"):
    path.write_bytes(text.encode(encoding))
    return path


def write_csv(path, rows, delimiter=","):
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, delimiter=delimiter).writerows(rows)
    return path


def write_jsonl(path, values):
    return write(path, "".join(json.dumps(value) + "\n" for value in values))


def write_parquet(path, **columns):
    pq.write_table(pa.table(columns), path)
    return path


def refused(path, **changes):
    """The one sentence with which the file is refused."""
    with pytest.raises(ConfigError) as caught:
        read(path, **changes)
    assert "\n" not in str(caught.value)
    assert str(caught.value).endswith(".")
    return str(caught.value)


PLAIN = ("txt", "csv", "tsv", "jsonl", "json", "parquet")
TABLES = PLAIN[1:]


def write_kind(path, kind, texts):
    """Write texts to a file of a kind; returns the settings to read it with."""
    if kind == "txt":
        write(path, "\n".join(texts))
        return {}
    if kind in ("csv", "tsv"):
        rows = [["id", "text"], *([i, text] for i, text in enumerate(texts))]
        write_csv(path, rows, "," if kind == "csv" else "\t")
    elif kind == "jsonl":
        write_jsonl(path, [{"text": text} for text in texts])
    elif kind == "json":
        write(path, json.dumps([{"text": text} for text in texts], indent=2))
    else:
        write_parquet(path, text=pa.array(texts, pa.string()))
    return {"column": "text"}
