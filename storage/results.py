"""Analysis results as Parquet: parts are only ever added, readers keep the fullest row."""

import hashlib
import io
from collections.abc import Sequence

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import ValidationError

from storage import keys
from storage.errors import ShardCorruptError
from storage.parquet import read_table
from storage.records import PromptResult
from storage.store import Store

_MATCH = pa.struct(
    [
        ("training_id", pa.string()),
        ("l2", pa.float64()),
        ("tiled_l2", pa.float64()),
        ("adaptive", pa.float64()),
        ("extracted", pa.bool_()),
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
}
SCHEMA = pa.schema(_COLUMNS)


def store_results(
    store: Store, analysis_id: str, campaign_id: str, results: Sequence[PromptResult]
) -> None:
    """Add the results as one part; storing the same results again changes nothing."""
    rows = [result.model_dump() for result in results]
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows, SCHEMA), buffer, compression="zstd")
    name = hashlib.sha256("".join(r.model_dump_json() for r in results).encode()).hexdigest()[:16]
    store.create(keys.results_part(analysis_id, campaign_id, name), buffer.getvalue())


def read_results(store: Store, analysis_id: str, campaign_id: str) -> list[PromptResult]:
    """Read one row per prompt, the one with most seeds, best first.

    Best first: flagged before not flagged, then the smaller mean distance within the clique
    (Carlini et al. 2023, section 4.2), the larger clique, more edges, and the prompt's id.
    Raises `ShardCorruptError` for a part that is not what was written.
    """
    fullest: dict[str, PromptResult] = {}
    for key in store.list(keys.results_prefix(analysis_id, campaign_id)):
        for result in _read_part(store, key):
            known = fullest.get(result.prompt_id)
            if known is None or result.seeds > known.seeds:
                fullest[result.prompt_id] = result
    return sorted(fullest.values(), key=_rank)


def _rank(result: PromptResult) -> tuple[bool, float, int, int, str]:
    distance = result.mean_distance if result.mean_distance is not None else float("inf")
    return (not result.flagged, distance, -result.clique_size, -result.edges, result.prompt_id)


def _read_part(store: Store, key: str) -> list[PromptResult]:
    data = store.read(key) or b""
    try:
        rows = read_table(data).to_pylist()
        return [PromptResult.model_validate(row) for row in rows]
    except (pa.ArrowException, OSError, ValidationError) as error:
        raise ShardCorruptError(
            f"The results {key} are not what was written ({type(error).__name__}); "
            f"delete that object and run `seedsweep analyse {key.split('/')[2]}`."
        ) from error
