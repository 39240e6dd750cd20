"""The different training pictures of a campaign, at the size of its generations, indexed once per
host.

The index lies in the host's cache: one .npy file for each array of `TrainingImages`, and the
pictures' ids and how each came to that size. It is named after all that decides what is in it, and
memory-mapped by every process that matches, so that a training set needs disk and not memory.
"""

import contextlib
import hashlib
import logging
import os
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass, fields
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import PIL
import pyarrow as pa
from numpy.lib import format as npy
from numpy.typing import NDArray

from seedsweep.storage.errors import ConfigError, TrainingSetError
from seedsweep.storage.prompt_results import Transform
from seedsweep.storage.record import digest
from seedsweep.storage.result_parts import TRANSFORM
from seedsweep.storage.settings.analysis import Verification
from seedsweep.storage.verification_results import Coverage
from seedsweep.workers.analysis.nearest import TrainingImages, describe_training, training_blocks
from seedsweep.workers.host_cache import cache_folder, make_once
from seedsweep.workers.training.fingerprint import fingerprint_training_set, state_of
from seedsweep.workers.training.pictures import (
    Reading,
    in_words,
    none_readable,
    read_pictures,
    sentences_on,
)
from seedsweep.workers.training.slices import (
    UNREADABLE,
    PictureColumn,
    SetContents,
    count_pictures,
    look_into,
)

log = logging.getLogger(__name__)

LAYOUT = 5
"""Changes with what an index holds or how: older ones then are left alone."""

PROGRESS_SECONDS = 5.0
_CHUNK_BYTES = 1 << 23
_CHUNK_PICTURES = 4096
_NAMES = "names.arrow"
_COVERAGE = "coverage.json"
_NAME_BYTES = 300  # of room to ask for, with some to spare


@dataclass(frozen=True, slots=True, eq=False)
class TrainingSet:
    """Training pictures; `ids` are strings, what each of `images` is called, and `transforms`
    structs, how each came to its size. `coverage`: what of the set they are, None where it is held
    in memory alone."""

    images: TrainingImages
    ids: "pa.ChunkedArray[Any]"
    transforms: "pa.ChunkedArray[Any]"
    coverage: Coverage | None = None

    def id_of(self, index: int) -> str:
        """What the training picture at this place is called."""
        return str(self.ids[index].as_py())

    def transform_of(self, index: int) -> Transform:
        """How the training picture at this place came to the generations' size."""
        return Transform.model_validate(self.transforms[index].as_py())


def load_training_set(settings: Verification, width: int, height: int) -> TrainingSet:
    """All training pictures that can be read at the generations' size, as `read_pictures` has them,
    of exact copies the first; what cannot is logged.

    The first process of a host that asks reads and indexes them, in bounded memory, while others
    that ask wait; afterwards they come from the host's cache, memory-mapped, and the training set
    itself is not needed. Raises `TrainingSetError` where none of it can be read, it is not the one
    that was submitted, or the cache has no room for the index or cannot be written.
    """
    try:
        fingerprint = settings.fingerprint or _fingerprint(settings)
        folder = cache_folder() / "training" / _name(settings, fingerprint, width, height)
        training_set = _open(folder, width, height)
        if training_set is None:
            index = _Index(settings, width, height)
            make_once(folder, index.write, lambda made: _open(made, width, height) is not None)
            training_set = _open(folder, width, height)
    except ConfigError as error:
        raise TrainingSetError(str(error)) from error
    except OSError as error:
        raise TrainingSetError(_no_cache(settings, str(error))) from error
    if training_set is None:
        raise TrainingSetError(_no_cache(settings, f"{folder} does not keep what is written"))
    return training_set


def _fingerprint(settings: Verification) -> str:
    return fingerprint_training_set(Path(settings.training_set), PictureColumn.of(settings))


def _name(settings: Verification, fingerprint: str, width: int, height: int) -> str:
    """What an index holds follows from this alone: the decoders of pictures are Pillow's."""
    return digest(
        {
            "fingerprint": fingerprint,
            "size": [width, height],
            "resize": settings.resize,
            "crop": settings.crop,
            "column": settings.column,
            "blocks": training_blocks(height, width).model_dump(),
            "pillow": PIL.__version__,
            "layout": LAYOUT,
        }
    )


def _open(folder: Path, width: int, height: int) -> TrainingSet | None:
    """The index in the folder, or None where none is whole there."""
    wanted = describe_training(np.empty((0, height, width, 3), np.uint8))
    arrays = {}
    try:
        for field in fields(TrainingImages):
            array = np.load(_array_file(folder, field.name), mmap_mode="r")
            expected = getattr(wanted, field.name)
            if array.dtype != expected.dtype or array.shape[1:] != expected.shape[1:]:
                return None
            arrays[field.name] = np.asarray(array)
        with pa.memory_map(str(folder / _NAMES)) as opened:
            ids, transforms = pa.ipc.open_file(opened).read_all().columns
        coverage = Coverage.model_validate_json((folder / _COVERAGE).read_bytes())
    except (OSError, ValueError, EOFError, pa.ArrowException):
        return None
    if {len(array) for array in arrays.values()} != {len(ids)} or not len(ids):
        return None
    return TrainingSet(TrainingImages(**arrays), ids, transforms, coverage)


