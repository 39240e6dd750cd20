"""The pictures of a training set, read from its Parquet file or folder."""

import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from PIL import Image, ImageOps

from storage.errors import TrainingSetError
from storage.records import Verification

_PICTURES = {".png", ".jpg", ".jpeg", ".webp", ".bmp"}
UNREADABLE = (
    OSError,
    KeyError,
    SyntaxError,
    TypeError,
    ValueError,
    Image.DecompressionBombError,
    pa.ArrowException,
)
"""What reading a training set raises where it is not one."""

# Else a whole row group is held, which may be the whole file, and not only a page of it.
_READ_BYTES = 1 << 20
_READ_ROWS = 32


def training_files(path: Path) -> list[Path]:
    """The files that the training set is made of: the Parquet file, or a folder's pictures by name.

    Raises `TrainingSetError` where there is no picture, and what is in `UNREADABLE`.
    """
    if path.is_dir():
        files = sorted(f for f in path.rglob("*") if f.suffix.lower() in _PICTURES and f.is_file())
        if not files:
            raise TrainingSetError(f"no picture in {path}")
        return files
    names = pq.read_schema(path).names
    if "image" not in names:
        raise TrainingSetError(f"columns are {names}")
    if pq.read_metadata(path).num_rows == 0:
        raise TrainingSetError("it has no rows")
    return [path]


def count_pictures(path: Path) -> int:
    """How many pictures the training set has; errors as of `training_files`."""
    files = training_files(path)
    return len(files) if path.is_dir() else int(pq.read_metadata(path).num_rows)


def read_pictures(
    settings: Verification,
    width: int,
    height: int,
    wanted: Callable[[str], bool] = lambda name: True,
) -> Iterator[tuple[str, NDArray[np.uint8]]]:
    """The training pictures that are `wanted` by name, in order, one at a time: (name, pixels
    (height, width, 3) uint8); the others are not decoded.

    Orientation, alpha and palette are normalised to RGB; then `short-side` scales so that the
    picture just covers the size and crops its centre, and `stretch` ignores its proportions.
    Raises `TrainingSetError` naming the first picture that cannot be read.
    """
    path, at = Path(settings.training_set), "its beginning"
    try:
        for at, data in _read(path, wanted):
            yield at, _prepare(data, settings, width, height)
    except (TrainingSetError, *UNREADABLE) as error:
        raise TrainingSetError(
            f"The training set {path} cannot be read at {at} ({error}); mend or remove that "
            "picture."
        ) from error


def _read(path: Path, wanted: Callable[[str], bool]) -> Iterator[tuple[str, Any]]:
    if path.is_dir():
        for file in training_files(path):
            if wanted(name := file.relative_to(path).as_posix()):
                yield name, file.read_bytes()
        return
    row = 0
    with pq.ParquetFile(path, buffer_size=_READ_BYTES, pre_buffer=False) as opened:
        for batch in opened.iter_batches(batch_size=_READ_ROWS, columns=["image"]):
            for value in batch.column(0):
                if wanted(name := f"{path.name}#{row}"):
                    yield name, value.as_py()
                row += 1


def _prepare(value: Any, settings: Verification, width: int, height: int) -> NDArray[np.uint8]:
    data = value["bytes"] if isinstance(value, dict) else value
    with Image.open(io.BytesIO(data)) as opened:
        picture = _flattened(ImageOps.exif_transpose(opened))
    if picture.size != (width, height):
        if settings.resize == "short-side":
            picture = ImageOps.fit(picture, (width, height), Image.Resampling.BICUBIC)
        else:
            picture = picture.resize((width, height), Image.Resampling.BICUBIC)
    return np.asarray(picture)


def _flattened(picture: Image.Image) -> Image.Image:
    """Put a transparent picture on white, as most training pipelines do."""
    if picture.has_transparency_data:
        rgba = picture.convert("RGBA")
        white = Image.new("RGBA", rgba.size, "white")
        picture = Image.alpha_composite(white, rgba)
    return picture.convert("RGB")
