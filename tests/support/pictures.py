"""Sets of pictures as tests need them: Parquet files, tars and folders."""

import io
import tarfile

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image


def data_of(picture, kind="PNG", **options):
    """A picture, or its pixels (height, width, 3) uint8, as a file's bytes."""
    buffer = io.BytesIO()
    made = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
    made.save(buffer, kind, **options)
    return buffer.getvalue()


def write_parquet(path, images, rows=None, **columns):
    """Write images, bytes or the Hugging Face feature, in row groups of so many rows."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table({"image": images, **columns}), path, row_group_size=rows)
    return path


def write_tar(path, files):
    """Write (name, bytes) in this order."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as opened:
        for name, data in files:
            member = tarfile.TarInfo(name)
            member.size = len(data)
            opened.addfile(member, io.BytesIO(data))
    return path
