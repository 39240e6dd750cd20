"""A screen's unit as one Parquet object: one row for each seed, in their order."""

import io
from dataclasses import dataclass
from functools import reduce
from operator import add

import pyarrow as pa
import pyarrow.parquet as pq

from seedsweep.storage import keys
from seedsweep.storage.corrupt import corrupt_where_wrong
from seedsweep.storage.image_rows import SAME_AS
from seedsweep.storage.parquet import read_table
from seedsweep.storage.records import Prompt, WorkUnit
from seedsweep.storage.store import Store

REMEDY = "`seedsweep check ID --repair` has its prompt scored again"

_COLUMNS: dict[str, pa.DataType] = {
    "prompt_id": pa.string(),
    "prompt": pa.string(),
    "screen_id": pa.string(),
    "seed": pa.int64(),
    "score": pa.float64(),
    "device": pa.string(),
    "threads": pa.int32(),
    "versions": pa.string(),
}
SCHEMA = pa.schema(_COLUMNS)


@dataclass(frozen=True, slots=True)
class Scored:
    """The scores of a prompt's seeds, NaN where the model's predictions are not finite, and what
    they were made on. `same_as`: the id of the prompt that was scored, if it is the same to the
    model and the scores were taken over from it; else empty."""

    scores: tuple[float, ...]
    device: str
    threads: int
    versions: str
    same_as: str = ""

    @property
    def score(self) -> float:
        """The prompt's score: the mean of its seeds', so NaN if one of them is.

        They are added one after another: `sum` does so up to Python 3.11 alone, and what is decided
        of a cohort compares scores to the last bit.
        """
        return reduce(add, self.scores) / len(self.scores)


def encode_scores(unit: WorkUnit, scored: Scored) -> bytes:
    """Encode the scores of the unit's seeds, which must be as many.

    Raises `ValueError` if they are not.
    """
    seeds = range(unit.seeds.first, unit.seeds.last + 1)
    rows = [
        {
            "prompt_id": unit.prompt_id,
            "prompt": unit.prompt,
            "screen_id": unit.kind_id,
            "seed": seed,
            "score": score,
            "device": scored.device,
            "threads": scored.threads,
            "versions": scored.versions,
        }
        for seed, score in zip(seeds, scored.scores, strict=True)
    ]
    buffer = io.BytesIO()
    table = pa.Table.from_pylist(rows, SCHEMA)
    if scored.same_as:
        table = table.replace_schema_metadata({SAME_AS: scored.same_as})
    pq.write_table(table, buffer, write_page_checksum=True)
    return buffer.getvalue()


def decode_scores(data: bytes, key: str) -> Scored:
    """Decode what `encode_scores` made for the unit of this key.

    Raises `ShardCorruptError`, naming `key`, for anything else.
    """
    with corrupt_where_wrong(f"The shard {key}", REMEDY):
        table = read_table(data)
        if table.schema != SCHEMA or not table.num_rows:
            raise ValueError("other columns, or no rows")
        rows, (prompt_id, seeds) = table.to_pylist(), keys.parse_scores(key)
        if [row["seed"] for row in rows] != list(range(seeds.first, seeds.last + 1)):
            raise ValueError("the scores of other seeds")
        for row in rows:
            of = keys.scores(row["screen_id"], row["prompt_id"], seeds)
            if of != key or Prompt(text=row["prompt"]).prompt_id != prompt_id:
                raise ValueError("the scores of another unit")
        made_on = rows[0]["device"], rows[0]["threads"], rows[0]["versions"]
        same_as = (table.schema.metadata or {}).get(SAME_AS, b"").decode()
        return Scored(tuple(float(row["score"]) for row in rows), *made_on, same_as=same_as)


def read_scores(store: Store, key: str) -> Scored | None:
    """Read a screen's shard; None if there is none. Raises as `decode_scores` does."""
    data = store.read(key)
    return None if data is None else decode_scores(data, key)
