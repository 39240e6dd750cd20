"""A training set of any size in groups of near-copies, with what tells outliers and captions.

It is read slice by slice and never held: once for a description of each picture, 350 bytes, and
once more for the frames of those that may be near-copies of others. These lie in a file of the
host's cache, 12 KB each, for as long as it takes. Exact copies need no frame.
"""

import contextlib
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from seedsweep.storage.errors import ConfigError, TrainingSetError
from seedsweep.storage.settings.analysis import Verification
from seedsweep.storage.verification_results import Coverage
from seedsweep.workers.analysis.copy_groups import group_copies, with_others
from seedsweep.workers.analysis.near_copies import FRAME, Frames
from seedsweep.workers.analysis.outliers import Thumbnails
from seedsweep.workers.analysis.sketches import Sketches, joined
from seedsweep.workers.host_cache import cache_folder, make_room
from seedsweep.workers.training.describers import Describers
from seedsweep.workers.training.picture_set import PictureSet
from seedsweep.workers.training.pictures import Reading, none_readable
from seedsweep.workers.training.slice_description import CopyQuestion, Description, Named
from seedsweep.workers.training.slice_search import Query, by_slice
from seedsweep.workers.training.slices import Slice

Progress = Callable[[str, int, int], None]
"""What is done, how much of it, and of how much."""

Places = NDArray[np.intp]

_FRAME_BYTES = 3 * FRAME**2
_FETCHED = 4096
_FIRSTS, _OTHERS = 32, 1024
"""Of so many pictures the copies are asked for at once, or among so many others."""


@dataclass(frozen=True, slots=True, eq=False)
class DescribedSet:
    """The n pictures of a training set that can be read, in its order.

    `positions` (n,) int64, `digests` and `captions` (n,) uint64, and how many are `unfit`: as of
    `Description`. `thumbnails` (n, any) int8.
    """

    positions: NDArray[np.int64]
    digests: NDArray[np.uint64]
    captions: NDArray[np.uint64]
    sketches: Sketches
    thumbnails: Thumbnails
    unfit: int
    coverage: Coverage


class TrainingCopies:
    """Groups a training set on Ray actors; `settings` has the rule of near-copies, and whether
    mirror images count."""

    def __init__(
        self, crew: Describers, training: PictureSet, settings: Verification, progress: Progress
    ) -> None:
        self._crew, self._training, self._settings = crew, training, settings
        self._progress, self.peak_bytes = progress, 0

    def describe(self) -> DescribedSet:
        """Read the whole set. Raises `TrainingSetError` if no picture can be read."""
        described = []
        for each in self._crew.describe(self._slices, self._settings):
            described.append(each)
            self.peak_bytes = max(self.peak_bytes, each.peak_bytes)
            self._progress("slices read", len(described), len(self._slices))
        described.sort(key=lambda each: each.number)
        return DescribedSet(
            np.concatenate([each.positions for each in described]),
            np.concatenate([each.digests for each in described]),
            np.concatenate([each.captions for each in described]),
            joined([each.sketches for each in described]),
            np.concatenate([each.thumbnails for each in described]),
            sum(each.unfit for each in described),
            self._coverage(described),
        )

    def group(self, described: DescribedSet) -> Places:
        """Of each picture the place of the first of its group, (n,), as `copy_groups` has them.

        Equal sets and settings give equal groups, whatever the actors. Raises `TrainingSetError` if
        the set changes meanwhile, `ConfigError` if the cache has no room.
        """
        _, begins, copies = np.unique(described.digests, return_index=True, return_inverse=True)
        distinct = np.sort(begins)
        rule, flip = self._settings.near_copies, self._settings.flip
        known = described.sketches.of(distinct)
        among = distinct[with_others(known, rule, flip, self._telling("pictures looked up"))]
        firsts = np.arange(len(described.digests))
        if len(among):
            with self._frames(described.positions[among]) as frames:
                groups = group_copies(
                    described.sketches.of(among),
                    rule,
                    flip,
                    lambda jobs: self._judge(frames, jobs),
                    self._telling("possible copies compared"),
                )
            firsts[among] = among[groups]
        return np.asarray(firsts[begins[copies]])

    def name(self, positions: Sequence[int]) -> list[Named]:
        """The captioned pictures at these positions, in this order; raises `TrainingSetError` if
        one has gone."""
        named = {
            each.position: each for each in self._crew.names(self._slices, by_slice(positions))
        }
        if named.keys() != set(positions):
            raise TrainingSetError(self._changed())
        return [named[position] for position in positions]

    def _coverage(self, described: Sequence[Description]) -> Coverage:
        reading, training = Reading(), self._training
        for each in described:
            reading.add(each.reading)
        left_out = training.contents.left_out
        coverage = reading.coverage(str(training.path), training.listing, left_out)
        if not coverage.read:
            raise none_readable(coverage)
        return coverage

    @contextlib.contextmanager
    def _frames(self, positions: NDArray[np.int64]) -> Iterator[Frames]:
        """The frames of these pictures, in a file that goes with the block."""
        folder = cache_folder() / "selection"
        needed = len(positions) * _FRAME_BYTES
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
            frames = np.memmap(opened, np.uint8, "w+", shape=(len(positions), FRAME, FRAME, 3))
            self._fill(frames, positions)
            yield frames

    def _fill(self, frames: Frames, positions: NDArray[np.int64]) -> None:
        rows = {position: row for row, position in enumerate(positions.tolist())}
        query = Query(np.zeros((1, FRAME, FRAME, 3), np.uint8), self._settings, 1)
        left, done = by_slice(positions.tolist()), 0
        tell = self._telling("possible copies read")
        while left:
            now = {number: places[:_FETCHED] for number, places in left.items()}
            for position, frame in self._crew.frames(self._slices, now, query):
                frames[rows[position]] = frame
                done += 1
                tell(done, len(rows))
            left = {number: places[_FETCHED:] for number, places in left.items()}
            left = {number: places for number, places in left.items() if places}
        if done != len(rows):
            raise TrainingSetError(self._changed())

    def _judge(self, frames: Frames, jobs: Sequence[tuple[int, Places]]) -> list[NDArray[np.bool_]]:
        answers = dict(self._crew.judge(self._questions(frames, jobs)))
        parts = [part for number in sorted(answers) for part in answers[number]]
        # A job of many others is several parts.
        whole, at = [], 0
        for _, others in jobs:
            count = -(-len(others) // _OTHERS)
            whole.append(np.concatenate(parts[at : at + count]))
            at += count
        return whole

    def _questions(
        self, frames: Frames, jobs: Sequence[tuple[int, Places]]
    ) -> Iterator[CopyQuestion]:
        parts = [
            (first, others[at : at + _OTHERS])
            for first, others in jobs
            for at in range(0, len(others), _OTHERS)
        ]
        number, at = 0, 0
        while at < len(parts):
            end, count = at, 0
            while end < len(parts) and end - at < _FIRSTS:
                count += len(parts[end][1])
                if end > at and count > _OTHERS:
                    break
                end += 1
            some = parts[at:end]
            yield CopyQuestion(
                number,
                frames[[first for first, _ in some]],
                frames[np.concatenate([others for _, others in some])],
                tuple(np.cumsum([len(others) for _, others in some]).tolist()),
                self._settings.near_copies,
                self._settings.flip,
            )
            number, at = number + 1, end

    @property
    def _slices(self) -> Sequence[Slice]:
        return self._training.slices

    def _telling(self, what: str) -> Callable[[int, int], None]:
        return lambda done, total: self._progress(what, done, total)

    def _changed(self) -> str:
        return f"The training set {self._training.path} changed while it was read; run this again."
