"""Analysis results as Parquet: parts are added and merged; readers keep the fullest row."""

import hashlib
import io
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import pyarrow as pa
import pyarrow.parquet as pq

from seedsweep.storage import keys
from seedsweep.storage.errors import ShardCorruptError
from seedsweep.storage.parallel import map_in_order
from seedsweep.storage.parquet import read_table
from seedsweep.storage.prompt_results import PromptResult
from seedsweep.storage.records import AnalysisSettings
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
}
SCHEMA = pa.schema(_COLUMNS)
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
    """How many seeds of a prompt were analysed, and whether it is flagged."""

    seeds: int
    flagged: bool


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
        read = partial(_read_part, self._store, _to_results)
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
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows, SCHEMA), buffer, compression="zstd")
    name = hashlib.sha256("".join(r.model_dump_json() for r in results).encode()).hexdigest()[:16]
    key = keys.results_part(analysis_id, campaign_id, name)
    store.create(key, buffer.getvalue())
    return key


def results_by(store: Store, settings: AnalysisSettings, campaign_id: str) -> list[PromptResult]:
    """What images came to by these settings, as of `read_results`; of prompts that only an earlier
    version of the analysis judged, or of more seeds, what that said."""
    return read_results(store, settings.analysis_id, campaign_id, settings.earlier_ids)


def read_results(
    store: Store, analysis_id: str, campaign_id: str, earlier: Sequence[str] = ()
) -> list[PromptResult]:
    """Read one row per prompt, the one with most seeds, best first; of equally many that of
    `analysis_id` and not of an analysis `earlier`.

    Best first: flagged before not flagged, then the smaller mean distance within the clique
    (Carlini et al. 2023, section 4.2), the larger clique, more edges, and the prompt's id.
    Raises `ShardCorruptError` for a part that is not what was written.
    """
    fullest: dict[str, PromptResult] = {}
    for each in (analysis_id, *earlier):
        for results in _read_parts(store, each, campaign_id, _to_results).values():
            for result in results:
                known = fullest.get(result.prompt_id)
                if known is None or result.seeds > known.seeds:
                    fullest[result.prompt_id] = result
    return sorted(fullest.values(), key=_rank)


def outcomes_by(store: Store, settings: AnalysisSettings, campaign_id: str) -> dict[str, Outcome]:
    """What `results_by` would say of each prompt id, in a fraction of time and memory."""
    fullest: dict[str, Outcome] = {}
    for each in (settings.analysis_id, *settings.earlier_ids):
        for outcomes in _read_parts(store, each, campaign_id, _to_outcomes).values():
            for prompt_id, seeds, flagged in outcomes:
                known = fullest.get(prompt_id)
                if known is None or seeds > known.seeds:
                    fullest[prompt_id] = Outcome(seeds, flagged)
    return fullest


def drop_results(store: Store, campaign_id: str, prompt_ids: Collection[str]) -> None:
    """Remove the prompts' rows from every analysis of the campaign, and nothing else.

    What stays of a part is stored before the part is deleted, so that whatever ends this early
    loses no other row, and the same call goes on where it stopped. Rows that are stored meanwhile
    may stay. Raises `ShardCorruptError` as `read_results` does.
    """
    for analysis_id in store.folders(keys.RESULTS):
        for key, results in _read_parts(store, analysis_id, campaign_id, _to_results).items():
            rest = [result for result in results if result.prompt_id not in prompt_ids]
            if len(rest) == len(results):
                continue
            if rest:
                store_results(store, analysis_id, campaign_id, rest)
            store.delete(key)


def _rank(result: PromptResult) -> tuple[bool, float, int, int, str]:
    distance = result.mean_distance if result.mean_distance is not None else float("inf")
    return (not result.flagged, distance, -result.clique_size, -result.edges, result.prompt_id)


def _read_parts(
    store: Store, analysis_id: str, campaign_id: str, decode: Callable[[bytes], list[T]]
) -> dict[str, list[T]]:
    """Every part's rows by its key; where a part is replaced meanwhile, all are read anew."""
    prefix = keys.results_prefix(analysis_id, campaign_id)
    read = partial(_read_part, store, decode)
    while True:
        listed = list(store.list(prefix))
        rows_by_key = dict(zip(listed, map_in_order(read, listed, READERS), strict=True))
        parts = {key: rows for key, rows in rows_by_key.items() if rows is not None}
        if len(parts) == len(listed):
            return parts


def _read_part(store: Store, decode: Callable[[bytes], list[T]], key: str) -> list[T] | None:
    data = store.read(key)
    if data is None:
        return None
    try:
        return decode(data)
    except (pa.ArrowException, OSError, ValueError, KeyError) as error:
        raise ShardCorruptError(
            f"The results {key} are not what was written ({type(error).__name__}); "
            f"delete that object and run `seedsweep analyse {key.split('/')[2]}`."
        ) from error


def _to_results(data: bytes) -> list[PromptResult]:
    return [PromptResult.model_validate(row) for row in read_table(data).to_pylist()]


def _to_outcomes(data: bytes) -> list[tuple[str, int, bool]]:
    names = ["prompt_id", "seeds", "flagged"]
    table = read_table(data, names).select(names)
    return list(zip(*(column.to_pylist() for column in table.columns), strict=True))
