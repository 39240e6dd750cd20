"""Large cliques of a graph: is there one of the wanted size, and which is the largest?

A graph is a boolean adjacency matrix (n, n), symmetric, False on the diagonal. Maximal cliques are
never enumerated: ordinary graphs have hundreds of thousands (Carlini et al. 2023, arXiv 2301.13188,
section 4.2 needs only one of at least 10).
"""

# Written by hand, since no library decides "is there a clique of ten?" within a bound on its steps:
# networkx and igraph enumerate, or ran for minutes on graphs that real prompts give.

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from seedsweep.workers.analysis.clique_search import (
    Bitgraph,
    bitgraph,
    colours,
    neighbourhood_bound,
    search,
    step_cost,
)

# A quarter to half a second of the hardest graphs of 500 vertices on one core of 2024.
DEFAULT_MAX_STEPS = 100_000
_GREEDY_STARTS = 16


@dataclass(frozen=True, slots=True)
class CliqueSearch:
    """What a search for a clique of `at_least` vertices found.

    `members`: the largest clique found, ascending; empty if none of `at_least` vertices was found.
    `proven`: no clique is larger than `members`, or, when that is empty, none has `at_least`.
    `upper_bound`: every clique of the graph has at most that many vertices, or fewer than
    `at_least`; never below at_least - 1. So `proven` says: it equals len(members), or
    at_least - 1 when that is empty. It is right, only not tight, when `proven` is False.
    `steps`: the search steps used, at most `max_steps`.
    """

    members: tuple[int, ...]
    proven: bool
    upper_bound: int
    steps: int


@dataclass(frozen=True, slots=True)
class Decision:
    """Whether a graph has a clique of `size` vertices, as far as the steps went.

    `members`: a clique of that size or more, not always a largest, ascending; empty if none was
    found. `upper_bound`: every clique has at most that many vertices, or fewer than `size`; never
    below size - 1. `steps`: the search steps used, at most `max_steps`.
    """

    size: int
    members: tuple[int, ...]
    upper_bound: int
    steps: int

    @property
    def decided(self) -> bool:
        """There is a witness, or it is proven that there can be none."""
        return bool(self.members) or self.upper_bound < self.size


@dataclass(frozen=True, slots=True)
class _Core:
    """A graph's core for some size, its vertices renamed, the highest core last: vertex v of the
    bitsets is row v - 1 of `adjacency` and vertex names[v - 1] of the whole graph."""

    adjacency: NDArray[np.bool_]
    bitgraph: Bitgraph
    names: list[int]

    def named(self, vertices: Iterable[int]) -> tuple[int, ...]:
        """The names of vertices of the bitsets, ascending."""
        return tuple(sorted(self.names[vertex - 1] for vertex in vertices))


def core(adjacency: NDArray[np.bool_], size: int) -> NDArray[np.bool_]:
    """The canonical core for cliques of `size` vertices, as an adjacency matrix (n, n) bool.

    It is the largest subgraph in which every vertex that has an edge has at least size - 1, and
    every edge lies in at least size - 2 triangles of the subgraph. It is unique, holds every clique
    of `size` or more vertices, does not change when taken twice, and grows with the graph: the core
    of a graph with more edges contains it. For size 1 and 2 nothing can be left out, and it is the
    graph itself. ValueError if size < 1.
    """
    if size < 1:
        raise ValueError(f"a clique has at least one vertex, got size {size}")
    kept = adjacency.astype(np.float32)
    touched = np.flatnonzero(adjacency.any(axis=1))
    while touched.size:
        # An edge in size - 2 triangles gives its ends size - 1 edges, so this test is enough.
        rows = kept[touched]
        weak = (rows > 0) & (rows @ kept < size - 2)
        ends, others = np.nonzero(weak)
        kept[touched[ends], others] = 0
        kept[others, touched[ends]] = 0
        touched = np.union1d(touched[ends], others)
    return kept > 0


def decide_clique(
    adjacency: NDArray[np.bool_], size: int, max_steps: int = DEFAULT_MAX_STEPS
) -> Decision:
    """Whether `adjacency` has a clique of `size` vertices.

    It comes first in `largest_clique`, under the same bound on the work: equal inputs give equal
    results everywhere. With max_steps = 0 the bounds and the greedy cliques still count.
    ValueError if size < 1.
    """
    graph = _core_of(adjacency, size)
    bits = graph.bitgraph
    bound = colours(bits, bits.everyone)
    if bound < size:
        return Decision(size, (), size - 1, 0)
    members = _greedy(graph, size)
    if len(members) >= size:
        return Decision(size, members, bound, 0)
    bound = min(bound, neighbourhood_bound(bits))
    if bound < size:
        return Decision(size, (), size - 1, 0)
    clique = search(bits, bits.everyone, size - 1, size, max_steps)
    if clique.complete and not clique.members:
        return Decision(size, (), size - 1, clique.steps)
    return Decision(size, graph.named(clique.members), min(clique.bound, bound), clique.steps)


