"""A training set of any size in groups of near-copies, with what tells outliers and captions.

It is read slice by slice and never held: once for a description of each picture, 350 bytes, and
once more for the frames of those that may be near-copies of others. These lie in a file of the
host's cache, 12 KB each, for as long as it takes. Exact copies need no frame.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from seedsweep.storage.errors import TrainingSetError
from seedsweep.storage.settings.analysis import Verification
from seedsweep.storage.verification_results import Coverage
from seedsweep.workers.analysis.copy_groups import group_copies, with_others
from seedsweep.workers.analysis.frames import Frames
from seedsweep.workers.analysis.outliers import Space, Thumbnails, ThumbnailSpace
from seedsweep.workers.analysis.sketches import Sketches, joined
from seedsweep.workers.training.copy_questions import Places, copy_answers, copy_questions
from seedsweep.workers.training.describers import Describers
from seedsweep.workers.training.embedding_file import EmbeddingFile, Embeddings
from seedsweep.workers.training.embedding_index import EmbeddingProposals, EmbeddingSpace
from seedsweep.workers.training.frame_file import FrameFile
from seedsweep.workers.training.picture_set import PictureSet
from seedsweep.workers.training.pictures import Reading, none_readable
from seedsweep.workers.training.slice_description import Description, NamedPicture
from seedsweep.workers.training.slice_queries import by_slice
from seedsweep.workers.training.slices import Slice

Progress = Callable[[str, int, int], None]
"""What is done, how much of it, and of how much."""


@dataclass(frozen=True, slots=True, eq=False)
class DescribedSet:
    """The n pictures of a training set that can be read, in its order.

    `positions` (n,) int64, `digests` and `captions` (n,) uint64, and how many are `unfit`: as of
    `Description`. `thumbnails` (n, any) int8. `embeddings` if a model was given, which
    gave `without_vector` so many pictures none.
    """

    positions: NDArray[np.int64]
    digests: NDArray[np.uint64]
    captions: NDArray[np.uint64]
    sketches: Sketches
    thumbnails: Thumbnails
    unfit: int
    coverage: Coverage
    embeddings: Embeddings | None = None
    without_vector: int = 0

    def space(self, places: Places) -> Space:
        """The pictures at these places, with the distance that tells outliers."""
        if self.embeddings:
            return EmbeddingSpace(self.embeddings.of(places))
        return ThumbnailSpace(self.thumbnails[places])


class TrainingCopies:
    """Groups a training set on Ray actors; `settings` has the rule of near-copies, and whether
    mirror images count. `vectors`, if given, are filled, and propose which pictures to compare."""

    def __init__(
        self,
        crew: Describers,
        training: PictureSet,
        settings: Verification,
        progress: Progress,
        vectors: EmbeddingFile | None = None,
    ) -> None:
        self._crew, self._training, self._settings = crew, training, settings
        self._vectors = vectors
        self._progress, self.peak_bytes = progress, 0

    def describe(self) -> DescribedSet:
        """Read the whole set. Raises `TrainingSetError` if no picture can be read."""
        described, vectors = [], self._vectors
        model = vectors.model if vectors else None
        for each in self._crew.describe(self._slices, self._settings, model):
            if vectors and each.embeddings is not None:
                vectors.add(each.number, each.embeddings)
            described.append(replace(each, embeddings=None))
            self.peak_bytes = max(self.peak_bytes, each.peak_bytes)
            self._progress("slices read", len(described), len(self._slices))
        described.sort(key=lambda each: each.number)
        coverage = self._coverage(described)
        return DescribedSet(
            np.concatenate([each.positions for each in described]),
            np.concatenate([each.digests for each in described]),
            np.concatenate([each.captions for each in described]),
            joined([each.sketches for each in described]),
            np.concatenate([each.thumbnails for each in described]),
            sum(each.unfit for each in described),
            coverage,
            vectors.whole() if vectors else None,
            vectors.without if vectors else 0,
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
        tell = self._telling("pictures looked up")
        proposals = self._proposals(described, distinct)
        among = distinct[with_others(known, rule, flip, tell, proposals)]
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
                    self._proposals(described, among),
                )
            firsts[among] = among[groups]
        return np.asarray(firsts[begins[copies]])

    def name(self, positions: Sequence[int]) -> list[NamedPicture]:
        """The captioned pictures at these positions, in this order; raises `TrainingSetError` if
        one has gone."""
        named = {
            each.position: each for each in self._crew.names(self._slices, by_slice(positions))
        }
        if named.keys() != set(positions):
            raise TrainingSetError(self._changed())
        return [named[position] for position in positions]

    def _proposals(self, described: DescribedSet, places: Places) -> EmbeddingProposals | None:
        if not (self._vectors and described.embeddings):
            return None
        alike = self._vectors.model.settings.alike
        return EmbeddingProposals(described.embeddings.of(places), alike)

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
