"""A campaign's prompts as Parquet, most of which stays compressed in memory.

A row is a prompt: its id, its text and, if prompts have settings of their own, a column for each.
"""

import contextlib
import hashlib
import io
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import accumulate, chain, repeat
from typing import overload

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import TypeAdapter

from seedsweep.storage.corrupt import corrupt_where_wrong
from seedsweep.storage.parquet import open_table
from seedsweep.storage.record import canonical
from seedsweep.storage.records import prompt_id_of
from seedsweep.storage.settings.sampling import PromptSettings

GROUP = 10_000
"""So many prompts are decoded for one of them: a few milliseconds, a megabyte of captions."""

GROUPS_HELD = 4

SCHEMA = pa.schema({"prompt_id": pa.string(), "prompt": pa.string()})
SETTINGS: dict[str, pa.DataType] = {
    "first_seed": pa.int64(),
    "seeds": pa.list_(pa.int64()),
    "sampler": pa.string(),
    "steps": pa.int64(),
    "guidance_scale": pa.float64(),
    "negative_prompt": pa.string(),
    "width": pa.int64(),
    "height": pa.int64(),
}
"""The columns of the settings that prompts may have of their own; a list has those it needs."""
ADDED = "added"
"""The column of the seeds that filled up a list of seeds; it is there if some are."""


_TYPES = {**SETTINGS, ADDED: SETTINGS["seeds"]}
_SETTINGS = TypeAdapter(list[PromptSettings])


def encode_prompts(prompts: Sequence[str], settings: Sequence[PromptSettings] = ()) -> bytes:
    """Encode the texts, one at least, with their ids, in their order.

    `settings`: what each has of its own, all of them the same ones; none if none has any.
    """
    own = [name for name in SETTINGS if settings and name in settings[0].given]
    if any(each.added for each in settings):
        own.append(ADDED)
    schema = pa.schema([*SCHEMA, *((name, _TYPES[name]) for name in own)])
    buffer = io.BytesIO()
    with pq.ParquetWriter(buffer, schema, compression="zstd", write_page_checksum=True) as writer:
        for start in range(0, len(prompts), GROUP):
            texts = list(prompts[start : start + GROUP])
            columns: dict[str, list[object]] = {name: [] for name in schema.names}
            columns["prompt_id"] += map(prompt_id_of, texts)
            columns["prompt"] += texts
            for name in own:
                columns[name] += (getattr(each, name) for each in settings[start : start + GROUP])
            writer.write_table(pa.table(columns, schema=schema))
    return buffer.getvalue()


def digest_prompts(prompt_ids: Iterable[str], settings: Iterable[PromptSettings] = ()) -> str:
    """Name a list of prompts by their ids, in order, and by the settings they have of their own."""
    digest = hashlib.sha256()
    for prompt_id, own in zip(prompt_ids, chain(settings, repeat(None))):  # noqa: B905 - endless
        digest.update(prompt_id.encode())
        if own is not None:
            digest.update(f"{canonical(own.given)}\n".encode())
    return digest.hexdigest()


NO_PROMPTS = digest_prompts([prompt_id_of("")])
"""The digest of the list of a campaign without prompts: the empty text alone."""


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
            own = self._file.schema_arrow.names[len(SCHEMA) :]
            wanted = pa.schema([*SCHEMA, *((name, _TYPES.get(name)) for name in own)])
            if self._file.schema_arrow != wanted or not 0 < sum(sizes) == about.num_rows:
                raise ValueError("other columns or rows")
            self._ends, self._own = list(accumulate(sizes)), own
            if digest and digest_prompts(self._read_ids(), self._read_settings()) != digest:
                raise ValueError("another list of prompts")
        self._group = lru_cache(maxsize=GROUPS_HELD)(self._decode)
        self._group_settings = lru_cache(maxsize=GROUPS_HELD)(self._decode_settings)

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

    @property
    def settings(self) -> Sequence[PromptSettings]:
        """What settings each prompt has of its own, in their order; none if none has any."""
        return _StoredSettings(self) if self._own else ()

    def _settings_of(self, place: int) -> PromptSettings:
        group = bisect_right(self._ends, place)
        return self._group_settings(group)[place - self._ends[group]]

    def _read_settings(self) -> Iterator[PromptSettings]:
        for group in range(len(self._ends) if self._own else 0):
            yield from self._decode_settings(group)

    def _decode_settings(self, group: int) -> list[PromptSettings]:
        with self._corrupt_where_wrong():
            table = self._file.read_row_group(group, columns=self._own, use_threads=False)
            return _SETTINGS.validate_python(table.to_pylist())

    def _read_ids(self) -> Iterator[str]:
        for group in range(len(self._ends)):
            table = self._file.read_row_group(group, columns=["prompt_id"], use_threads=False)
            yield from map(str, table.column("prompt_id").to_pylist())

    def _decode(self, group: int) -> list[str]:
        with self._corrupt_where_wrong():
            table = self._file.read_row_group(group, columns=SCHEMA.names, use_threads=False)
            ids, texts = (list(map(str, column.to_pylist())) for column in table.columns)
            if ids != [prompt_id_of(text) for text in texts]:
                raise ValueError("a prompt with another one's id")
        return texts

    def _corrupt_where_wrong(self) -> contextlib.AbstractContextManager[None]:
        return corrupt_where_wrong(
            f"The list of prompts {self._key}",
            "restore it, or delete the campaign and submit it again",
        )


class _StoredSettings(Sequence[PromptSettings]):
    """The settings that stored prompts have of their own."""

    def __init__(self, prompts: StoredPrompts) -> None:
        self._prompts = prompts

    def __len__(self) -> int:
        return len(self._prompts)

    @overload
    def __getitem__(self, index: int) -> PromptSettings: ...
    @overload
    def __getitem__(self, index: slice) -> list[PromptSettings]: ...
    def __getitem__(self, index: int | slice) -> PromptSettings | list[PromptSettings]:
        places = range(len(self))[index]
        if isinstance(places, range):
            return [self._prompts._settings_of(place) for place in places]
        return self._prompts._settings_of(places)
