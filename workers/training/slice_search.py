"""One slice of a training set compared with many pictures at once, and pictures fetched from it."""

import resource
from collections.abc import Sequence
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from seedsweep.workers.analysis.cuts import CutSummary, centres, joined_summaries, summaries_of
from seedsweep.workers.analysis.frames import frames_of
from seedsweep.workers.analysis.inner_products import MaskedSums, TorchMaskedSums, masked_sums
from seedsweep.workers.analysis.near_copies import Reference
from seedsweep.workers.analysis.part_matching import PartRanking, PartReference, shown_either_way
from seedsweep.workers.analysis.running_nearest import Ranking
from seedsweep.workers.training.copy_questions import (
    CopyQuestion,
    PossibleQuestion,
    judge_copies,
    possible_copies,
)
from seedsweep.workers.training.pictures import Reading, readable_pictures
from seedsweep.workers.training.slice_queries import (
    PLACES,
    Fetched,
    PartQuery,
    PictureName,
    Query,
    SliceMatches,
    SliceParts,
)
from seedsweep.workers.training.slices import Slice, read_captions

_BLOCK_BYTES = 1 << 23
_BLOCK_PICTURES = 4096
_FRAMED, _SUMMED = 16, 64


class Searcher:
    """One actor: it holds nothing but the slice in hand. `device`: where parts are compared."""

    def __init__(self, device: str = "cpu") -> None:
        self._sums = masked_sums if device == "cpu" else TorchMaskedSums(device)

    def search(
        self, number: int, part: Slice, query: Query, reach: NDArray[np.float64]
    ) -> SliceMatches:
        """As `search_slice`."""
        return search_slice(number, part, query, reach)

    def search_parts(self, number: int, part: Slice, query: PartQuery) -> SliceParts:
        """As `search_parts`."""
        return search_parts(number, part, query, self._sums)

    def named(
        self, number: int, part: Slice, places: Sequence[int], query: PartQuery
    ) -> list[PictureName]:
        """As `fetch_named`."""
        return fetch_named(number, part, places, query)

    def possible(
        self, question: PossibleQuestion, summary: CutSummary
    ) -> tuple[int, list[NDArray[np.intp]]]:
        """The question's number, and the answers of `possible_copies`."""
        return question.number, possible_copies(question, summary)

    def judge(self, question: CopyQuestion) -> tuple[int, list[NDArray[np.bool_]]]:
        """The question's number, and the answers of `judge_copies`."""
        return question.number, judge_copies(question)

    def fetch(self, number: int, part: Slice, places: Sequence[int], query: Query) -> list[Fetched]:
        """As `fetch_pictures`."""
        return fetch_pictures(number, part, places, query)

    def summaries(
        self, number: int, part: Slice, places: range, query: Query
    ) -> tuple[NDArray[np.int64], CutSummary]:
        """As `fetch_summaries`."""
        return fetch_summaries(number, part, places, query)

    def frames(
        self, number: int, part: Slice, places: Sequence[int], query: Query
    ) -> list[tuple[int, NDArray[np.uint8]]]:
        """As `fetch_frames`."""
        return fetch_frames(number, part, places, query)


