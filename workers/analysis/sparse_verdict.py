"""The verdict on very many generations, from the list of their edges.

Cliques lie within connected components, so each component is judged on its own, and what they say
is put together: the result is that of `verdict.verdict_of` on the whole graph.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seedsweep.workers.analysis.cliques import DEFAULT_MAX_STEPS
from seedsweep.workers.analysis.verdict import JudgedClique, MemberDistances, Verdict, verdict_of

LARGEST_COMPONENT = 4096
"""Of a larger component the first so many generations are judged: an adjacency matrix of 16 MB."""


@dataclass(frozen=True, slots=True, eq=False)
class _Component:
    """Generations that edges join: `members` those that are judged, ascending, `edges` (m, m) bool
    between them, of `size` in all."""

    members: NDArray[np.intp]
    edges: NDArray[np.bool_]
    size: int


def verdict_of_pairs(
    pairs: NDArray[np.intp],
    distances: MemberDistances,
    seeds: Sequence[int],
    min_clique_size: int,
    max_steps: int = DEFAULT_MAX_STEPS,
    largest: int = LARGEST_COMPONENT,
) -> Verdict:
    """As `verdict_of`, of the graph with the edges `pairs` (edges, 2), each once; but each of its
    components has `max_steps` of its own.

    Of a component of more than `largest` generations with enough edges only the first ones are
    looked at: what is found there is right, the size of its cliques is not proven, and the upper
    bound is how many it has. Memory grows with the edges, not with the square of the generations.
    """
    if min_clique_size < 2:
        raise ValueError(f"min_clique_size must be >= 2, got {min_clique_size}")
    edges, bound, cliques = 0, min_clique_size - 1, list[JudgedClique]()
    for each in _components(pairs, len(seeds), min_clique_size, largest):
        verdict = verdict_of(
            each.edges,
            partial(_among, distances, each.members),
            [seeds[place] for place in each.members.tolist()],
            min_clique_size,
            max_steps,
        )
        edges += verdict.edges
        bound = max(bound, verdict.clique_upper_bound)
        if each.size > len(each.members):
            bound = max(bound, each.size)
        cliques += verdict.cliques
    # In each component the larger come first, and of equally large ones those of smaller seeds.
    cliques.sort(key=lambda clique: (-len(clique.seeds), clique.seeds))
    size = len(cliques[0].seeds) if cliques else min_clique_size - 1
    return Verdict(edges, tuple(cliques), bound <= size, bound)


def _among(
    distances: MemberDistances, members: NDArray[np.intp], places: tuple[int, ...]
) -> NDArray[np.float64]:
    """The distances of the members at these places."""
    return distances(tuple(members[list(places)].tolist()))


def _components(
    pairs: NDArray[np.intp], count: int, size: int, largest: int
) -> Iterator[_Component]:
    """Those among the generations that have enough edges for a clique of the size."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    pairs = _with_enough(pairs, count, size)
    if not len(pairs):
        return
    ones = np.ones(len(pairs), np.int8)
    graph: Any = coo_array((ones, (pairs[:, 0], pairs[:, 1])), shape=(count, count))
    _, labels = connected_components(graph, directed=False)
    pairs = pairs[np.argsort(labels[pairs[:, 0]], kind="stable")]
    for some in np.split(pairs, np.flatnonzero(np.diff(labels[pairs[:, 0]])) + 1):
        members = np.unique(some)
        judged = members[:largest]
        inside = np.searchsorted(judged, some[(some <= judged[-1]).all(axis=1)])
        edges = np.zeros((len(judged), len(judged)), np.bool_)
        edges[inside[:, 0], inside[:, 1]] = edges[inside[:, 1], inside[:, 0]] = True
        yield _Component(judged, edges, len(members))


def _with_enough(pairs: NDArray[np.intp], count: int, size: int) -> NDArray[np.intp]:
    """The edges between generations that each have size - 1 of them."""
    while len(pairs):
        degrees = np.bincount(pairs.ravel(), minlength=count)
        enough = (degrees[pairs] >= size - 1).all(axis=1)
        if enough.all():
            break
        pairs = pairs[enough]
    return pairs
