"""The vectors of a training set in inverted lists, so that those near one are found without
comparing it with all.

Lists as of `cells.Cells`, in faiss: a vector is in the list of the pivot nearest to it, pivots are
drawn from the vectors, and a search visits the lists of the pivots nearest to what it looks for. It
may miss what is in a list further off. Many pivots are found by a graph (HNSW, Malkov and Yashunin,
PAMI 2018), so that a search costs about as much however many there are.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seedsweep.workers.analysis import cells
from seedsweep.workers.training.embedding_file import Embeddings, Places

PROPOSED = 16
"""Of each picture so many others are looked at, the nearest ones."""

PROBES = 32
"""So many lists are visited."""

LISTS_COMPARED = 1024
"""Up to so many lists a search compares all pivots."""

_LINKS = 32  # of each pivot in the graph
_SEARCHED = 4  # pivots that the graph keeps in hand for each that is wanted
_AT_ONCE = 4096
_EXACTLY_AT_ONCE = 1 << 14
_ROUNDING = 1e-5  # of two mean distances of one pair, each in float32


class EmbeddingIndex:
    """Vectors of pictures as they are, each by the picture's place in `embeddings`."""

    def __init__(self, embeddings: Embeddings, probes: int = PROBES) -> None:
        import faiss

        faiss.omp_set_num_threads(
            1
        )  # links of the graph follow from the order, and so from threads
        self._embeddings, count = embeddings, len(embeddings)
        lists = cells.cells_of(count)
        pivots = _pivots(embeddings.values, lists, probes)
        pivots.add(embeddings.at(np.linspace(0, count - 1, lists).astype(np.intp)))
        kind = faiss.ScalarQuantizer.QT_fp16  # what vectors are: nothing is lost
        self._index = faiss.IndexIVFScalarQuantizer(
            pivots, embeddings.values, lists, kind, faiss.METRIC_L2, False
        )
        self._index.is_trained = True
        self._index.nprobe = min(probes, lists)

    def hold(self, places: Places) -> None:
        """Take in those at these places."""
        for at in range(0, len(places), _AT_ONCE):
            some = places[at : at + _AT_ONCE]
            self._index.add_with_ids(self._embeddings.at(some), some.astype(np.int64))

    def nearest(
        self, places: Places, count: int, way: int = 0
    ) -> tuple[NDArray[np.float32], Places]:
        """The squared distances and the places of the `count` held ones nearest to those at these
        places: (m, count) each; inf and -1 where there are no more."""
        squared, names = self._index.search(self._embeddings.at(places, way), count)
        squared[names < 0] = np.inf
        return squared, names.astype(np.intp)


def _pivots(values: int, lists: int, probes: int) -> Any:
    """An index for so many pivots, in which so many are found at once."""
    import faiss

    if lists <= LISTS_COMPARED:
        return faiss.IndexFlatL2(values)
    graph = faiss.IndexHNSWFlat(values, _LINKS)
    graph.hnsw.efSearch = _SEARCHED * probes
    return graph


class EmbeddingProposals:
    """Pairs of pictures whose vectors are alike, as `copy_groups.Proposals`."""

    def __init__(self, embeddings: Embeddings, alike: float) -> None:
        self._embeddings, self._alike = embeddings, alike
        self._index = EmbeddingIndex(embeddings)

    def hold(self, rows: Places) -> None:
        """Have these be found."""
        self._index.hold(rows)

    def near(self, rows: Places) -> tuple[Places, Places]:
        """Pairs of one of these and one that is held."""
        mine, theirs = [], []
        for way in range(self._embeddings.ways):
            squared, names = self._index.nearest(rows, PROPOSED, way)
            first, second = np.nonzero((squared <= 2 * (1 - self._alike)) & (names >= 0))
            mine.append(rows[first])
            theirs.append(names[first, second])
        return np.concatenate(mine), np.concatenate(theirs)

    def among(self, rows: Places) -> NDArray[np.bool_]:
        """Which pairs of these are alike: (n, n)."""
        held = self._embeddings.at(rows).T
        found = np.zeros((len(rows), len(rows)), np.bool_)
        for way in range(self._embeddings.ways):
            found |= self._embeddings.at(rows, way) @ held >= self._alike
        return found


class EmbeddingSpace:
    """Pictures with the l2 of their vectors, as `outliers.Space`; what has none is no outlier."""

    def __init__(self, embeddings: Embeddings) -> None:
        self._embeddings = embeddings

    def __len__(self) -> int:
        return len(self._embeddings)

    def bounds(
        self, places: Places, count: int, progress: Callable[[int, int], None]
    ) -> NDArray[np.float64]:
        """As of `Space`."""
        index = EmbeddingIndex(self._embeddings, _OUTLIER_PROBES)
        index.hold(np.arange(len(self)))
        bounds = np.empty(len(places))
        for at in range(0, len(places), _AT_ONCE):
            rows = places[at : at + _AT_ONCE]
            squared, names = index.nearest(rows, count + 1)
            squared[names == rows[:, None]] = np.inf
            bounds[at : at + _AT_ONCE] = _mean_root(squared, count) + _ROUNDING
            bounds[at : at + _AT_ONCE][~self._embeddings.at(rows).any(axis=1)] = 0.0
            progress(min(at + _AT_ONCE, len(places)), len(places))
        return bounds

    def exact(self, places: Places, count: int) -> NDArray[np.float64]:
        """As of `Space`."""
        wide = self._embeddings.at(places)
        norms = np.square(wide).sum(axis=1)[:, None]
        nearest = np.full((len(places), count), np.inf, np.float32)
        for at in range(0, len(self), _EXACTLY_AT_ONCE):
            others = np.arange(at, min(at + _EXACTLY_AT_ONCE, len(self)))
            held = self._embeddings.at(others)
            squared = norms + np.square(held).sum(axis=1)[None, :] - 2 * (wide @ held.T)
            squared[places[:, None] == others[None, :]] = np.inf
            merged = np.concatenate([nearest, squared], axis=1)
            nearest = np.partition(merged, count - 1, axis=1)[:, :count]
        return np.where(wide.any(axis=1), _mean_root(nearest, count), 0.0)


_OUTLIER_PROBES = 4


def _mean_root(squared: NDArray[np.float32], count: int) -> NDArray[np.float64]:
    nearest = np.sort(squared, axis=1)[:, :count].astype(np.float64)
    return np.asarray(np.sqrt(np.maximum(nearest, 0)).mean(axis=1))
