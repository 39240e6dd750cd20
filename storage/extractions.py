"""What a campaign without prompts took from its training set: every generation with the training
picture nearest to it, and the distinct training pictures that generations extract.

One object for an analysis of a campaign, replaced whole: a row for each generation, best first, and
the rest in the file's metadata.
"""

import contextlib
import io
import json
from collections.abc import Sequence
from itertools import pairwise
from typing import Annotated

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import Field, TypeAdapter

from seedsweep.storage import keys
from seedsweep.storage.corrupt import corrupt_where_wrong
from seedsweep.storage.parquet import read_table
from seedsweep.storage.record import Record, Seed
from seedsweep.storage.store import Store
from seedsweep.storage.verification_results import Coverage

_COLUMNS: dict[str, pa.DataType] = {
    "seed": pa.int64(),
    "training_id": pa.string(),
    "l2": pa.float64(),
    "tiled_l2": pa.float64(),
    "adaptive": pa.float64(),
    "agreement": pa.float64(),
    "flip": pa.bool_(),
    "extracted": pa.bool_(),
}
SCHEMA = pa.schema(_COLUMNS)
_ABOUT = b"extractions"


class NearestTraining(Record):
    """A generation and the training picture nearest to it.

    `l2`, `tiled_l2`, `agreement` and `extracted` are those of a `Match`, `adaptive` the score that
    decides. That is null for pictures of 256 pixels and more, whose l2 decides; for smaller ones if
    the l2 is above the threshold, or the training set has too few distinct pictures to score.
    """

    seed: Seed
    training_id: str
    l2: float
    tiled_l2: float
    adaptive: float | None
    agreement: float | None
    flip: bool
    extracted: bool

    @property
    def rank(self) -> tuple[bool, float, float, int]:
        """Extracted before others, then the smaller adaptive score, then the smaller l2."""
        score = float("inf") if self.adaptive is None else self.adaptive
        return (not self.extracted, score, self.l2, self.seed)


class ExtractedPicture(Record):
    """A training picture that generations extract; near-copies of it are the same picture.

    `generations`: how many extract it or a near-copy of it. `best_seed`: the first of them in the
    ranking, which has that `l2`, `adaptive` score and `training_id`. `copies`: how many training
    pictures are near-copies of that one, itself among them.
    """

    training_id: str
    generations: Annotated[int, Field(ge=1)]
    copies: int
    best_seed: Seed
    l2: float
    adaptive: float | None
    flip: bool = False


class Extractions(Record):
    """What the generations of a campaign extract from its training set.

    `searched` of the generations were usable and compared, `extracted` of these are extractions, of
    the distinct `pictures`, best first. `seeds_digest`: which generations there were.
    """

    seeds_digest: str
    searched: int
    extracted: int
    pictures: tuple[ExtractedPicture, ...]
    coverage: Coverage


_ROWS = TypeAdapter(list[NearestTraining])


def store_extractions(
    store: Store,
    analysis_id: str,
    campaign_id: str,
    found: Extractions,
    ranked: Sequence[NearestTraining],
) -> None:
    """Store what was found, in place of what was there; `ranked`: the generations, best
    first."""
    columns = {name: [getattr(row, name) for row in ranked] for name in _COLUMNS}
    about = {_ABOUT: found.model_dump_json().encode()}
    table = pa.table(columns, schema=SCHEMA).replace_schema_metadata(about)
    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="zstd", write_page_checksum=True)
    store.replace(keys.extractions(analysis_id, campaign_id), buffer.getvalue())


def read_extractions(store: Store, analysis_id: str, campaign_id: str) -> Extractions | None:
    """What was found; None if there is nothing. Raises `ShardCorruptError` for what is not what was
    written."""
    read = _read(store, analysis_id, campaign_id)
    return read and read[0]


def read_ranked(store: Store, analysis_id: str, campaign_id: str) -> list[NearestTraining]:
    """Every generation that was compared, best first; empty if none was. Raises as
    `read_extractions`."""
    read = _read(store, analysis_id, campaign_id)
    if read is None:
        return []
    with _corrupt_where_wrong(analysis_id, campaign_id):
        rows = _ROWS.validate_python(read[1].to_pylist())
        if any(a.rank >= b.rank for a, b in pairwise(rows)):
            raise ValueError("the generations are not ranked")
    return rows


def _read(store: Store, analysis_id: str, campaign_id: str) -> tuple[Extractions, pa.Table] | None:
    data = store.read(keys.extractions(analysis_id, campaign_id))
    if data is None:
        return None
    with _corrupt_where_wrong(analysis_id, campaign_id):
        table = read_table(data)
        about = (table.schema.metadata or {}).get(_ABOUT, b"")
        found = Extractions.model_validate(json.loads(about))
        if table.schema != SCHEMA or table.num_rows != found.searched:
            raise ValueError("other columns or rows")
        extracted = sum(value is True for value in table["extracted"].to_pylist())
        of_pictures = sum(picture.generations for picture in found.pictures)
        if not extracted == of_pictures == found.extracted:
            raise ValueError("its counts are not those of its rows")
        return found, table


def _corrupt_where_wrong(
    analysis_id: str, campaign_id: str
) -> contextlib.AbstractContextManager[None]:
    key = keys.extractions(analysis_id, campaign_id)
    return corrupt_where_wrong(
        f"The extractions {key}", f"delete that object and run `seedsweep analyse {campaign_id}`"
    )
