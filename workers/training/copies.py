"""A training set of any size in groups of near-copies, with what tells outliers and captions.

It is read slice by slice and never held: once for a description of each picture, 350 bytes, and
once more for the frames of those that may be near-copies of others. These lie in a file of the
host's cache, 12 KB each, for as long as it takes. Exact copies need no frame.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from seedsweep.storage.errors import TrainingSetError
from seedsweep.storage.settings.analysis import Verification
from seedsweep.storage.verification_results import Coverage
from seedsweep.workers.analysis.copy_groups import group_copies, with_others
from seedsweep.workers.analysis.frames import Frames
from seedsweep.workers.analysis.outliers import Thumbnails
from seedsweep.workers.analysis.sketches import Sketches, joined
from seedsweep.workers.training.copy_questions import Places, copy_answers, copy_questions
from seedsweep.workers.training.describers import Describers
from seedsweep.workers.training.frame_file import FrameFile
from seedsweep.workers.training.picture_set import PictureSet
from seedsweep.workers.training.pictures import Reading, none_readable
from seedsweep.workers.training.slice_description import Description, Named
from seedsweep.workers.training.slice_search import by_slice
from seedsweep.workers.training.slices import Slice

Progress = Callable[[str, int, int], None]
"""What is done, how much of it, and of how much."""


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
            held = FrameFile(self._crew, self._training, self._settings)
            tell = self._telling("possible copies read")
            with held.filled(described.positions[among], tell) as frames:
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

    def _judge(self, frames: Frames, jobs: Sequence[tuple[int, Places]]) -> list[NDArray[np.bool_]]:
        rule, flip = self._settings.near_copies, self._settings.flip
        answers = dict(self._crew.judge(copy_questions(frames, jobs, rule, flip)))
        return copy_answers(jobs, answers)

    @property
    def _slices(self) -> Sequence[Slice]:
        return self._training.slices

    def _telling(self, what: str) -> Callable[[int, int], None]:
        return lambda done, total: self._progress(what, done, total)

    def _changed(self) -> str:
        return f"The training set {self._training.path} changed while it was read; run this again."
