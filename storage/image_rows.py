"""What is stored of an image beside its picture, as the rows that shards and receipts share."""

import io
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Annotated, Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import Field, TypeAdapter

from seedsweep.storage.record import SeedRange
from seedsweep.storage.records import Flaw, Prompt, Provenance
from seedsweep.storage.settings.sampling import Blocks

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
}
DESCRIBED = pa.schema(_COLUMNS)
_IDENTITY = ["prompt_id", "prompt", "generation_id", "seed"]
_UNIQUE = {"descriptor", "image.bytes", "image.path"}
SAME_AS = b"seedsweep.same_as"
"""By the id of the prompt for which they were made, the seeds that were taken over: JSON."""

_TAKEN = TypeAdapter(dict[Annotated[str, Field(pattern=r"^[0-9a-f]{16}$")], list[int]])
_PROVENANCE = tuple(Provenance.model_fields)

REMEDY = "`seedsweep check ID --repair` has its images made again"

KeyOf = Callable[[str, str, SeedRange], str]
"""The key that an object of this generation id, prompt id and these seeds has."""


@dataclass(frozen=True, slots=True)
class Described:
    """What is stored of an image beside its picture.

    `descriptor` is what `workers/analysis/descriptors.py` made of its pixels with `blocks`;
    `sha256` the digest of their raw RGB bytes; `flaw` says why it is no evidence, if it is none.
    `same_as`: the id of the prompt for which it was made, if the picture was taken over from that
    one's shard, because the two prompts are the same to the model; else empty.
    """

    seed: int
    descriptor: bytes
    blocks: Blocks
    sha256: str
    flaw: Flaw | None
    provenance: Provenance
    same_as: str = field(default="", kw_only=True)


def row_of(prompt: str, generation_id: str, image: Described) -> dict[str, Any]:
    """The row of an image in the columns of `DESCRIBED`."""
    return {
        "prompt_id": Prompt(text=prompt).prompt_id,
        "prompt": prompt,
        "generation_id": generation_id,
        "seed": image.seed,
        "descriptor": image.descriptor,
        "fine_block": image.blocks.fine,
        "coarse_block": image.blocks.coarse,
        "sha256": image.sha256,
        "flaw": image.flaw,
        **image.provenance.model_dump(),
    }


def with_same_as(table: pa.Table, images: Sequence[Described]) -> pa.Table:
    """The rows of these images, with a note in the metadata of which were taken over from another
    prompt; without one if none was."""
    taken: dict[str, list[int]] = {}
    for image in images:
        if image.same_as:
            taken.setdefault(image.same_as, []).append(image.seed)
    if not taken:
        return table
    metadata = {**(table.schema.metadata or {}), SAME_AS: json.dumps(taken).encode()}
    return table.replace_schema_metadata(metadata)


def fields_of(table: pa.Table) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """Each row, and the fields of `Described` that it holds.

    Raises `ValueError` for a note that is none.
    """
    noted = _TAKEN.validate_json((table.schema.metadata or {}).get(SAME_AS, b"{}"))
    same_as = {seed: prompt_id for prompt_id, seeds in noted.items() for seed in seeds}
    for row in table.to_pylist():
        yield row, _fields_of(row) | {"same_as": same_as.get(row["seed"], "")}


def _fields_of(row: dict[str, Any]) -> dict[str, Any]:
    return {
        "seed": row["seed"],
        "descriptor": row["descriptor"],
        "blocks": _blocks(row["fine_block"], row["coarse_block"]),
        "sha256": row["sha256"],
        "flaw": Flaw(row["flaw"]) if row["flaw"] else None,
        "provenance": _provenance(*(row[name] for name in _PROVENANCE)),
    }


def encode_rows(
    table: pa.Table, leaves: Sequence[str], compression: Literal["none", "zstd"]
) -> bytes:
    """Encode as Parquet: one row group, page checksums, dictionaries if values may be repeated.

    `leaves` are all columns.
    """
    buffer = io.BytesIO()
    pq.write_table(
        table,
        buffer,
        row_group_size=table.num_rows,
        compression=compression,
        use_dictionary=[leaf for leaf in leaves if leaf not in _UNIQUE],  # type: ignore[arg-type]
        write_statistics=["seed"],
        write_page_checksum=True,
    )
    return buffer.getvalue()


def check_rows(table: pa.Table, schema: pa.Schema, key: str, key_of: KeyOf) -> None:
    """Raise `ValueError` unless the rows are the key's prompt at each of its seeds, in order."""
    if table.schema != schema or not table.num_rows:
        raise ValueError("other columns, or no rows")
    if not _belong_to(table.select(_IDENTITY).to_pylist(), key, key_of):
        raise ValueError("the images of another unit")


def _belong_to(rows: list[dict[str, Any]], key: str, key_of: KeyOf) -> bool:
    seeds = SeedRange(first=rows[0]["seed"], last=rows[-1]["seed"])
    named = {(row["generation_id"], row["prompt_id"], row["prompt"]) for row in rows}
    return (
        all(row["seed"] == seeds.first + i for i, row in enumerate(rows))
        and all(Prompt(text=text).prompt_id == prompt_id for _, prompt_id, text in named)
        and {key_of(recipe, prompt_id, seeds) for recipe, prompt_id, _ in named} == {key}
    )


# Most images of a prompt were made alike, and checking a record costs more than finding it.
@lru_cache(maxsize=64)
def _blocks(fine: Any, coarse: Any) -> Blocks:
    return Blocks(fine=fine, coarse=coarse)


@lru_cache(maxsize=64)
def _provenance(*values: Any) -> Provenance:
    return Provenance(**dict(zip(_PROVENANCE, values, strict=True)))