def largest_clique(
    adjacency: NDArray[np.bool_], at_least: int, max_steps: int = DEFAULT_MAX_STEPS
) -> CliqueSearch:
    """The largest clique of `adjacency` if it has `at_least` vertices or more.

    Whether there is one is decided first. Among the largest cliques it is the one whose ascending
    members come first lexicographically. The work is bounded by `max_steps` (a step is a search
    node; one with many candidates counts as several), never by the clock, so equal inputs give
    equal results everywhere. When the steps end before the size is proven, the members are the
    largest clique met so far (or empty); when they end later, while looking for the
    lexicographically first one, the size stays proven. With max_steps = 0 the bounds and the greedy
    cliques still count. ValueError if at_least < 1.
    """
    decision = decide_clique(adjacency, at_least, max_steps)
    members, bound, steps = decision.members, decision.upper_bound, decision.steps
    if not members:
        return CliqueSearch((), decision.decided, bound, steps)
    members, bound, growing = _grown(adjacency, members, bound, max_steps - steps)
    steps += growing
    proven = bound == len(members)
    if proven:
        members, refining = _first(adjacency, members, max_steps - steps)
        steps += refining
    return CliqueSearch(members, proven, bound, steps)


def _grown(
    adjacency: NDArray[np.bool_], members: tuple[int, ...], bound: int, max_steps: int
) -> tuple[tuple[int, ...], int, int]:
    """A largest clique, from the clique `members` and a bound that none exceeds, as far as the
    steps go; a bound (its size if that is proven) and the steps."""
    if len(members) < bound:
        members = max(members, _greedy(_core_of(adjacency, len(members) + 1), bound), key=len)
    if len(members) == bound:
        return members, bound, 0
    graph = _core_of(adjacency, len(members) + 1)
    bits = graph.bitgraph
    for tighter in (colours(bits, bits.everyone), neighbourhood_bound(bits)):
        bound = min(bound, max(tighter, len(members)))
    if bound == len(members):
        return members, bound, 0
    clique = search(bits, bits.everyone, len(members), bound, max_steps)
    members = graph.named(clique.members) or members
    return members, len(members) if clique.complete else min(clique.bound, bound), clique.steps


def _first(
    adjacency: NDArray[np.bool_], witness: tuple[int, ...], max_steps: int
) -> tuple[tuple[int, ...], int]:
    """The lexicographically first clique of the witness's size, none being larger, and the steps;
    the best one met if the steps end before."""
    size = len(witness)
    graph = _core_of(adjacency, size)
    near, alone, candidates = graph.bitgraph.near, graph.bitgraph.alone, graph.bitgraph.everyone
    chosen: list[int] = []
    steps = 0
    for name, vertex in sorted((name, place + 1) for place, name in enumerate(graph.names)):
        if not candidates & alone[vertex]:
            continue
        inner = candidates & near[vertex]
        need = size - len(chosen) - 1
        if name not in witness:
            steps += step_cost(inner)
            if steps > max_steps:
                return witness, max_steps
            clique = search(graph.bitgraph, inner, need - 1, need, max_steps - steps)
            steps += clique.steps
            if not clique.complete:
                return witness, max_steps
            if len(clique.members) < need:
                candidates ^= alone[vertex]
                continue
            witness = tuple(sorted([*chosen, name, *graph.named(clique.members)]))
        chosen.append(name)
        candidates = inner
    return witness, steps


def _greedy(graph: _Core, enough: int) -> tuple[int, ...]:
    """The largest of the cliques grown from the vertices of the highest cores, or the first one met
    of `enough` vertices."""
    best: list[int] = []
    count = len(graph.names)
    for start in range(count - 1, max(count - _GREEDY_STARTS, 0) - 1, -1):
        best = max(best, _grow(graph.adjacency, start), key=len)
        if len(best) >= enough:
            break
    return graph.named(row + 1 for row in best)


def _grow(adjacency: NDArray[np.bool_], start: int) -> list[int]:
    """The rows of a maximal clique that contains `start`: grown by the candidate that keeps most
    candidates, the last among equals."""
    clique, candidates = [start], adjacency[start].copy()
    degrees = adjacency[candidates].sum(axis=0, dtype=np.int64)
    while candidates.any():
        row = len(degrees) - 1 - int(np.where(candidates, degrees, -1)[::-1].argmax())
        lost = candidates & ~adjacency[row]
        degrees -= adjacency[lost].sum(axis=0, dtype=np.int64)
        candidates &= adjacency[row]
        clique.append(row)
    return clique


def _core_of(adjacency: NDArray[np.bool_], size: int) -> _Core:
    kept = core(adjacency, size)
    vertices = np.arange(len(kept)) if size == 1 else np.flatnonzero(kept.any(axis=1))
    inside = kept[np.ix_(vertices, vertices)]
    order = _lowest_core_first(inside)
    ordered = inside[np.ix_(order, order)]
    return _Core(ordered, bitgraph(ordered), vertices[order].tolist())


def _lowest_core_first(adjacency: NDArray[np.bool_]) -> NDArray[np.intp]:
    """The order of removing a vertex of least degree, the lowest first, again and again."""
    count = len(adjacency)
    degrees = adjacency.sum(axis=1, dtype=np.int64)
    removed = np.zeros(count, dtype=np.intp)
    for place in range(count):
        vertex = int(degrees.argmin())
        removed[place] = vertex
        degrees -= adjacency[vertex]
        degrees[vertex] = 2 * count
    return removed
