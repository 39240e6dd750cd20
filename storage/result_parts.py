"""The parts that results are stored in: Parquet objects that are added, merged and read.

The rows of a part are taken for what they say; `storage/results.py` says which of them hold.
"""

import contextlib
import hashlib
import io
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import TypeAdapter

from seedsweep.storage import keys
from seedsweep.storage.corrupt import corrupt_where_wrong
from seedsweep.storage.parallel import map_in_order
from seedsweep.storage.parquet import read_table
from seedsweep.storage.prompt_results import PromptResult
from seedsweep.storage.prompts import SETTINGS
from seedsweep.storage.store import Store

TRANSFORM = pa.struct(
    [
        ("width", pa.int64()),
        ("height", pa.int64()),
        ("orientation", pa.int64()),
        ("transparent", pa.bool_()),
        ("profile", pa.string()),
        ("resize", pa.string()),
        ("crop", pa.string()),
        ("flip", pa.bool_()),
    ]
)
_MATCH = pa.struct(
    [
        ("training_id", pa.string()),
        ("l2", pa.float64()),
        ("tiled_l2", pa.float64()),
        ("adaptive", pa.float64()),
        ("extracted", pa.bool_()),
        ("transform", TRANSFORM),
        ("adaptive_training", pa.float64()),
        ("adaptive_generation", pa.float64()),
        ("agreement", pa.float64()),
        ("distinct", pa.bool_()),
    ]
)
_FURTHER_CLIQUE = pa.struct(
    [
        ("clique_seeds", pa.list_(pa.int64())),
        ("mean_distance", pa.float64()),
        ("representative_seed", pa.int64()),
        ("match", _MATCH),
    ]
)
_SCALING = pa.struct([("thousandths", pa.int64()), ("down", pa.int64()), ("right", pa.int64())])
_SHIFT = pa.struct(
    [
        ("down", pa.int64()),
        ("right", pa.int64()),
        ("mirrored", pa.bool_()),
        ("scaling", _SCALING),
    ]
)
_PART = pa.struct(
    [
        ("seeds", pa.list_(pa.int64())),
        ("whole_seeds", pa.list_(pa.int64())),
        ("tiles", pa.list_(pa.int64())),
        ("share", pa.float64()),
        ("representative_seed", pa.int64()),
        ("shifts", pa.list_(_SHIFT)),
        ("match", _MATCH),
    ]
)
_DROP = pa.struct(
    [
        ("stage", pa.int64()),
        ("near", pa.bool_()),
        ("sampled", pa.bool_()),
        ("score", pa.float64()),
    ]
)
_COLUMNS: dict[str, pa.DataType] = {
    "prompt_id": pa.string(),
    "prompt": pa.string(),
    "seeds": pa.int64(),
    "seeds_digest": pa.string(),
    "excluded": pa.int64(),
    "edges": pa.int64(),
    "clique_size": pa.int64(),
    "clique_seeds": pa.list_(pa.int64()),
    "clique_proven": pa.bool_(),
    "clique_upper_bound": pa.int64(),
    "mean_distance": pa.float64(),
    "flagged": pa.bool_(),
    "representative_seed": pa.int64(),
    "match": _MATCH,
    "further_cliques": pa.list_(_FURTHER_CLIQUE),
    "parts": pa.list_(_PART),
    "parts_proven": pa.bool_(),
    "drop": _DROP,
    "settings": pa.struct([*SETTINGS.items()]),
}
SCHEMA = pa.schema(_COLUMNS)
_RESULTS = TypeAdapter(list[PromptResult])
_OUTCOME = ["prompt_id", "seeds", "flagged", "drop"]
_ANALYSIS, _CAMPAIGN = b"analysis", b"campaign"
READERS = 8

SMALL_PARTS = 64
"""So many parts become one: a large campaign on few GPUs ends a prompt now and then, each of them
a part of its own."""

PART_PROMPTS = 256
"""A part is stored once it holds so many results."""

