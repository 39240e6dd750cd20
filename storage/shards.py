"""A unit's images and descriptors as one Parquet object.

One row per image in the order of the seeds, one row group. The `image` column comes last, so that
all else is one range; it and the `descriptor` column are uncompressed and without dictionary.
`image` is the Hugging Face image feature: `datasets`, DuckDB and pandas open a shard unchanged.
"""

import contextlib
import io
import json
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pydantic import ValidationError

from storage import keys
from storage.errors import ShardCorruptError
from storage.parquet import read_table, read_table_before
from storage.records import Blocks, Flaw, Prompt, Provenance, SeedRange, WorkUnit
from storage.store import Store

_IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
_COLUMNS: dict[str, pa.DataType] = {
    "prompt_id": pa.string(),
    "prompt": pa.string(),
    "generation_id": pa.string(),
    "seed": pa.int64(),
    "descriptor": pa.binary(),
    "fine_block": pa.int16(),
    "coarse_block": pa.int16(),
    "sha256": pa.string(),
    "flaw": pa.string(),
    "batch_size": pa.int32(),
    "threads": pa.int32(),
    "device": pa.string(),
    "dtype": pa.string(),
    "versions": pa.string(),
    "recipe": pa.string(),
    "image": _IMAGE,
}
_FEATURES = {
    name: {"_type": "Image"} if kind == _IMAGE else {"_type": "Value", "dtype": str(kind)}
    for name, kind in _COLUMNS.items()
}
SCHEMA = pa.schema(
    _COLUMNS, metadata={"huggingface": json.dumps({"info": {"features": _FEATURES}})}
)
_PLAIN = {"image.bytes", "image.path", "descriptor"}
_DESCRIBED = pa.schema([SCHEMA.field(name) for name in SCHEMA.names[:-1]])
_IDENTITY = ["prompt_id", "prompt", "generation_id", "seed"]
_LEAVES = [*_DESCRIBED.names, "image.bytes", "image.path"]


@dataclass(frozen=True, slots=True)
class StoredImage:
    """One image as it is stored.

    `png` decodes to the pixels whose raw RGB bytes have the digest `sha256`; `descriptor` is what
    `workers.analysis.descriptors` made of them with `blocks`; `flaw` says why it is no evidence, if
    it is none.
    """

    seed: int
    png: bytes
    descriptor: bytes
    blocks: Blocks
    sha256: str
    flaw: Flaw | None
    provenance: Provenance


@dataclass(frozen=True, slots=True)
class Described:
    """What a shard says of an image beside its picture; as of `StoredImage`."""

    seed: int
    descriptor: bytes
    blocks: Blocks
    flaw: Flaw | None


def encode_shard(unit: WorkUnit, images: Sequence[StoredImage]) -> bytes:
    """Encode the unit's images, which must be exactly its seeds in ascending order.

    Raises `ValueError` where they are not.
    """
    expected = list(range(unit.seeds.first, unit.seeds.last + 1))
    if [image.seed for image in images] != expected:
        raise ValueError(f"A shard of seeds {unit.seeds} needs each of them once, in order.")
    rows = [
        {
            "prompt_id": unit.prompt_id,
            "prompt": unit.prompt,
            "generation_id": unit.generation_id,
            "seed": image.seed,
            "descriptor": image.descriptor,
            "fine_block": image.blocks.fine,
            "coarse_block": image.blocks.coarse,
            "sha256": image.sha256,
            "flaw": image.flaw,
            **image.provenance.model_dump(),
            "image": {"bytes": image.png, "path": None},
        }
        for image in images
    ]
    buffer = io.BytesIO()
    pq.write_table(
        pa.Table.from_pylist(rows, SCHEMA),
        buffer,
        row_group_size=len(rows),
        compression={leaf: "none" if leaf in _PLAIN else "zstd" for leaf in _LEAVES},
        use_dictionary=[leaf for leaf in _LEAVES if leaf not in _PLAIN],  # type: ignore[arg-type]
        write_statistics=["seed"],
        write_page_checksum=True,
    )
    return buffer.getvalue()


def decode_shard(data: bytes, key: str, seeds: Collection[int] | None = None) -> list[StoredImage]:
    """Decode what `encode_shard` made for the unit of this key, in the order of the seeds; only the
    images of `seeds` where they are given.

    Raises `ShardCorruptError`, naming `key`, for anything else: another unit's shard among it, or
    one that lacks a seed.
    """
    with _corrupt_where_wrong(key):
        table = read_table(data)
        _check_rows(table, SCHEMA, key)
        if seeds is not None:
            table = table.filter(pc.is_in(table["seed"], pa.array(seeds, pa.int64())))
        return [
            StoredImage(
                seed=row["seed"],
                png=row["image"]["bytes"],
                descriptor=row["descriptor"],
                blocks=_blocks(row),
                sha256=row["sha256"],
                flaw=_flaw(row),
                provenance=Provenance(**{name: row[name] for name in Provenance.model_fields}),
            )
            for row in table.to_pylist()
        ]


def read_described(store: Store, key: str) -> list[Described] | None:
    """Read a shard without its pictures, in the order of the seeds; None where there is none.

    Takes two range reads, and one where the shard is small. Raises `ShardCorruptError` as
    `decode_shard` does, though not for what is wrong with a picture.
    """
    with _corrupt_where_wrong(key):
        table = read_table_before("image", partial(store.read_range, key))
        if table is None:
            return None
        _check_rows(table, _DESCRIBED, key)
        return [
            Described(
                seed=row["seed"],
                descriptor=row["descriptor"],
                blocks=_blocks(row),
                flaw=_flaw(row),
            )
            for row in table.to_pylist()
        ]


def _check_rows(table: pa.Table, schema: pa.Schema, key: str) -> None:
    if table.schema != schema or not table.num_rows:
        raise ValueError("other columns, or no rows")
    if not _is_shard_of(table.select(_IDENTITY).to_pylist(), key):
        raise ValueError("the images of another unit")


def _blocks(row: dict[str, Any]) -> Blocks:
    return Blocks(fine=row["fine_block"], coarse=row["coarse_block"])


def _flaw(row: dict[str, Any]) -> Flaw | None:
    return Flaw(row["flaw"]) if row["flaw"] else None


@contextlib.contextmanager
def _corrupt_where_wrong(key: str) -> Iterator[None]:
    try:
        yield
    except (pa.ArrowException, OSError, ValueError, KeyError, TypeError, ValidationError) as error:
        raise ShardCorruptError(
            f"The shard {key} is not what was written ({type(error).__name__}); "
            "delete it and run the campaign again to make its images anew."
        ) from error


def _is_shard_of(rows: list[dict[str, Any]], key: str) -> bool:
    """Whether the rows are the key's prompt at each of the key's seeds, once and in order."""
    seeds = SeedRange(first=rows[0]["seed"], last=rows[-1]["seed"])
    named = {(row["generation_id"], row["prompt_id"], row["prompt"]) for row in rows}
    return (
        all(row["seed"] == seeds.first + i for i, row in enumerate(rows))
        and all(Prompt(text=text).prompt_id == prompt_id for _, prompt_id, text in named)
        and {keys.shard(recipe, prompt_id, seeds) for recipe, prompt_id, _ in named} == {key}
    )
