"""Read a Parquet object that is in memory."""

import io

import pyarrow as pa
import pyarrow.parquet as pq


def read_table(
    data: bytes, columns: list[str] | None = None, schema: pa.Schema | None = None
) -> pa.Table:
    """Read the whole object, page checksums verified where it has them.

    In the calling thread alone: an object in memory gains nothing from Arrow's pools, and a
    process that ends while one of their threads does may be aborted by the C++ runtime.
    """
    return pq.read_table(
        io.BytesIO(data),
        columns=columns,
        schema=schema,
        use_threads=False,
        pre_buffer=False,
        page_checksum_verification=True,
    )
