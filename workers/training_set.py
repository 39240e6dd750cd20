"""The training pictures of a campaign, brought to the size of its generations."""

import hashlib
import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from PIL import Image, ImageOps

from storage.errors import ConfigError, TrainingSetError
from storage.records import Verification

_PICTURES = {".png", ".jpg", ".jpeg", ".webp", ".bmp"}
_UNREADABLE = (
    OSError,
    KeyError,
    SyntaxError,
    TypeError,
    ValueError,
    Image.DecompressionBombError,
    pa.ArrowException,
)


@dataclass(frozen=True, slots=True)
class TrainingSet:
    """Training pictures, (n, height, width, 3) uint8, and what each is called."""

    pictures: NDArray[np.uint8]
    ids: tuple[str, ...]


def fingerprint_training_set(path: Path) -> str:
    """Name the training set's content: a hash of the Parquet file, or of a folder's pictures.

    Raises `ConfigError` where there is no training set to read.
    """
    total = hashlib.sha256()
    try:
        for file in _files(path):
            name = file.relative_to(path).as_posix() if file != path else path.name
            with file.open("rb") as opened:
                digest = hashlib.file_digest(opened, "sha256").hexdigest()
            total.update(f"{name} {digest}\n".encode())
    except (OSError, pa.ArrowException, TrainingSetError) as error:
        raise ConfigError(
            f"The training set {path} cannot be read ({error}); give a Parquet file with an "
            "`image` column, or a folder of pictures."
        ) from error
    return f"sha256:{total.hexdigest()}"


def load_training_set(settings: Verification, width: int, height: int) -> TrainingSet:
    """Read all training pictures at the generations' size.

    Orientation, alpha and palette are normalised to RGB; then `short-side` scales so that the
    picture just covers the size and crops its centre, and `stretch` ignores its proportions.
    Raises `TrainingSetError` naming the first picture that cannot be read.
    """
    path = Path(settings.training_set)
    ids: list[str] = []
    pictures: list[NDArray[np.uint8]] = []
    try:
        for name, data in _read(path):
            ids.append(name)
            pictures.append(_prepare(data, settings, width, height))
    except _UNREADABLE as error:
        raise TrainingSetError(
            f"The training set {path} cannot be read at {ids[-1] if ids else 'its beginning'} "
            f"({error}); mend or remove that picture."
        ) from error
    return TrainingSet(np.stack(pictures), tuple(ids))


def _files(path: Path) -> list[Path]:
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


def _read(path: Path) -> Iterator[tuple[str, Any]]:
    if path.is_dir():
        for file in _files(path):
            yield file.relative_to(path).as_posix(), file.read_bytes()
        return
    row = 0
    with pq.ParquetFile(path) as opened:
        for batch in opened.iter_batches(batch_size=256, columns=["image"]):
            for value in batch.column(0).to_pylist():
                yield f"{path.name}#{row}", value
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
