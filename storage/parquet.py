"""Read a Parquet object that is in memory."""

import pyarrow as pa
import pyarrow.parquet as pq


def read_table(data: bytes, columns: list[str] | None = None) -> pa.Table:
    """Read the whole object, page checksums verified where it has them.

    In the calling thread alone, and without Arrow's dataset scanner: a thread of its pools that
    lets go of a Python object while the interpreter ends aborts the process.
    """
    with pq.ParquetFile(
        pa.BufferReader(data), pre_buffer=False, page_checksum_verification=True
    ) as file:
        return file.read(columns=columns, use_threads=False)