def search_slice(
    number: int, part: Slice, query: Query, reach: NDArray[np.float64] | None = None
) -> SliceMatches:
    """Compare every picture of the slice, the set's `number`-th, with all that is looked for; what
    is farther than the `reach` (Q,) of a query, squared, need not be told.

    What cannot be read is counted. Memory is bounded by some 150 MB, whatever the slice holds,
    beside the query and a third of it, 24 bytes for each picture that it wants, 0.4 MB for each
    known picture, and a page of a Parquet file or one stored picture.
    """
    width, height = query.size
    flat, *mirrored = query.sides()
    ranking = Ranking(
        flat,
        query.count,
        mirrored[0] if mirrored else None,
        size=(height, width),
        reach=reach,
        coarse=query.coarse,
    )
    reading = Reading()
    rule, flip = query.settings.near_copies, query.settings.flip
    known = [Reference(frame, rule, flip) for frame in query.known]
    copies = np.zeros(len(known), np.int64)
    pictures = readable_pictures(part, query.settings, query.size, reading)
    block = max(1, min(_BLOCK_PICTURES, _BLOCK_BYTES // flat.shape[1]))
    while some := list(islice(pictures, block)):
        stacked = np.stack([pixels for _, _, pixels, _ in some])
        positions = np.array([place for place, _, _, _ in some]) + number * PLACES
        if known:
            met = centres(frames_of(stacked))
            copies += [np.count_nonzero(reference.copies(met)) for reference in known]
        ranking.add(stacked.reshape(len(some), flat.shape[1]), positions)
    return SliceMatches(number, ranking.ranked.found(), copies, reading, peak_bytes())


def search_parts(
    number: int, part: Slice, query: PartQuery, sums: MaskedSums = masked_sums
) -> SliceParts:
    """Compare every picture of the slice, the set's `number`-th, with all parts, each in all of its
    ways, mirrored too if pictures count mirrored as well.

    Memory as of `search_slice`, eight times as much for a block.
    """
    flip = query.settings.flip
    references = [
        [PartReference(part.at(way), query.rule, sums) for way in part.ways(flip)]
        for part in query.parts
    ]
    rankings = tuple(PartRanking(query.most) for _ in query.parts)
    reading = Reading()
    pictures = readable_pictures(part, query.settings, query.size, reading)
    width, height = query.size
    block = max(1, min(_BLOCK_PICTURES, _BLOCK_BYTES // (3 * width * height)))
    while some := list(islice(pictures, block)):
        stacked = np.stack([pixels for _, _, pixels, _ in some])
        positions = np.array([place for place, _, _, _ in some]) + number * PLACES
        for ways, seen in zip(references, rankings, strict=True):
            seen.add(shown_either_way(ways, stacked), positions)
    return SliceParts(number, rankings, reading)


def fetch_pictures(number: int, part: Slice, places: Sequence[int], query: Query) -> list[Fetched]:
    """The pictures at these places of the slice, without those that cannot be read any more."""
    wanted = set(places)
    pictures = list(
        readable_pictures(part, query.settings, query.size, Reading(), wanted.__contains__)
    )
    captions = read_captions(part, [name for _, name, _, _ in pictures])
    return [
        Fetched(number * PLACES + place, name, pixels, transform, captions.get(name))
        for place, name, pixels, transform in pictures
    ]


def fetch_frames(
    number: int, part: Slice, places: Sequence[int], query: Query
) -> list[tuple[int, NDArray[np.uint8]]]:
    """As `fetch_pictures`, of each only its position and its frame."""
    read = readable_pictures(part, query.settings, query.size, Reading(), set(places).__contains__)
    framed: list[tuple[int, NDArray[np.uint8]]] = []
    while some := list(islice(read, _FRAMED)):
        frames = frames_of(np.stack([pixels for _, _, pixels, _ in some]))
        positions = (number * PLACES + place for place, *_ in some)
        framed += zip(positions, frames, strict=True)
    return framed


def fetch_summaries(
    number: int, part: Slice, places: range, query: Query
) -> tuple[NDArray[np.int64], CutSummary]:
    """As `fetch_pictures`, of all only the positions (n,) and the summaries of their centres."""
    read = readable_pictures(part, query.settings, query.size, Reading(), places.__contains__)
    positions: list[int] = []
    parts = [summaries_of(frames_of(np.empty((0, 1, 1, 3), np.uint8)))]
    while some := list(islice(read, _SUMMED)):
        positions += [number * PLACES + place for place, *_ in some]
        parts.append(summaries_of(frames_of(np.stack([pixels for _, _, pixels, _ in some]))))
    return np.array(positions, np.int64), joined_summaries(parts)


def fetch_named(
    number: int, part: Slice, places: Sequence[int], query: PartQuery
) -> list[PictureName]:
    """As `fetch_pictures`, of each only its name and its caption."""
    read = readable_pictures(part, query.settings, query.size, Reading(), set(places).__contains__)
    names = {place: name for place, name, _, _ in read}
    captions = read_captions(part, list(names.values()))
    return [
        PictureName(number * PLACES + place, name, captions.get(name))
        for place, name in names.items()
    ]


def peak_bytes() -> int:
    """The most memory that this process ever held."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
