"""Branch and bound for cliques on bitsets: a vertex set is an int, bit v set when v is in it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Found:
    """`members`: the clique found, empty if none was large enough. `bound`: no clique among the
    candidates has more vertices, or none has more than the size asked to be exceeded.
    `complete`: the search ended by itself, not by the step limit. `steps`: as of `step_cost`."""

    members: tuple[int, ...]
    bound: int
    complete: bool
    steps: int


def bits(vertices: int) -> list[int]:
    """The vertices of a bitset, ascending."""
    found = []
    while vertices:
        lowest = vertices & -vertices
        found.append(lowest.bit_length() - 1)
        vertices ^= lowest
    return found


def colour_order(rows: list[int], candidates: int, spare: int) -> list[tuple[int, int]]:
    """Greedy colouring of `candidates`: (vertex, colour) by ascending colour from 1, without the
    vertices of the first `spare` colours.

    A clique takes at most one vertex of each colour: one among the vertices up to and including a
    listed one has at most that many vertices as its colour says, and one that avoids all listed
    ones has at most `spare`.
    """
    order: list[tuple[int, int]] = []
    colour = 0
    while candidates:
        colour += 1
        free = candidates
        while free:
            lowest = free & -free
            vertex = lowest.bit_length() - 1
            candidates ^= lowest
            free = (free ^ lowest) & ~rows[vertex]
            if colour > spare:
                order.append((vertex, colour))
    return order


def step_cost(candidates: int) -> int:
    """The steps that a search node with these candidates costs: one, and one more for every 64
    candidates, so that a step takes about equal time in sparse and in dense graphs."""
    return 1 + candidates.bit_count() // 64


def clique_bound(rows: list[int]) -> int:
    """A number that no clique of the graph exceeds: the colours of a greedy colouring, or, where
    that is less, one more than the most colours that any vertex's lower neighbours take. The
    latter is at most one more than the most lower neighbours that a vertex has (the degeneracy,
    where bits are in the order that it wants)."""
    order = colour_order(rows, (1 << len(rows)) - 1, 0)
    if not order:
        return 0
    colours, most = order[-1][1], 1
    for vertex, row in enumerate(rows):
        if most >= colours:
            break
        lower = row & ((1 << vertex) - 1)
        if lower.bit_count() >= most:
            most = max(most, 1 + colour_order(rows, lower, 0)[-1][1])
    return min(most, colours)


def greedy_clique(rows: list[int], start: int) -> int:
    """A maximal clique that contains `start`, as a bitset: grown by the candidate that keeps most
    candidates, the lowest bit among equals."""
    clique, candidates = 1 << start, rows[start]
    while candidates:
        vertex = max(bits(candidates), key=lambda v: ((rows[v] & candidates).bit_count(), -v))
        clique |= 1 << vertex
        candidates &= rows[vertex]
    return clique


def search(rows: list[int], candidates: int, exceed: int, stop_at: int, max_steps: int) -> Found:
    """The largest clique among `candidates` with more than `exceed` vertices, or the first one met
    with `stop_at` vertices or more, which then is not claimed to be the largest.

    Depth-first with the colouring bound of Tomita and San Segundo; iterative, so that no clique is
    too deep. No more than `max_steps` steps are taken; where they do not suffice `complete` is
    False, and `bound` holds all the same. `exceed` >= -1.
    """
    members: tuple[int, ...] = ()
    best, steps, chosen = exceed, 0, list[int]()
    stack = [(candidates, colour_order(rows, candidates, best))]
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
        inner = remaining & rows[vertex]
        if best >= stop_at or steps + step_cost(inner) > max_steps:
            return Found(members, max(bound, best), best >= stop_at, steps)
        steps += step_cost(inner)
        order.pop()
        stack[-1] = (remaining & ~(1 << vertex), order)
        chosen.append(vertex)
        if not inner and len(chosen) > best:
            best, members = len(chosen), tuple(sorted(chosen))
        stack.append((inner, colour_order(rows, inner, best - len(chosen))))
    return Found(members, best, True, steps)
