"""The frames of very many training pictures, in a file of the host's cache."""

import contextlib
import shutil
import tempfile
from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from seedsweep.storage.errors import ConfigError, TrainingSetError
from seedsweep.storage.settings.analysis import Verification
from seedsweep.workers.analysis.frames import FRAME, Frames
from seedsweep.workers.host_cache import cache_folder, make_room
from seedsweep.workers.training.picture_set import PictureSet
from seedsweep.workers.training.search_actors import Searchers
from seedsweep.workers.training.slice_queries import Query, by_slice

_FRAME_BYTES = 3 * FRAME**2
_FETCHED = 4096


class FrameFile:
    """Reads frames on Ray actors, of pictures that are brought to this width and height first, as
    `settings` say, into a file that goes with its block."""

    def __init__(
        self,
        crew: Searchers,
        training: PictureSet,
        settings: Verification,
        size: tuple[int, int] = (FRAME, FRAME),
    ) -> None:
        self._crew, self._training, self._settings = crew, training, settings
        self._size = size

    @contextlib.contextmanager
    def filled(
        self,
        positions: NDArray[np.int64],
        tell: Callable[[int, int], None] = lambda done, total: None,
        further: int = 0,
    ) -> Iterator[Frames]:
        """The frames of the training pictures at these different positions, and room for some
        `further` ones: 12 KB of disk each. Raises `TrainingSetError` if the set changes meanwhile,
        `ConfigError` if the cache has no room."""
        folder = cache_folder() / "selection"
        needed = (len(positions) + further) * _FRAME_BYTES
        with contextlib.ExitStack() as stack:
            try:
                make_room(folder / "frames")
                free = shutil.disk_usage(folder).free
                opened = stack.enter_context(tempfile.TemporaryFile(dir=folder))
            except OSError as error:
                raise ConfigError(
                    f"{folder} cannot be written ({error}); set SEEDSWEEP_CACHE_DIR to a folder "
                    "that can be."
                ) from error
            if needed > free:
                raise ConfigError(
                    f"{len(positions):,} pictures may be copies of others; to compare them takes "
                    f"{needed:,} bytes in {folder}, where {free:,} are free; make room, or set "
                    "SEEDSWEEP_CACHE_DIR to a folder that has it."
                )
            shape = (len(positions) + further, FRAME, FRAME, 3)
            frames = np.memmap(opened, np.uint8, "w+", shape=shape)
            self._fill(frames, positions, tell)
            yield frames

    def _fill(
        self, frames: Frames, positions: NDArray[np.int64], tell: Callable[[int, int], None]
    ) -> None:
        rows = {position: row for row, position in enumerate(positions.tolist())}
        width, height = self._size
        query = Query(np.zeros((1, height, width, 3), np.uint8), self._settings, 1)
        left, done = by_slice(positions.tolist()), 0
        while left:
            now = {number: places[:_FETCHED] for number, places in left.items()}
            for position, frame in self._crew.frames(self._training.slices, now, query):
                frames[rows[position]] = frame
                done += 1
                tell(done, len(rows))
            left = {number: places[_FETCHED:] for number, places in left.items()}
            left = {number: places for number, places in left.items() if places}
        if done != len(rows):
            raise TrainingSetError(
                f"The training set {self._training.path} changed while it was read; run this again."
            )
