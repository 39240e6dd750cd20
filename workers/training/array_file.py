"""Pictures in an array of numpy: a `.npy` file, or an array of a `.npz` file."""

import contextlib
import tokenize
import zipfile
from collections.abc import Callable, Iterator
from functools import partial
from math import prod
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from seedsweep.storage.errors import TrainingSetError
from seedsweep.workers.training.picture_file import NoPicturesError
from seedsweep.workers.training.preparation import PICTURE_PIXELS

ARRAYS = frozenset({".npy", ".npz"})

WANTED = "(N, H, W, 3) or (N, H, W) of uint8"


def picture_array(path: Path, wanted: str) -> tuple[str, int]:
    """The name of the array that holds the file's pictures, "" in a `.npy` file, and how many are
    whole there. `wanted` names it where there are several.

    Raises `NoPicturesError` where there is none, `TrainingSetError` where several may be meant;
    nothing is unpickled.
    """
    found, reasons = [], []
    for name in _array_names(path):
        with _open(path, name) as (opened, size):
            shape, reason = _header(opened)
            if reason:
                reasons.append(f"{name or 'its array'}: {reason}")
            elif not wanted or name in ("", wanted):
                room = (size - opened.tell()) // prod(shape[1:])
                found.append((name, min(shape[0], max(0, room))))
    if len(found) > 1:
        names = " and ".join(repr(name) for name, _ in found)
        raise TrainingSetError(f"its arrays {names} may both be meant; set `column` to one of them")
    if not found:
        what = f"no array {wanted!r}" if wanted else "no array"
        because = f" ({'; '.join(reasons)})" if reasons else ""
        raise NoPicturesError(f"it has {what} of pictures, {WANTED}{because}")
    return found[0]


def read_array(path: Path, name: str) -> Iterator[tuple[str, Callable[[], NDArray[np.uint8]]]]:
    """The array's pictures, (H, W, 3) or (H, W), by place. Raises what is in `UNREADABLE`, such as
    `EOFError` where the file has fewer than it says."""
    with _open(path, name) as (opened, _):
        shape, reason = _header(opened)
        if reason:
            raise ValueError(reason)
        size = prod(shape[1:])
        for place in range(shape[0]):
            data = opened.read(size)
            if len(data) < size:
                raise EOFError(f"it has {place:,} pictures and says {shape[0]:,}: it was cut")
            yield str(place), partial(_pixels, data, shape[1:])
        opened.read(1)  # so that a checksum is looked at


def _array_names(path: Path) -> list[str]:
    if path.suffix.lower() == ".npy":
        return [""]
    with zipfile.ZipFile(path) as opened:
        return [name.removesuffix(".npy") for name in opened.namelist() if name.endswith(".npy")]


@contextlib.contextmanager
def _open(path: Path, name: str) -> Iterator[tuple[IO[bytes], int]]:
    """An array's file, and how many bytes it has."""
    if not name:
        with path.open("rb") as opened:
            yield opened, path.stat().st_size
        return
    with zipfile.ZipFile(path) as archive, archive.open(f"{name}.npy") as member:
        yield member, archive.getinfo(f"{name}.npy").file_size


def _header(opened: IO[bytes]) -> tuple[tuple[int, ...], str]:
    """The array's shape, and why these are no pictures, empty if they are."""
    version = npy.read_magic(opened)
    read: Any = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
    try:
        shape, is_fortran, dtype = read(opened)
    except tokenize.TokenError as error:
        raise ValueError("its header is damaged") from error
    said = f"it has the shape {shape} of {dtype}"
    is_grey = len(shape) == 3 and shape[2] != 3
    is_shaped = is_grey or (len(shape) == 4 and shape[3] in (1, 3))
    if dtype != np.uint8 or not is_shaped or min(shape[1:]) < 1 or shape[0] < 0:
        return shape, said
    if is_fortran:
        return shape, f"{said} in Fortran's order; save it with numpy.ascontiguousarray"
    if shape[1] * shape[2] > PICTURE_PIXELS:
        return shape, f"{said}, pictures of more than {PICTURE_PIXELS:,} pixels"
    return shape, ""


def _pixels(data: bytes, shape: tuple[int, ...]) -> NDArray[np.uint8]:
    pixels = np.frombuffer(data, np.uint8).reshape(shape)
    return pixels[..., 0] if shape[2:] == (1,) else pixels
