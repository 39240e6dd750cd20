"""Branch and bound for cliques on bitsets.

A graph's vertices are 1 to n, and a set of them is an int with bit v - 1 set when v is in it: its
highest vertex is then its bit_length, the cheapest to find.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Bitgraph:
    """A graph on bitsets; vertex 0 stands in every list and is nobody.

    `near[v]`: the neighbours of v. `far[v]`: those that are not, without v itself. `alone[v]`: the
    set of v only. `everyone`: all vertices.
    """

    near: list[int]
    far: list[int]
    alone: list[int]
    everyone: int


@dataclass(frozen=True, slots=True)
class FoundClique:
    """`members`: the clique found, ascending, empty if none was large enough. `bound`: no clique
    among the candidates has more vertices, or none has more than the size asked to be exceeded.
    `complete`: the search ended by itself, not by the step limit. `steps`: as of `step_cost`."""

    members: tuple[int, ...]
    bound: int
    complete: bool
    steps: int


def bitgraph(adjacency: NDArray[np.bool_]) -> Bitgraph:
    """The graph whose vertex v is row v - 1 of `adjacency` (n, n), symmetric, diagonal False."""
    everyone = (1 << len(adjacency)) - 1
    packed = np.packbits(adjacency, axis=1, bitorder="little")
    near = [0, *(int.from_bytes(row.tobytes(), "little") for row in packed)]
    alone = [0, *(1 << bit for bit in range(len(adjacency)))]
    far = [everyone & ~(row | own) for row, own in zip(near, alone, strict=True)]
    return Bitgraph(near, far, alone, everyone)


def colour_order(graph: Bitgraph, candidates: int, spare: int) -> list[tuple[int, int]]:
    """Greedy colouring of `candidates`, highest vertex first: (vertex, colour) by ascending colour,
    without the vertices of the first `spare` colours, which have the colours 1 to `spare`.

    A clique takes at most one vertex of each colour: one among the vertices up to and including a
    listed one has at most that many vertices as its colour says, and one that avoids all listed
    ones has at most `spare`. Empty if no more than `spare` colours are needed.
    """
    if candidates.bit_count() <= spare:
        return []
    far, alone = graph.far, graph.alone
    for _ in range(spare):
        free = candidates
        while free:
            vertex = free.bit_length()
            candidates ^= alone[vertex]
            free &= far[vertex]
        if not candidates:
            return []
    order: list[tuple[int, int]] = []
    colour = max(spare, 0)
    while candidates:
        colour += 1
        free = candidates
        while free:
            vertex = free.bit_length()
            candidates ^= alone[vertex]
            free &= far[vertex]
            order.append((vertex, colour))
    return order


def step_cost(candidates: int) -> int:
    """The steps that a search node with these candidates costs: one, and one more for every 64
    candidates, so that a step takes about equal time in sparse and in dense graphs."""
    return 1 + candidates.bit_count() // 64


def colours(graph: Bitgraph, candidates: int) -> int:
    """The colours of a greedy colouring of `candidates`: no clique among them has more vertices."""
    order = colour_order(graph, candidates, 0)
    return order[-1][1] if order else 0


def neighbourhood_bound(graph: Bitgraph) -> int:
    """A number that no clique exceeds: one more than the most colours that any vertex's higher
    neighbours take. That is at most one more than the most higher neighbours that a vertex has
    (the degeneracy, if the vertices are in the order that it wants)."""
    most = min(1, graph.everyone)
    for vertex in range(1, len(graph.near)):
        higher = graph.near[vertex] >> vertex << vertex
        if higher.bit_count() >= most:
            most = max(most, 1 + colours(graph, higher))
    return most


def search(
    graph: Bitgraph, candidates: int, exceed: int, stop_at: int, max_steps: int
) -> FoundClique:
    """The largest clique among `candidates` with more than `exceed` vertices, or the first one met
    with `stop_at` vertices or more, which then is not claimed to be the largest.

    Depth-first with the colouring bound of Tomita and San Segundo; iterative, so that no clique is
    too deep. No more than `max_steps` steps are taken; if they do not suffice `complete` is
    False, and `bound` holds all the same. `exceed` >= -1.
    """
    members: tuple[int, ...] = ()
    best, steps, chosen = exceed, 0, list[int]()
    stack = [(candidates, colour_order(graph, candidates, best))]
    bound = exceed
    while stack:
        remaining, order = stack[-1]
        if not order or len(chosen) + order[-1][1] <= best:
            stack.pop()
            if chosen:
                chosen.pop()
            continue
        vertex, colour = order[-1]
        if not chosen:
            bound = colour
        inner = remaining & graph.near[vertex]
        if best >= stop_at or steps + step_cost(inner) > max_steps:
            return FoundClique(members, max(bound, best), best >= stop_at, steps)
        steps += step_cost(inner)
        order.pop()
        stack[-1] = (remaining ^ graph.alone[vertex], order)
        if not inner and len(chosen) >= best:
            best, members = len(chosen) + 1, tuple(sorted([*chosen, vertex]))
        if inner_order := colour_order(graph, inner, best - len(chosen) - 1):
            chosen.append(vertex)
            stack.append((inner, inner_order))
    return FoundClique(members, max(best, 0), True, steps)
