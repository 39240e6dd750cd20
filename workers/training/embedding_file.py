"""The vectors of very many training pictures, in a file of the host's cache."""

import contextlib
import tempfile
from collections.abc import Iterator
from typing import IO

import numpy as np
from numpy.typing import NDArray

from seedsweep.storage.errors import ConfigError
from seedsweep.workers.host_cache import cache_folder, make_room
from seedsweep.workers.training.embedding_model import EmbeddingModel, Vectors

Places = NDArray[np.intp]


class EmbeddingFile:
    """The vectors that `model` gives, of each picture for `ways` ways to look at it: as it is, and
    mirrored. They come slice by slice, and are had by place in the order of the slices' numbers.
    `without` so many pictures have none."""

    def __init__(self, file: IO[bytes], model: EmbeddingModel, ways: int) -> None:
        self._file, self.model, self._ways = file, model, ways
        self._begins: dict[int, tuple[int, int]] = {}
        self._count = self.without = 0

    def add(self, number: int, vectors: NDArray[np.float16]) -> None:
        """Take the vectors (n, ways, values) of the slice with this number. Raises `ConfigError` if
        there is no room."""
        try:
            self._file.write(np.ascontiguousarray(vectors).tobytes())
            self._file.flush()
        except OSError as error:
            raise _not_writable(error) from error
        self._begins[number] = self._count, len(vectors)
        self._count += len(vectors)
        self.without += int((~vectors.any(axis=(1, 2))).sum())

    def whole(self) -> "Embeddings":
        """What came, to be read for as long as the file is open."""
        rows = [np.arange(at, at + count) for _, (at, count) in sorted(self._begins.items())]
        shape = (self._count, self._ways, self.model.values)
        held = np.memmap(self._file, np.float16, "r", shape=shape)
        return Embeddings(held, np.concatenate(rows))


class Embeddings:
    """The vectors of n pictures, read as they are asked for."""

    def __init__(self, held: NDArray[np.float16], rows: Places) -> None:
        self._held, self._rows = held, rows
        self.ways, self.values = held.shape[1:]

    def __len__(self) -> int:
        return len(self._rows)

    def of(self, places: Places) -> "Embeddings":
        """Those at these places."""
        return Embeddings(self._held, self._rows[places])

    def at(self, places: Places, way: int = 0) -> NDArray[np.float32]:
        """The vectors of the pictures at these places: (m, values)."""
        some: Vectors = self._held[self._rows[places], way]
        return some.astype(np.float32)


@contextlib.contextmanager
def embedding_file(model: EmbeddingModel, flip: bool) -> Iterator[EmbeddingFile]:
    """A file that goes with the block. Raises `ConfigError` if the cache cannot be written."""
    folder = cache_folder() / "selection"
    with contextlib.ExitStack() as stack:
        try:
            make_room(folder / "vectors")
            opened = stack.enter_context(tempfile.TemporaryFile(dir=folder))
        except OSError as error:
            raise _not_writable(error) from error
        yield EmbeddingFile(opened, model, 2 if flip else 1)


def _not_writable(error: OSError) -> ConfigError:
    return ConfigError(
        f"{cache_folder() / 'selection'} cannot be written ({error}); make room, or set "
        "SEEDSWEEP_CACHE_DIR to a folder that has it."
    )
