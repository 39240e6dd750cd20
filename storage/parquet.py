"""Read a Parquet object that is in memory, or the beginning of one that is not.

It uses the calling thread alone, without Arrow's dataset scanner: if a thread of Arrow's pools
frees a Python object while the interpreter ends, the process aborts.
"""

import io
from collections.abc import Callable
from typing import IO

import pyarrow as pa
import pyarrow.parquet as pq

ReadRange = Callable[[int, int], bytes | None]
"""As `Store.read_range` of one object: start, negative from the end, and length."""

END_BYTES = 1 << 16
"""As many as Arrow fetches of an object's end to find its footer in."""


def read_table(data: bytes, columns: list[str] | None = None) -> pa.Table:
    """Read the whole object, page checksums verified if it has them."""
    with open_table(pa.BufferReader(data)) as file:
        return file.read(columns=columns, use_threads=False)


def read_table_before(column: str, read_range: ReadRange) -> pa.Table | None:
    """Read the columns before `column` of an object of one row group; None if there is none.

    The bytes of `column` and of what follows are not fetched: an object of at most `END_BYTES` is
    one range read, any other two. Page checksums are verified if it has them.
    """
    end = read_range(-END_BYTES, END_BYTES)
    if end is None:
        return None
    if len(end) < END_BYTES:
        names = pq.read_schema(pa.BufferReader(end)).names
        return read_table(end, names[: names.index(column)])
    ends = _Ends(end)
    with open_table(ends) as file:
        names = file.schema_arrow.names
        wanted = names[: names.index(column)]
        ends.beginning = read_range(0, _start_of(column, file.metadata.row_group(0))) or b""
        return file.read(columns=wanted, use_threads=False)


def open_table(source: pa.NativeFile | IO[bytes]) -> pq.ParquetFile:
    """Open an object to read parts of it, page checksums verified if it has them."""
    return pq.ParquetFile(source, pre_buffer=False, page_checksum_verification=True)


def _start_of(column: str, group: pq.RowGroupMetaData) -> int:
    leaves = [group.column(i) for i in range(group.num_columns)]
    return min(
        leaf.dictionary_page_offset or leaf.data_page_offset
        for leaf in leaves
        if leaf.path_in_schema.split(".")[0] == column
    )


class _Ends(io.BytesIO):
    """A file of which only the beginning and the end are known, and not the size. Offsets count
    from the beginning; Arrow asks for the end relative to the size."""

    _SIZE = 1 << 50

    def __init__(self, end: bytes) -> None:
        self.beginning = b""
        self._end = end
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        origins = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._SIZE}
        self._at = origins[whence] + offset
        return self._at

    def read(self, size: int | None = -1) -> bytes:
        into_end = self._at - (self._SIZE - len(self._end))
        known = self._end[into_end:] if into_end >= 0 else self.beginning[self._at :]
        part = known if size is None or size < 0 else known[:size]
        self._at += len(part)
        return part