@dataclass(frozen=True, slots=True)
class _Index:
    """An index that is to be written."""

    settings: Verification
    width: int
    height: int

    def write(self, folder: Path) -> None:
        """Read the whole training set and write its index to the folder, in the order of its
        pictures. Raises `TrainingSetError`, `ConfigError` or `OSError`, the last for the cache."""
        path, column = Path(self.settings.training_set), PictureColumn.of(self.settings)
        contents, reading = self._contents(path, column), Reading()
        before = state_of(contents)
        if self.settings.fingerprint:
            self._refuse_changed(path)
        count = count_pictures(contents.slices)
        self._refuse_too_large(folder, count)
        log.info("Indexing the training set %s: %d pictures, to %s.", path, count, folder.parent)
        read, told, seen = 0, time.monotonic(), set[bytes]()
        with contextlib.ExitStack() as files:
            sinks = _Sinks(folder, files, describe_training(self._rows(0)))
            for ids, pictures, transforms in self._chunks(reading):
                read += len(ids)
                if new := _not_seen(pictures, seen):
                    some = [ids[place] for place in new], [transforms[place] for place in new]
                    sinks.append(some[0], describe_training(pictures[new]), some[1])
                if time.monotonic() - told > PROGRESS_SECONDS:
                    told = time.monotonic()
                    log.info("Indexing %s: %d of %d pictures.", path, read, count)
            sinks.secure()
        coverage = reading.coverage(str(path), "", contents.left_out)
        if not read:
            raise none_readable(coverage)
        if state_of(self._contents(path, column)) != before:
            raise TrainingSetError(self._changed(path, "it changed while it was read"))
        (folder / _COVERAGE).write_bytes(coverage.model_dump_json().encode())
        level = logging.WARNING if sentences_on(coverage) else logging.INFO
        log.log(level, "%s", in_words(coverage))

    def _contents(self, path: Path, column: PictureColumn) -> SetContents:
        try:
            return look_into(path, column)
        except (TrainingSetError, *UNREADABLE) as error:
            raise TrainingSetError(
                f"The training set {path} cannot be read ({error}); bring it back, or submit the "
                "campaign again."
            ) from error

    def _refuse_changed(self, path: Path) -> None:
        fingerprint = _fingerprint(self.settings)
        if fingerprint != self.settings.fingerprint:
            raise TrainingSetError(
                self._changed(path, f"{fingerprint}, not {self.settings.fingerprint}")
            )

    def _changed(self, path: Path, how: str) -> str:
        return (
            f"The training set {path} is not the one that was submitted ({how}); restore it, or "
            "submit the campaign again."
        )

    def _refuse_too_large(self, folder: Path, count: int) -> None:
        images = describe_training(self._rows(1))
        row = sum(getattr(images, field.name).nbytes for field in fields(images))
        needed, free = count * (row + _NAME_BYTES), shutil.disk_usage(folder).free
        if needed > free:
            raise TrainingSetError(
                f"The index of the training set {self.settings.training_set} needs "
                f"{needed:,} bytes in {folder.parent}, where {free:,} are free; make room, or set "
                "SEEDSWEEP_CACHE_DIR to a folder that has it."
            )

    def _rows(self, count: int) -> NDArray[np.uint8]:
        return np.zeros((count, self.height, self.width, 3), np.uint8)

    def _chunks(
        self, reading: Reading
    ) -> Iterator[tuple[list[str], NDArray[np.uint8], list[Transform]]]:
        read = read_pictures(self.settings, self.width, self.height, reading)
        size = max(1, min(_CHUNK_PICTURES, _CHUNK_BYTES // (3 * self.width * self.height)))
        while chunk := list(islice(read, size)):
            ids, pictures, transforms = zip(*chunk, strict=True)
            yield list(ids), np.stack(pictures), list(transforms)


class _Sinks:
    """The files of an index that is being written: closed, and only then whole, by `files`."""

    def __init__(self, folder: Path, files: contextlib.ExitStack, like: TrainingImages) -> None:
        self._like, self._written = like, 0
        self._arrays: dict[str, BinaryIO] = {}
        for field in fields(like):
            self._arrays[field.name] = files.enter_context(
                _array_file(folder, field.name).open("xb")
            )
        self._write_headers()
        self._name_file = files.enter_context((folder / _NAMES).open("xb"))
        schema = pa.schema([("id", pa.string()), ("transform", TRANSFORM)])
        self._names = files.enter_context(pa.ipc.new_file(self._name_file, schema))

    def append(self, ids: list[str], images: TrainingImages, transforms: list[Transform]) -> None:
        for name, opened in self._arrays.items():
            opened.write(np.ascontiguousarray(getattr(images, name)).tobytes())
        how = [transform.model_dump() for transform in transforms]
        columns = {"id": pa.array(ids, pa.string()), "transform": pa.array(how, TRANSFORM)}
        self._names.write_batch(pa.record_batch(columns))
        self._written += len(ids)

    def secure(self) -> None:
        """Say how many were written, and have all on the disk, lest a host that crashes keeps the
        folder's name without it."""
        self._names.close()
        self._write_headers()
        for opened in (*self._arrays.values(), self._name_file):
            opened.flush()
            os.fsync(opened.fileno())

    def _write_headers(self) -> None:
        """They say how many rows follow, and are as long whatever that is."""
        for name, opened in self._arrays.items():
            array = getattr(self._like, name)
            shape = (self._written, *array.shape[1:])
            opened.seek(0)
            npy.write_array_header_1_0(
                opened, npy.header_data_from_array_1_0(array) | {"shape": shape}
            )


def _not_seen(pictures: NDArray[np.uint8], seen: set[bytes]) -> list[int]:
    """The places of those that are no exact copy of one seen before."""
    new = []
    for place, picture in enumerate(pictures):
        content = hashlib.sha256(picture).digest()[:16]
        if content not in seen:
            seen.add(content)
            new.append(place)
    return new


def _array_file(folder: Path, name: str) -> Path:
    return folder / f"{name}.npy"


def _no_cache(settings: Verification, why: str) -> str:
    return (
        f"The index of the training set {settings.training_set} could not be kept on this host "
        f"({why}); set SEEDSWEEP_CACHE_DIR to a folder that can be written and has room for it."
    )
