"""Which of the training pictures near others are different pictures, for very many of these.

As `matching.distinct_l2` says of one of them. A picture is near many others, and is asked once for
its near-copies among all that follow it anywhere.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from seedsweep.storage.settings.analysis import Verification
from seedsweep.workers.analysis.cuts import CutSummary, summaries_of
from seedsweep.workers.analysis.frames import Frames, frame_of
from seedsweep.workers.analysis.ranked import NOWHERE
from seedsweep.workers.training.copy_questions import (
    FIRSTS,
    Places,
    PossibleQuestion,
    copy_answers,
    copy_questions,
)
from seedsweep.workers.training.frame_file import FrameFile
from seedsweep.workers.training.picture_set import PictureSet
from seedsweep.workers.training.search_actors import Searchers

HELD = 1 << 16
"""Of so many pictures the frames are held at once, in 0.8 GB of disk, and 75 MB of memory."""

_EMPTY = np.empty(0, np.intp)


@dataclass(frozen=True, slots=True, eq=False)
class KnownPicture:
    """A picture (height, width, 3) uint8 around which others are, and its position in the training
    set, `NOWHERE` if it is none of it."""

    pixels: NDArray[np.uint8]
    position: int = NOWHERE


@dataclass(frozen=True, slots=True, eq=False)
class Neighbourhood:
    """The training pictures near one, nearest first, as `positions` (n,) that may end with
    `NOWHERE`. What they show counts as new unless it is what the `around`-th of the known pictures
    shows, or a nearer one of them; `most` are wanted."""

    around: int
    positions: NDArray[np.int64]
    most: int


class DistinctNeighbours:
    """Finds, on Ray actors, which pictures of neighbourhoods are new, at this width and height."""

    def __init__(
        self,
        crew: Searchers,
        training: PictureSet,
        settings: Verification,
        size: tuple[int, int],
    ) -> None:
        self._crew, self._settings = crew, settings
        self._file = FrameFile(crew, training, settings, size)

    def find(
        self, known: Sequence[KnownPicture], neighbourhoods: Sequence[Neighbourhood]
    ) -> Iterator[list[int]]:
        """Of each neighbourhood, in their order, the places of those that are new, as many as are
        wanted at most.

        Memory is bounded by some 150 MB, beside the arguments and 8 bytes for each picture near
        another. Raises as `FrameFile.filled`.
        """
        at = 0
        while at < len(neighbourhoods):
            end, size = at, 0
            while end < len(neighbourhoods) and (end == at or size <= HELD):
                size += len(neighbourhoods[end].positions) + 1
                end += 1
            if end < len(neighbourhoods) or size > HELD:
                end = self._many(neighbourhoods, at)
            yield from self._of_some(known, neighbourhoods[at:end])
            at = end

    def _many(self, neighbourhoods: Sequence[Neighbourhood], at: int) -> int:
        """Where the run from `at` ends that has no more than `HELD` different pictures: one at
        least."""
        met: set[int] = set()
        for end in range(at, len(neighbourhoods)):
            met.update(neighbourhoods[end].positions.tolist())
            if len(met) + end - at > HELD and end > at:
                return end
        return len(neighbourhoods)

    def _of_some(
        self, known: Sequence[KnownPicture], some: Sequence[Neighbourhood]
    ) -> Iterator[list[int]]:
        around, first = np.unique([each.around for each in some], return_inverse=True)
        of_around = [known[place] for place in around.tolist()]
        own = np.array([each.position for each in of_around])
        positions = np.unique(np.concatenate([own, *(each.positions for each in some)]))
        positions = positions[positions != NOWHERE]
        rows_of = np.searchsorted(positions, own)
        others = np.flatnonzero(own == NOWHERE)
        rows_of[others] = len(positions) + np.arange(len(others))
        with self._file.filled(positions, further=len(others)) as frames:
            for place in others.tolist():
                frames[rows_of[place]] = frame_of(of_around[place].pixels)
            width = 1 + max(len(each.positions) for each in some)
            rows = np.full((len(some), width), -1, np.int32)
            for place, each in enumerate(some):
                there = each.positions[each.positions != NOWHERE]
                rows[place, 0] = rows_of[first[place]]
                rows[place, 1 : 1 + len(there)] = np.searchsorted(positions, there)
            copies = self._copies(frames, rows)
        for place, each in enumerate(some):
            yield _new(rows[place].tolist(), copies, each.most)

    def _copies(self, frames: Frames, rows: NDArray[np.int32]) -> dict[int, list[int]]:
        """Of the pictures by their row in `frames` the near-copies among those that follow them."""
        possible = dict(self._possible(frames, summaries_of(frames), rows))
        jobs = list(possible.items())
        rule, flip = self._settings.near_copies, self._settings.flip
        answers = dict(self._crew.judge(copy_questions(frames, jobs, rule, flip)))
        found = copy_answers(jobs, answers)
        return {
            picture: others[is_copy].tolist()
            for (picture, others), is_copy in zip(jobs, found, strict=True)
        }

    def _possible(
        self, frames: Frames, summary: CutSummary, rows: NDArray[np.int32]
    ) -> Iterator[tuple[int, Places]]:
        asked: dict[int, list[int]] = {}
        rule, flip = self._settings.near_copies, self._settings.flip

        def questions() -> Iterator[PossibleQuestion]:
            some: list[tuple[int, Places]] = []
            number = 0
            for picture, others in [*_following(rows, len(frames)), (-1, _EMPTY)]:
                if picture >= 0:
                    some.append((picture, others))
                if some and (picture < 0 or len(some) == FIRSTS):
                    firsts = [first for first, _ in some]
                    number += 1
                    asked[number] = firsts
                    yield PossibleQuestion(
                        number, frames[firsts], tuple(each for _, each in some), rule, flip
                    )
                    some = []

        for number, found in self._crew.possible(questions(), summary):
            for picture, others in zip(asked.pop(number), found, strict=True):
                if len(others):
                    yield picture, others


def _following(rows: NDArray[np.int32], count: int) -> Iterator[tuple[int, Places]]:
    """Each picture that another one follows in some row, and all that follow it in any."""
    flat = rows.reshape(-1)
    order = np.argsort(flat, kind="stable")
    begins = np.searchsorted(flat[order], np.arange(count + 1))
    columns = np.arange(rows.shape[1])
    met = np.zeros(count + 1, np.bool_)
    for picture in range(count):
        row, column = np.divmod(order[begins[picture] : begins[picture + 1]], rows.shape[1])
        for at in range(0, len(row), 1024):
            some = rows[row[at : at + 1024]]
            met[some[columns[None, :] > column[at : at + 1024, None]]] = True
        met[-1] = met[picture] = False  # no picture; itself
        others = np.flatnonzero(met)
        if len(others):
            yield picture, others
            met[others] = False


def _new(pictures: Sequence[int], copies: dict[int, list[int]], most: int) -> list[int]:
    """The places, after the first picture, of those that are no copies of one taken before."""
    gone = {-1, pictures[0], *copies.get(pictures[0], ())}
    taken: list[int] = []
    for place, picture in enumerate(pictures[1:]):
        if len(taken) == most:
            break
        if picture not in gone:
            taken.append(place)
            gone.add(picture)
            gone.update(copies.get(picture, ()))
    return taken
