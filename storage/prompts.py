"""A campaign's prompts as Parquet, most of which stays compressed in memory."""

import contextlib
import hashlib
import io
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import accumulate
from typing import overload

import pyarrow as pa
import pyarrow.parquet as pq

from seedsweep.storage.corrupt import corrupt_where_wrong
from seedsweep.storage.parquet import open_table
from seedsweep.storage.records import prompt_id_of

GROUP = 10_000
"""So many prompts are decoded for one of them: a few milliseconds, a megabyte of captions."""

GROUPS_HELD = 4

SCHEMA = pa.schema({"prompt_id": pa.string(), "prompt": pa.string()})


def encode_prompts(prompts: Sequence[str]) -> bytes:
    """Encode the texts, one at least, with their ids, in their order."""
    buffer = io.BytesIO()
    with pq.ParquetWriter(buffer, SCHEMA, compression="zstd", write_page_checksum=True) as writer:
        for start in range(0, len(prompts), GROUP):
            texts = list(prompts[start : start + GROUP])
            ids = [prompt_id_of(text) for text in texts]
            writer.write_table(pa.table({"prompt_id": ids, "prompt": texts}, schema=SCHEMA))
    return buffer.getvalue()


def digest_prompts(prompt_ids: Iterable[str]) -> str:
    """Name a list of prompts by their ids, in order."""
    return hashlib.sha256("".join(prompt_ids).encode()).hexdigest()


class StoredPrompts(Sequence[str]):
    """What `encode_prompts` made, kept in the object `key`: the texts, in their order.

    Some bytes a prompt of memory, whatever its length; access in order is cheap. Raises
    `ShardCorruptError`, then or when a prompt is asked for, if it is not what was written: a
    list whose digest is not `digest`, unless that is empty, or a text whose id is another one.
    """

    def __init__(self, key: str, data: bytes, digest: str = "") -> None:
        self._key = key
        with self._corrupt_where_wrong():
            self._file = open_table(pa.BufferReader(data))
            about = self._file.metadata
            sizes = [about.row_group(group).num_rows for group in range(about.num_row_groups)]
            if self._file.schema_arrow != SCHEMA or not 0 < sum(sizes) == about.num_rows:
                raise ValueError("other columns or rows")
            self._ends = list(accumulate(sizes))
            if digest and digest_prompts(self._read_ids()) != digest:
                raise ValueError("another list of prompts")
        self._group = lru_cache(maxsize=GROUPS_HELD)(self._decode)

    def __len__(self) -> int:
        return self._ends[-1]

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> list[str]: ...
    def __getitem__(self, index: int | slice) -> str | list[str]:
        if isinstance(index, slice):
            return [self[place] for place in range(*index.indices(len(self)))]
        place = range(len(self))[index]
        group = bisect_right(self._ends, place)
        return self._group(group)[place - self._ends[group]]

    def prompt_ids(self) -> Iterator[str]:
        """The prompts' ids, in their order, without reading the texts."""
        with self._corrupt_where_wrong():
            yield from self._read_ids()

    def _read_ids(self) -> Iterator[str]:
        for group in range(len(self._ends)):
            table = self._file.read_row_group(group, columns=["prompt_id"], use_threads=False)
            yield from map(str, table.column("prompt_id").to_pylist())

    def _decode(self, group: int) -> list[str]:
        with self._corrupt_where_wrong():
            table = self._file.read_row_group(group, use_threads=False)
            ids, texts = (list(map(str, column.to_pylist())) for column in table.columns)
            if ids != [prompt_id_of(text) for text in texts]:
                raise ValueError("a prompt with another one's id")
        return texts

    def _corrupt_where_wrong(self) -> contextlib.AbstractContextManager[None]:
        return corrupt_where_wrong(
            f"The list of prompts {self._key}",
            "restore it, or delete the campaign and submit it again",
        )
