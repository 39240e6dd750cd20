from itertools import combinations

import networkx as nx
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from seedsweep.workers.analysis.clique_search import (
    bitgraph,
    colour_order,
    colours,
    neighbourhood_bound,
    search,
    step_cost,
)

modest = settings(max_examples=150, derandomize=True, deadline=None)


def random_graph(vertices, density, seed):
    upper = np.triu(np.random.default_rng(seed).random((vertices, vertices)) < density, 1)
    return upper | upper.T


graphs = st.builds(
    random_graph,
    st.integers(0, 14),
    st.sampled_from([0.0, 0.2, 0.4, 0.6, 0.8, 0.95, 1.0]),
    st.integers(0, 10_000),
)


def members_of(vertices):
    """The vertices of a bitset, ascending, 1 being the lowest bit."""
    return [place + 1 for place in range(vertices.bit_length()) if vertices >> place & 1]


def largest_among(adjacency, vertices):
    """The size of the largest clique among these vertices, by listing all maximal ones."""
    rows = [vertex - 1 for vertex in vertices]
    graph = nx.from_numpy_array(adjacency[np.ix_(rows, rows)])
    return max(map(len, nx.find_cliques(graph)), default=0)


def is_clique(adjacency, members):
    return all(adjacency[a - 1, b - 1] for a, b in combinations(members, 2))


@modest
@given(graphs)
def test_a_bitgraph_names_neighbours_strangers_and_nobody_as_vertex_0(adjacency):
    graph = bitgraph(adjacency)
    everyone = range(1, len(adjacency) + 1)
    assert members_of(graph.everyone) == list(everyone)
    assert graph.near[0] == graph.alone[0] == 0
    for vertex in everyone:
        near = [other for other in everyone if adjacency[vertex - 1, other - 1]]
        assert members_of(graph.near[vertex]) == near
        assert members_of(graph.far[vertex]) == sorted({*everyone} - {*near, vertex})
        assert members_of(graph.alone[vertex]) == [vertex]


class TestColourOrder:
    @settings(modest, max_examples=60)
    @given(graphs, st.integers(0, 2**14 - 1), st.integers(-1, 6))
    def test_bounds_every_clique_up_to_a_listed_vertex_by_its_colour(
        self, adjacency, subset, spare
    ):
        graph = bitgraph(adjacency)
        candidates = subset & graph.everyone
        order = colour_order(graph, candidates, spare)
        left = {*members_of(candidates)} - {vertex for vertex, _ in order}
        assert largest_among(adjacency, left) <= max(spare, 0)
        for vertex, colour in order:
            left.add(vertex)
            assert largest_among(adjacency, left) <= colour
        assert [colour for _, colour in order] == sorted(colour for _, colour in order)
        assert all(colour > spare for _, colour in order)

    @modest
    @given(graphs, st.integers(0, 6))
    def test_lists_the_same_vertices_as_a_full_colouring_has_beyond_the_spare_colours(
        self, adjacency, spare
    ):
        graph = bitgraph(adjacency)
        full = colour_order(graph, graph.everyone, 0)
        beyond = [(vertex, colour) for vertex, colour in full if colour > spare]
        assert colour_order(graph, graph.everyone, spare) == beyond


@modest
@given(graphs)
def test_no_clique_is_larger_than_the_bounds(adjacency):
    graph = bitgraph(adjacency)
    size = largest_among(adjacency, range(1, len(adjacency) + 1))
    most_higher = max((row >> vertex).bit_count() for vertex, row in enumerate(graph.near))
    assert size <= colours(graph, graph.everyone)
    assert size <= neighbourhood_bound(graph) <= 1 + most_higher


class TestSearch:
    @modest
    @given(graphs, st.integers(0, 2**14 - 1), st.integers(-1, 7))
    def test_finds_a_largest_clique_among_the_candidates_if_it_exceeds(
        self, adjacency, subset, exceed
    ):
        graph = bitgraph(adjacency)
        candidates = subset & graph.everyone
        size = largest_among(adjacency, members_of(candidates))
        found = search(graph, candidates, exceed, 99, 10_000)
        assert found.complete
        assert found.bound == max(size, exceed)
        assert len(found.members) == (size if size > exceed else 0)
        assert is_clique(adjacency, found.members)
        assert {*found.members} <= {*members_of(candidates)}

    @modest
    @given(graphs, st.integers(1, 8))
    def test_stops_at_the_wanted_size(self, adjacency, wanted):
        graph = bitgraph(adjacency)
        size = largest_among(adjacency, range(1, len(adjacency) + 1))
        found = search(graph, graph.everyone, wanted - 1, wanted, 10_000)
        assert found.complete
        assert bool(found.members) == (size >= wanted)
        assert not found.members or len(found.members) >= wanted
        assert is_clique(adjacency, found.members)

    @modest
    @given(graphs, st.integers(0, 7), st.integers(0, 12))
    def test_is_right_and_within_the_steps_when_they_end(self, adjacency, exceed, max_steps):
        graph = bitgraph(adjacency)
        size = largest_among(adjacency, range(1, len(adjacency) + 1))
        found = search(graph, graph.everyone, exceed, 99, max_steps)
        assert found.steps <= max_steps
        assert is_clique(adjacency, found.members)
        assert max(size, exceed) <= found.bound
        if found.complete:
            assert found == search(graph, graph.everyone, exceed, 99, 10_000)

    def test_is_not_too_deep_for_a_complete_graph_of_2000(self):
        graph = bitgraph(~np.eye(2000, dtype=bool))
        found = search(graph, graph.everyone, 0, 2000, 100_000)
        assert found.members == tuple(range(1, 2001))


def test_a_node_costs_a_step_and_one_more_for_every_64_candidates():
    assert [step_cost((1 << count) - 1) for count in (0, 63, 64, 500)] == [1, 1, 2, 8]
