"""A unit's images and descriptors as one Parquet object.

One row per image in the order of the seeds, one row group, uncompressed. The `image` column comes
last, so that all else is one range; it and the `descriptor` column are without dictionary.
`image` is the Hugging Face image feature: `datasets`, DuckDB and pandas open a shard unchanged.
"""

import json
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import pyarrow as pa
import pyarrow.compute as pc

from seedsweep.storage import keys
from seedsweep.storage.corrupt import corrupt_where_wrong
from seedsweep.storage.image_rows import (
    DESCRIBED,
    REMEDY,
    Described,
    check_rows,
    encode_rows,
    fields_of,
    row_of,
    with_same_as,
)
from seedsweep.storage.parallel import map_in_order
from seedsweep.storage.parquet import read_table, read_table_before
from seedsweep.storage.records import WorkUnit
from seedsweep.storage.store import Store

LISTERS = 8
"""At most so many folders are listed at once: a listing waits for the store, and then for
Python."""

_IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
_COLUMNS = {field.name: field.type for field in DESCRIBED} | {"image": _IMAGE}
_FEATURES = {
    name: {"_type": "Image"} if kind == _IMAGE else {"_type": "Value", "dtype": str(kind)}
    for name, kind in _COLUMNS.items()
}
SCHEMA = pa.schema(
    _COLUMNS, metadata={"huggingface": json.dumps({"info": {"features": _FEATURES}})}
)
_LEAVES = [*DESCRIBED.names, "image.bytes", "image.path"]


@dataclass(frozen=True, slots=True)
class StoredImage(Described):
    """One image as it is stored; `png` decodes to the pixels that the rest describes."""

    png: bytes


def encode_shard(unit: WorkUnit, images: Sequence[StoredImage]) -> bytes:
    """Encode the unit's images, which must be exactly its seeds in ascending order.

    Raises `ValueError` if they are not.
    """
    expected = list(range(unit.seeds.first, unit.seeds.last + 1))
    if [image.seed for image in images] != expected:
        raise ValueError(f"A shard of seeds {unit.seeds} needs each of them once, in order.")
    rows = [
        {
            **row_of(unit.prompt, unit.generation_id, image),
            "image": {"bytes": image.png, "path": None},
        }
        for image in images
    ]
    table = with_same_as(pa.Table.from_pylist(rows, SCHEMA), images)
    # Pictures and descriptors do not get smaller, and compressors cost more than the rest gains.
    return encode_rows(table, _LEAVES, "none")


def decode_shard(data: bytes, key: str, seeds: Collection[int] | None = None) -> list[StoredImage]:
    """Decode what `encode_shard` made for the unit of this key, in the order of the seeds; only the
    images of `seeds` if they are given.

    Raises `ShardCorruptError`, naming `key`, for anything else: another unit's shard among it, or
    one that lacks a seed.
    """
    with corrupt_where_wrong(f"The shard {key}", REMEDY):
        table = read_table(data)
        check_rows(table, SCHEMA, key, keys.shard)
        if seeds is not None:
            wanted = pc.is_in(table["seed"], pa.array(seeds, pa.int64()))
            # A filter copies all pictures that it lets through.
            table = table if pc.all(wanted).as_py() else table.filter(wanted)
        return [
            StoredImage(**fields, png=row["image"]["bytes"]) for row, fields in fields_of(table)
        ]


def list_shards(store: Store, generation_id: str) -> Iterator[str]:
    """Yield the keys of all shards of a recipe, ascending; several folders are listed at a time.

    What else lies below the recipe's fan-out is yielded too.
    """
    return list_fan_out(store, keys.shards_prefix(generation_id))


def list_recipes(store: Store, generation_ids: Sequence[str]) -> Iterator[str]:
    """Yield what `list_shards` does, recipe by recipe; several are listed at a time."""
    if len(generation_ids) == 1:
        yield from list_shards(store, generation_ids[0])
        return
    for listed in map_in_order(lambda one: _listed(store, one), generation_ids, LISTERS):
        yield from listed


def _listed(store: Store, generation_id: str) -> list[str]:
    return list(store.list(keys.shards_prefix(generation_id)))


def list_fan_out(store: Store, prefix: str) -> Iterator[str]:
    """Yield the keys in all folders right below the prefix, ascending, several listed at a time."""
    folders = [f"{prefix}{name}/" for name in store.folders(prefix)]
    for listed in map_in_order(lambda folder: list(store.list(folder)), folders, LISTERS):
        yield from listed


def read_described(store: Store, key: str) -> list[Described] | None:
    """Read a shard without its pictures, in the order of the seeds; None if there is none.

    Takes two range reads, and one if the shard is small. Raises `ShardCorruptError` as
    `decode_shard` does, though not for what is wrong with a picture.
    """
    with corrupt_where_wrong(f"The shard {key}", REMEDY):
        table = read_table_before("image", partial(store.read_range, key))
        if table is None:
            return None
        check_rows(table, DESCRIBED, key, keys.shard)
        return [Described(**fields) for _, fields in fields_of(table)]