PART_SECONDS = 2.0
"""A part that is not full is stored so many seconds after the one before."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Outcome:
    """How many seeds of a prompt were analysed, whether it is flagged, and after which stage it was
    dropped, if it was."""

    seeds: int
    flagged: bool
    dropped_after: int | None = None


def is_due(part: Sequence[object], since: float) -> bool:
    """Whether results are to be stored: not one object a prompt, and none kept long."""
    return bool(part) and (len(part) >= PART_PROMPTS or time.monotonic() - since > PART_SECONDS)


class Parts:
    """Adds results part by part, and merges small parts so that there are never many of them."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._small: dict[tuple[str, str], list[str]] = {}

    def add(self, analysis_id: str, campaign_id: str, results: Sequence[PromptResult]) -> None:
        """Store the results; a merge that is ended early loses none."""
        small = self._small.setdefault((analysis_id, campaign_id), [])
        key = store_results(self._store, analysis_id, campaign_id, results)
        if key not in small:
            small.append(key)
        if len(small) >= SMALL_PARTS:
            self._merge(analysis_id, campaign_id, small)
            small.clear()

    def _merge(self, analysis_id: str, campaign_id: str, small: Sequence[str]) -> None:
        read = partial(_read_part, self._store, _to_results, None)
        parts = map_in_order(read, small, READERS)
        # Read anew, since rows may have been dropped from them.
        rows = [row for part in parts if part is not None for row in part]
        merged = store_results(self._store, analysis_id, campaign_id, rows)
        for key in {*small} - {merged}:
            self._store.delete(key)


def store_results(
    store: Store, analysis_id: str, campaign_id: str, results: Sequence[PromptResult]
) -> str:
    """Add the results as one part and return its key; the same results again change nothing."""
    rows = [result.model_dump() for result in results]
    table = pa.Table.from_pylist(rows, SCHEMA)
    whose = {_ANALYSIS: analysis_id, _CAMPAIGN: campaign_id}
    buffer = io.BytesIO()
    pq.write_table(table.replace_schema_metadata(whose), buffer, compression="zstd")
    name = hashlib.sha256("".join(r.model_dump_json() for r in results).encode()).hexdigest()[:16]
    key = keys.results_part(analysis_id, campaign_id, name)
    store.create(key, buffer.getvalue())
    return key


def read_parts(store: Store, analysis_id: str, campaign_id: str) -> dict[str, list[PromptResult]]:
    """Read every part's results by its key; if a part is replaced meanwhile, all are read anew.

    Raises `ShardCorruptError` for a part that is not what was written.
    """
    return _read_all(partial(_read_part, store, _to_results, None), store, analysis_id, campaign_id)


def read_outcomes(
    store: Store, analysis_id: str, campaign_id: str
) -> dict[str, list[tuple[str, Outcome]]]:
    """Read, as `read_parts` does, each row's prompt id and outcome, and no other columns."""
    read = partial(_read_part, store, _to_outcomes, _OUTCOME)
    return _read_all(read, store, analysis_id, campaign_id)


def _read_all(
    read: Callable[[str], list[T] | None], store: Store, analysis_id: str, campaign_id: str
) -> dict[str, list[T]]:
    prefix = keys.results_prefix(analysis_id, campaign_id)
    while True:
        listed = [key for key in store.list(prefix) if not keys.is_beside_parts(key)]
        rows_by_key = dict(zip(listed, map_in_order(read, listed, READERS), strict=True))
        parts = {key: rows for key, rows in rows_by_key.items() if rows is not None}
        if len(parts) == len(listed):
            return parts


def _read_part(
    store: Store, decode: Callable[[pa.Table], list[T]], columns: list[str] | None, key: str
) -> list[T] | None:
    analysis_id, campaign_id = keys.parse_results_part(key)
    data = store.read(key)
    if data is None:
        return None
    with corrupt_part_where_wrong(key):
        table = read_table(data, columns)
        about = table.schema.metadata or {}
        # Parts of before say neither.
        for name, wanted in ((_ANALYSIS, analysis_id), (_CAMPAIGN, campaign_id)):
            if about.get(name, wanted.encode()) != wanted.encode():
                raise ValueError(f"it is of the {name.decode()} {about[name]!r}")
        return decode(table)


def corrupt_part_where_wrong(key: str) -> contextlib.AbstractContextManager[None]:
    """Turn whatever reading or checking a part raises into a `ShardCorruptError`."""
    remedy = f"delete that object and run `seedsweep analyse {key.split('/')[2]}`"
    return corrupt_where_wrong(f"The part of the results {key}", remedy)


def _to_results(table: pa.Table) -> list[PromptResult]:
    return _RESULTS.validate_python(table.to_pylist())


def _to_outcomes(table: pa.Table) -> list[tuple[str, Outcome]]:
    """Parts of before know of no stages."""
    names = [name for name in _OUTCOME if name in table.column_names]
    columns: list[list[Any]] = [column.to_pylist() for column in table.select(names).columns]
    drops = columns.pop() if names == _OUTCOME else [None] * table.num_rows
    after = [drop["stage"] if drop and not drop["sampled"] else None for drop in drops]
    prompt_ids, seeds, flagged = columns
    return list(zip(prompt_ids, map(Outcome, seeds, flagged, after), strict=True))
