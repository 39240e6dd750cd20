"""A campaign's prompts as Parquet, most of which stays compressed in memory."""

import contextlib
import io
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import accumulate
from typing import overload

import pyarrow as pa
import pyarrow.parquet as pq

from seedsweep.storage.errors import ShardCorruptError
from seedsweep.storage.parquet import open_table
from seedsweep.storage.records import Prompt

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
            ids = [Prompt(text=text).prompt_id for text in texts]
            writer.write_table(pa.table({"prompt_id": ids, "prompt": texts}, schema=SCHEMA))
    return buffer.getvalue()


class StoredPrompts(Sequence[str]):
    """What `encode_prompts` made, kept in the object `key`: the texts, in their order.

    Some bytes a prompt of memory, whatever its length; access in order is cheap. Raises
    `ShardCorruptError`, then or when a prompt is asked for, where it is not what was written.
    """

    def __init__(self, key: str, data: bytes) -> None:
        self._key = key
        with self._corrupt_where_wrong():
            self._file = open_table(pa.BufferReader(data))
            about = self._file.metadata
            sizes = [about.row_group(group).num_rows for group in range(about.num_row_groups)]
            if self._file.schema_arrow != SCHEMA or not 0 < sum(sizes) == about.num_rows:
                raise ValueError("other columns or rows")
        self._ends = list(accumulate(sizes))
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

    def _decode(self, group: int) -> list[str]:
        with self._corrupt_where_wrong():
            table = self._file.read_row_group(group, columns=["prompt"], use_threads=False)
        return [str(text) for text in table.column("prompt").to_pylist()]

    @contextlib.contextmanager
    def _corrupt_where_wrong(self) -> Iterator[None]:
        try:
            yield
        except (pa.ArrowException, OSError, ValueError) as error:
            raise ShardCorruptError(
                f"The prompts {self._key} are not what was written; delete the campaign and "
                "submit it again."
            ) from error
