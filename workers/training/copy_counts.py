"""How many near-copies very many training pictures have.

A summary of every picture of the set is made once, and held for a part of the set at a time; what
it leaves possible is compared by pixels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from seedsweep.storage.settings.analysis import Verification
from seedsweep.workers.analysis.cuts import CutSummary, joined_summaries
from seedsweep.workers.analysis.frames import frame_of, frames_of
from seedsweep.workers.training.copy_questions import (
    FIRSTS,
    Places,
    PossibleQuestion,
    copy_answers,
    copy_questions,
)
from seedsweep.workers.training.distinct_neighbours import HELD, KnownPicture
from seedsweep.workers.training.frame_file import FrameFile
from seedsweep.workers.training.picture_set import PictureSet
from seedsweep.workers.training.search_actors import Searchers
from seedsweep.workers.training.slice_queries import Query

_POSSIBLE = 1 << 14
"""So many pictures that may be copies are compared at once, from 0.2 GB of disk."""


class CopyCounts:
    """Counts, on Ray actors, at this width and height."""

    def __init__(
        self,
        crew: Searchers,
        training: PictureSet,
        settings: Verification,
        size: tuple[int, int],
    ) -> None:
        self._crew, self._training, self._settings = crew, training, settings
        self._file = FrameFile(crew, training, settings, size)
        width, height = size
        self._query = Query(np.zeros((1, height, width, 3), np.uint8), settings, 1)

    def count(
        self, known: Sequence[KnownPicture], sizes: Mapping[int, int], tell: Callable[[int], None]
    ) -> tuple[NDArray[np.int64], int]:
        """How many near-copies of each known picture there are, and how many pictures of the set
        could be read. `sizes`: how many there are in each slice, by its number, readable or not;
        `tell` is told the number of slices that were finished.

        Memory is bounded by some 200 MB, beside the arguments. Raises as `FrameFile.filled`.
        """
        counts, read, told = np.zeros(len(known), np.int64), 0, 0
        for places in _parts(sizes):
            found = list(self._crew.summaries(self._training.slices, places, self._query))
            positions = np.concatenate([each for each, _ in found])
            summary = joined_summaries([each for _, each in found])
            del found
            read += len(positions)
            for possible in self._possible(known, summary):
                self._add(counts, known, positions, possible)
            ended = sum(each.stop == sizes[number] for number, each in places.items())
            told += ended
            tell(ended)
        tell(len(sizes) - told)
        return counts, read

    def _possible(
        self, known: Sequence[KnownPicture], summary: CutSummary
    ) -> Iterator[list[tuple[int, Places]]]:
        """The known pictures, by their place, with those that may be near-copies by their row in
        the summary: runs that have no more than are compared at once, or one known picture."""
        rule, flip = self._settings.near_copies, self._settings.flip

        def questions() -> Iterator[PossibleQuestion]:
            for at in range(0, len(known), FIRSTS):
                firsts = frames_of(np.stack([each.pixels for each in known[at : at + FIRSTS]]))
                yield PossibleQuestion(at, firsts, None, rule, flip)

        run: list[tuple[int, Places]] = []
        size = 0
        for at, answers in self._crew.possible(questions(), summary):
            for place, rows in enumerate(answers, at):
                if run and size + len(rows) + 1 > _POSSIBLE:
                    yield run
                    run, size = [], 0
                if len(rows):
                    run.append((place, rows))
                    size += len(rows) + 1
        if run:
            yield run

    def _add(
        self,
        counts: NDArray[np.int64],
        known: Sequence[KnownPicture],
        positions: NDArray[np.int64],
        possible: Sequence[tuple[int, Places]],
    ) -> None:
        """Count those that are near-copies."""
        rule, flip = self._settings.near_copies, self._settings.flip
        asked = np.unique(np.concatenate([positions[rows] for _, rows in possible]))
        with self._file.filled(asked, further=len(possible)) as frames:
            jobs = []
            for row, (place, rows) in enumerate(possible, len(asked)):
                frames[row] = frame_of(known[place].pixels)
                jobs.append((row, np.searchsorted(asked, positions[rows])))
            answers = dict(self._crew.judge(copy_questions(frames, jobs, rule, flip)))
            found = copy_answers(jobs, answers)
        for (place, _), are_copies in zip(possible, found, strict=True):
            counts[place] += np.count_nonzero(are_copies)


def _parts(sizes: Mapping[int, int]) -> Iterator[dict[int, range]]:
    """By the number of their slice the places of all pictures, in parts whose summaries are held
    at once."""
    part: dict[int, range] = {}
    room = HELD
    for number, size in sizes.items():
        at = 0
        while at < size:
            end = min(size, at + room)
            part[number], room, at = range(at, end), room - (end - at), end
            if not room:
                yield part
                part, room = {}, HELD
    if part:
        yield part
