"""Large cliques of a graph: is there one of the wanted size, and which is the largest?

A graph is a boolean adjacency matrix (n, n), symmetric, False on the diagonal. Maximal cliques are
never enumerated: ordinary graphs have hundreds of thousands (Carlini et al. 2023, arXiv 2301.13188,
section 4.2 needs only one of at least 10).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from workers.analysis.branching import bits, clique_bound, greedy_clique, search, step_cost

# About a second of the hardest graphs of 500 vertices on one core of 2024.
DEFAULT_MAX_STEPS = 50_000
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
class _Bitgraph:
    """A graph whose vertices are renamed, highest core first: bit i is vertex names[i]."""

    rows: list[int]
    names: list[int]

    def named(self, places: Iterable[int]) -> tuple[int, ...]:
        """The vertices of these bits, ascending."""
        return tuple(sorted(self.names[bit] for bit in places))


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


def largest_clique(
    adjacency: NDArray[np.bool_], at_least: int, max_steps: int = DEFAULT_MAX_STEPS
) -> CliqueSearch:
    """The largest clique of `adjacency` if it has `at_least` vertices or more.

    Among the largest cliques it is the one whose ascending members come first lexicographically.
    The work is bounded by `max_steps` (a step is a search node; one with many candidates counts as
    several), never by the clock, so equal inputs give equal results everywhere. When the steps end
    before the size is proven, the members are the largest clique met so far (or empty); when they
    end later, while looking for the lexicographically first one, the size stays proven. With
    max_steps = 0 the bounds and the greedy cliques still count.
    ValueError if at_least < 1.
    """
    graph = _core_graph(adjacency, at_least)
    bound = clique_bound(graph.rows)
    if bound < at_least:
        return CliqueSearch((), True, at_least - 1, 0)
    members = _greedy(graph, bound)
    if len(members) < at_least:
        members = ()
    known = max(len(members), at_least - 1)
    larger, bound, steps = _larger(adjacency, known, bound, max_steps)
    members = larger or members
    proven = bound == max(len(members), at_least - 1)
    if proven and members:
        members, refining = _first(adjacency, members, max_steps - steps)
        steps += refining
    return CliqueSearch(members, proven, bound, steps)


def _larger(
    adjacency: NDArray[np.bool_], known: int, bound: int, max_steps: int
) -> tuple[tuple[int, ...], int, int]:
    """A largest clique of more than `known` vertices (or none), a bound (not below `known`) that
    no clique exceeds, and the steps. `bound` is such a bound."""
    if bound <= known:
        return (), known, 0
    graph = _core_graph(adjacency, known + 1)
    bound = min(bound, clique_bound(graph.rows))
    if bound <= known:
        return (), known, 0
    found = search(graph.rows, (1 << len(graph.rows)) - 1, known, bound, max_steps)
    members = graph.named(found.members)
    if found.complete:
        bound = max(known, len(members))
    return members, min(found.bound, bound), found.steps


def _first(
    adjacency: NDArray[np.bool_], witness: tuple[int, ...], max_steps: int
) -> tuple[tuple[int, ...], int]:
    """The lexicographically first clique of the witness's size, none being larger, and the steps;
    the best one met if the steps end before."""
    size = len(witness)
    graph = _core_graph(adjacency, size)
    candidates = (1 << len(graph.rows)) - 1
    chosen: list[int] = []
    steps = 0
    for vertex, bit in sorted((name, bit) for bit, name in enumerate(graph.names)):
        if not candidates >> bit & 1:
            continue
        inner = candidates & graph.rows[bit]
        need = size - len(chosen) - 1
        if vertex not in witness:
            steps += step_cost(inner)
            if steps > max_steps:
                return witness, max_steps
            found = search(graph.rows, inner, need - 1, need, max_steps - steps)
            steps += found.steps
            if not found.complete:
                return witness, max_steps
            if len(found.members) < need:
                candidates ^= 1 << bit
                continue
            witness = tuple(sorted([*chosen, vertex, *graph.named(found.members)]))
        chosen.append(vertex)
        candidates = inner
    return witness, steps


def _greedy(graph: _Bitgraph, bound: int) -> tuple[int, ...]:
    best: list[int] = []
    for start in range(min(_GREEDY_STARTS, len(graph.rows))):
        best = max(best, bits(greedy_clique(graph.rows, start)), key=len)
        if len(best) == bound:
            break
    return graph.named(best)


def _core_graph(adjacency: NDArray[np.bool_], size: int) -> _Bitgraph:
    kept = core(adjacency, size)
    vertices = np.arange(len(kept)) if size == 1 else np.flatnonzero(kept.any(axis=1))
    inside = kept[np.ix_(vertices, vertices)]
    order = _highest_core_first(inside)
    packed = np.packbits(inside[np.ix_(order, order)], axis=1, bitorder="little")
    rows = [int.from_bytes(row.tobytes(), "little") for row in packed]
    return _Bitgraph(rows, vertices[order].tolist())


def _highest_core_first(adjacency: NDArray[np.bool_]) -> NDArray[np.intp]:
    """The reverse of removing a vertex of least degree, the lowest first, again and again."""
    count = len(adjacency)
    degrees = adjacency.sum(axis=1, dtype=np.int64)
    removed = np.zeros(count, dtype=np.intp)
    for place in range(count):
        vertex = int(degrees.argmin())
        removed[place] = vertex
        degrees -= adjacency[vertex]
        degrees[vertex] = 2 * count
    return removed[::-1]
