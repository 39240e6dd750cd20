"""A unit's images and descriptors as one Parquet object.

One row per image in the order of the seeds, one row group. The `image` and `descriptor` columns
are uncompressed and without dictionary, so that a reader of descriptors needs few range reads.
`image` is the Hugging Face image feature: `datasets`, DuckDB and pandas open a shard unchanged.
"""

import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import ValidationError

from storage import keys
from storage.errors import ShardCorruptError
from storage.parquet import read_table
from storage.records import Flaw, Prompt, Provenance, SeedRange, WorkUnit

_IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
_COLUMNS: dict[str, pa.DataType] = {
    "prompt_id": pa.string(),
    "prompt": pa.string(),
    "generation_id": pa.string(),
    "seed": pa.int64(),
    "image": _IMAGE,
    "descriptor": pa.binary(),
    "sha256": pa.string(),
    "flaw": pa.string(),
    "batch_size": pa.int32(),
    "threads": pa.int32(),
    "device": pa.string(),
    "dtype": pa.string(),
    "versions": pa.string(),
}
_FEATURES = {
    name: {"_type": "Image"} if kind == _IMAGE else {"_type": "Value", "dtype": str(kind)}
    for name, kind in _COLUMNS.items()
}
SCHEMA = pa.schema(
    _COLUMNS, metadata={"huggingface": json.dumps({"info": {"features": _FEATURES}})}
)
_PLAIN = {"image.bytes", "image.path", "descriptor"}
_LEAVES = [*(name for name in SCHEMA.names if name != "image"), "image.bytes", "image.path"]


@dataclass(frozen=True, slots=True)
class StoredImage:
    """One image as it is stored.

    `png` decodes to the pixels whose raw RGB bytes have the digest `sha256`; `descriptor` is what
    `workers.analysis.descriptors` made of them; `flaw` says why it is no evidence, if it is none.
    """

    seed: int
    png: bytes
    descriptor: bytes
    sha256: str
    flaw: Flaw | None
    provenance: Provenance


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
            "image": {"bytes": image.png, "path": None},
            "descriptor": image.descriptor,
            "sha256": image.sha256,
            "flaw": image.flaw,
            **image.provenance.model_dump(),
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


def decode_shard(data: bytes, key: str) -> list[StoredImage]:
    """Decode what `encode_shard` made for the unit of this key, in the order of the seeds.

    Raises `ShardCorruptError`, naming `key`, for anything else: another unit's shard among it, or
    one that lacks a seed.
    """
    try:
        table = read_table(data)
        if table.schema != SCHEMA or not table.num_rows:
            raise ValueError("other columns, or no rows")
        rows = table.to_pylist()
        if not _is_shard_of(rows, key):
            raise ValueError("the images of another unit")
        return [
            StoredImage(
                seed=row["seed"],
                png=row["image"]["bytes"],
                descriptor=row["descriptor"],
                sha256=row["sha256"],
                flaw=Flaw(row["flaw"]) if row["flaw"] else None,
                provenance=Provenance(**{name: row[name] for name in Provenance.model_fields}),
            )
            for row in rows
        ]
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
