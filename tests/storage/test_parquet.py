import subprocess
import sys

import pytest

READS = """
import io, os
import pyarrow as pa, pyarrow.parquet as pq
import pyarrow.compute as pc
from seedsweep.storage.parquet import read_table, read_table_before

buffer = io.BytesIO()
pq.write_table(pa.table({"a": list(range(100))}), buffer)
threads = lambda: len(os.listdir("/proc/self/task"))
before = threads()
assert read_table(buffer.getvalue()).num_rows == 100
assert read_table(buffer.getvalue(), columns=["a"]).num_rows == 100
pq.write_table(pa.table({"a": [1, 2], "z": [os.urandom(50_000)] * 2}), buffer := io.BytesIO())
data = buffer.getvalue()
table = read_table_before("z", lambda start, length: data[start:][:length])
assert table.filter(pc.is_in(table["a"], pa.array([2]))).to_pylist() == [{"a": 2}]
print(threads() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="threads are counted in /proc")
def test_reading_starts_no_thread_that_could_outlive_the_interpreter():
    """Such a thread aborted one run in five at its very end."""
    assert subprocess.check_output([sys.executable, "-c", READS], text=True).strip() == "0"
