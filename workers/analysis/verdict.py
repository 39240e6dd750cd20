"""The verdict on one prompt: is the same picture among its generations again and again?

Edges join generations within the edge threshold, and the prompt is flagged when a clique of enough
of them exists (Carlini et al. 2023, arXiv 2301.13188, section 4.2). Pictures that are no evidence
(blacked out, not finite, constant) are left out by the caller beforehand.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from seedsweep.workers.analysis.cliques import (
    DEFAULT_MAX_STEPS,
    CliqueSearch,
    core,
    largest_clique,
)
from seedsweep.workers.analysis.distances import tiled_distances, tiled_edges

MemberDistances = Callable[[tuple[int, ...]], NDArray[np.float64]]
"""Vertices, ascending -> their tiled distances (k, k) float64 in that order."""


@dataclass(frozen=True, slots=True)
class JudgedClique:
    """Generations all joined by edges: `seeds` ascending, the mean tiled l2 of their pairs, and the
    medoid, with the smallest sum of tiled l2 to the others, the smallest seed among equals."""

    seeds: tuple[int, ...]
    mean_distance: float
    representative_seed: int


@dataclass(frozen=True, slots=True)
class Verdict:
    """The judgement on one prompt.

    `edges`: the edges in the canonical core for `min_clique_size` (not in the whole graph).
    `cliques`: first the largest found, the smallest seeds among equals; then, one by one, the
    largest of those generations that no edge of the core joins to a clique before, so each of them
    shows another picture. All have at least `min_clique_size` members; () if none was found.
    `clique_proven`: none is larger than the first, or, without one, none reaches the wanted size.
    `clique_upper_bound`: no clique is larger than that or, if greater, min_clique_size - 1.
    """

    edges: int
    cliques: tuple[JudgedClique, ...]
    clique_proven: bool
    clique_upper_bound: int

    @property
    def flagged(self) -> bool:
        """Whether there is a clique of enough members."""
        return bool(self.cliques)


def judge(
    images: NDArray[np.uint8],
    seeds: Sequence[int],
    tiles: int,
    edge_threshold: float,
    min_clique_size: int,
    max_steps: int = DEFAULT_MAX_STEPS,
) -> Verdict:
    """The verdict on `images` (n, height, width, 3) uint8, the i-th made with seeds[i].

    Their order does not matter. n may be 0. ValueError if the seeds repeat or their number
    differs, min_clique_size < 2, or as of `tiled_edges`.
    """
    if len(seeds) != len(images):
        raise ValueError(f"{len(images)} images, but {len(seeds)} seeds")
    order = np.array(sorted(range(len(seeds)), key=seeds.__getitem__), dtype=np.intp)
    edges = tiled_edges(images, tiles, edge_threshold)[np.ix_(order, order)]

    def distances(members: tuple[int, ...]) -> NDArray[np.float64]:
        return tiled_distances(images[order[list(members)]], tiles)

    return verdict_of(edges, distances, sorted(seeds), min_clique_size, max_steps)


def verdict_of(
    edges: NDArray[np.bool_],
    distances: MemberDistances,
    seeds: Sequence[int],
    min_clique_size: int,
    max_steps: int = DEFAULT_MAX_STEPS,
) -> Verdict:
    """The verdict on a graph of generations: vertex i is seeds[i], seeds strictly ascending.

    `edges` (n, n) bool, symmetric, False on the diagonal, needs to be right only within its core
    for `min_clique_size`: any graph with the same core has the same verdict. `distances` is called
    once for each clique. The searches for all of them share `max_steps`. ValueError for seeds that
    are not strictly ascending or not n, or min_clique_size < 2.
    """
    if min_clique_size < 2:
        raise ValueError(f"min_clique_size must be >= 2, got {min_clique_size}")
    if edges.shape != (len(seeds), len(seeds)):
        raise ValueError(f"{len(seeds)} seeds, but edges of shape {edges.shape}")
    if any(a >= b for a, b in pairwise(seeds)):
        raise ValueError("the seeds must be different and ascending")
    kept = core(edges, min_clique_size)
    largest = largest_clique(kept, min_clique_size, max_steps)
    members = [largest.members] if largest.members else []
    members += _further(kept, largest, min_clique_size, max_steps)
    return Verdict(
        edges=int(np.count_nonzero(kept)) // 2,
        cliques=tuple(_clique(each, distances(each), seeds) for each in members),
        clique_proven=largest.proven,
        clique_upper_bound=largest.upper_bound,
    )


def _further(
    graph: NDArray[np.bool_], largest: CliqueSearch, size: int, max_steps: int
) -> Iterator[tuple[int, ...]]:
    """The members of each next clique apart from those before, as far as the steps go."""
    left, steps = graph.copy(), largest.steps
    while largest.members:
        members = list(largest.members)
        apart = np.logical_not(np.any(left[members], axis=0))
        apart[members] = False
        left &= np.outer(apart, apart)
        largest = largest_clique(left, size, max_steps - steps)
        steps += largest.steps
        if largest.members:
            yield largest.members


def _clique(
    members: tuple[int, ...], distances: NDArray[np.float64], seeds: Sequence[int]
) -> JudgedClique:
    return JudgedClique(
        seeds=tuple(int(seeds[vertex]) for vertex in members),
        mean_distance=_mean_of_pairs(distances),
        representative_seed=int(seeds[members[_medoid(distances)]]),
    )


def _mean_of_pairs(distances: NDArray[np.float64]) -> float:
    pairs = distances[np.triu_indices(len(distances), 1)].tolist()
    return math.fsum(pairs) / len(pairs)


def _medoid(distances: NDArray[np.float64]) -> int:
    # fsum rounds once whatever the order, so that equal sums are equal and ties are ties.
    sums = [math.fsum(row) for row in distances.tolist()]
    return sums.index(min(sums))
