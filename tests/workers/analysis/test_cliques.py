from dataclasses import replace
from itertools import combinations

import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seedsweep.workers.analysis.cliques import core, decide_clique, largest_clique

modest = settings(max_examples=150, derandomize=True, deadline=None)


def random_graph(vertices, density, seed):
    upper = np.triu(np.random.default_rng(seed).random((vertices, vertices)) < density, 1)
    return upper | upper.T


def planted(adjacency, members):
    adjacency = adjacency.copy()
    adjacency[np.ix_(members, members)] = True
    np.fill_diagonal(adjacency, False)
    return adjacency


def multipartite(vertices, parts):
    part = np.arange(vertices) % parts
    return part[:, None] != part[None, :]


def complete(vertices):
    return ~np.eye(vertices, dtype=bool)


def empty(vertices):
    return np.zeros((vertices, vertices), dtype=bool)


def without_pairs(vertices):
    """The complement of a perfect matching: 2^(n/2) largest cliques."""
    adjacency = complete(vertices)
    for even in range(0, vertices, 2):
        adjacency[even, even + 1] = adjacency[even + 1, even] = False
    return adjacency


def joined_pentagons(count):
    """Largest clique 2 a pentagon, colours 3 a pentagon: the bounds stay apart."""
    adjacency = complete(5 * count)
    for vertex in range(5 * count):
        other = vertex // 5 * 5 + (vertex + 1) % 5
        adjacency[vertex, other] = adjacency[other, vertex] = False
    return adjacency


def is_clique(adjacency, members):
    return all(adjacency[a, b] for a, b in combinations(members, 2))


def first_largest(adjacency):
    """The lexicographically first of the largest cliques, from all maximal ones."""
    cliques = [sorted(c) for c in nx.find_cliques(nx.from_numpy_array(adjacency))]
    most = max(map(len, cliques), default=0)
    return tuple(min((c for c in cliques if len(c) == most), default=()))


def slow_core(adjacency, size):
    """Leave out one vertex or edge that fails at a time, until none does."""
    edges = {frozenset(map(int, pair)) for pair in np.argwhere(adjacency)}
    while True:
        near = {v: {w for w in range(len(adjacency)) if {v, w} in edges} for e in edges for v in e}
        poor = {v for v in near if len(near[v]) < size - 1}
        weak = [e for e in edges if e & poor or len(set.intersection(*map(near.get, e))) < size - 2]
        if not weak:
            break
        edges.remove(weak[0])
    kept = np.zeros_like(adjacency)
    for a, b in edges:
        kept[a, b] = kept[b, a] = True
    return kept


graphs = st.builds(
    random_graph,
    st.integers(0, 14),
    st.sampled_from([0.0, 0.2, 0.4, 0.6, 0.8, 0.95, 1.0]),
    st.integers(0, 10_000),
)


class TestCore:
    @settings(modest, max_examples=60)
    @given(graphs, st.integers(1, 6))
    def test_is_what_remains_when_nothing_more_can_be_left_out(self, adjacency, size):
        assert np.array_equal(core(adjacency, size), slow_core(adjacency, size))

    @modest
    @given(graphs, st.integers(1, 7))
    def test_holds_every_clique_of_the_size(self, adjacency, size):
        kept = core(adjacency, size)
        for clique in nx.find_cliques(nx.from_numpy_array(adjacency)):
            if len(clique) >= size:
                assert is_clique(kept, clique)

    @modest
    @given(graphs, st.integers(1, 6), st.integers(0, 10_000))
    def test_of_a_graph_with_more_edges_ends_in_the_same_core(self, adjacency, size, seed):
        more = adjacency | random_graph(len(adjacency), 0.2, seed)
        kept = core(more, size)
        assert np.array_equal(core(kept & adjacency, size), core(adjacency, size))

    @pytest.mark.parametrize("size", [1, 2])
    def test_for_sizes_below_three_is_the_graph_itself(self, size):
        adjacency = random_graph(20, 0.1, 3)
        assert np.array_equal(core(adjacency, size), adjacency)

    def test_leaves_a_long_chain_round_after_round(self):
        place = np.arange(120)
        gap = abs(place[:, None] - place)
        chain = (gap <= 8) & (gap > 0)
        assert np.array_equal(core(chain, 9), chain)
        assert not core(chain, 10).any()

    def test_does_not_alter_the_graph(self):
        adjacency = random_graph(20, 0.3, 3)
        before = adjacency.copy()
        core(adjacency, 5)
        assert np.array_equal(adjacency, before)

    def test_refuses_a_clique_without_vertices(self):
        with pytest.raises(ValueError, match="size 0"):
            core(empty(3), 0)


class TestDecideClique:
    @modest
    @given(graphs, st.integers(1, 8))
    def test_says_whether_there_is_one_and_shows_it(self, adjacency, size):
        largest = len(first_largest(adjacency))
        decision = decide_clique(adjacency, size)
        assert decision.decided
        assert bool(decision.members) == (largest >= size)
        assert not decision.members or size <= len(decision.members)
        assert is_clique(adjacency, decision.members)
        if decision.members:
            assert decision.upper_bound >= largest
        else:
            assert decision.upper_bound == size - 1

    @settings(modest, max_examples=25)
    @given(
        st.integers(25, 60), st.sampled_from([0.3, 0.5, 0.7]), st.integers(0, 10_000), st.booleans()
    )
    def test_agrees_with_listing_at_the_largest_size_and_one_more(self, n, density, seed, more):
        adjacency = random_graph(n, density, seed)
        size = len(first_largest(adjacency)) + more
        decision = decide_clique(adjacency, size)
        assert decision.decided
        assert bool(decision.members) != more

    @settings(modest, max_examples=40)
    @given(st.integers(40, 60), st.sampled_from([0.5, 0.7]), st.integers(0, 200))
    def test_claims_nothing_false_when_the_steps_end(self, n, density, max_steps):
        adjacency = random_graph(n, density, n)
        largest = len(first_largest(adjacency))
        for size in (largest, largest + 1):
            decision = decide_clique(adjacency, size, max_steps)
            assert decision.steps <= max_steps
            assert is_clique(adjacency, decision.members)
            assert decision.upper_bound >= largest
            if decision.decided:
                assert bool(decision.members) == (size == largest)
            else:
                assert decision.members == ()
                assert decision.upper_bound >= size

    def test_is_undecided_where_the_steps_end_too_soon(self):
        # A matching of 19 points has 9 edges: a parity that colours do not see.
        pairs = [{*pair} for pair in combinations(range(19), 2)]
        kneser = np.array([[not a & b for b in pairs] for a in pairs])
        decision = decide_clique(kneser, 10, max_steps=2_000)
        assert (decision.decided, decision.members, decision.steps) == (False, (), 2_000)
        assert decision.upper_bound >= 10
        found = largest_clique(kneser, 10, max_steps=2_000)
        assert (found.members, found.proven) == ((), False)
        assert (found.upper_bound, found.steps) == (decision.upper_bound, decision.steps)

    @pytest.mark.parametrize(
        ("size", "density", "steps"), [(9, 0.3, 20_000), (9, 0.35, 70_000), (12, 0.35, 40_000)]
    )
    def test_tells_a_planted_clique_of_nine_from_one_of_more(self, size, density, steps):
        members = np.random.default_rng(7).choice(500, size, replace=False)
        decision = decide_clique(planted(random_graph(500, density, 2), members), 10)
        assert decision.decided
        assert bool(decision.members) == (size >= 10)
        assert decision.steps <= steps

    @pytest.mark.parametrize("size", [2, 4, 7])
    def test_decides_other_sizes_than_ten_too(self, size):
        parts = multipartite(500, size)
        assert decide_clique(parts, size).members
        none = decide_clique(parts, size + 1)
        assert (none.members, none.upper_bound, none.steps) == ((), size, 0)

    def test_takes_no_steps_beyond_those_of_the_largest(self):
        adjacency = random_graph(500, 0.35, 1)
        assert 0 < decide_clique(adjacency, 10).steps <= largest_clique(adjacency, 10).steps

    def test_refuses_less_than_one_vertex(self):
        with pytest.raises(ValueError, match="at least one"):
            decide_clique(empty(3), 0)


class TestLargestClique:
    @modest
    @given(graphs, st.integers(1, 8))
    def test_is_the_first_of_the_largest_if_it_is_large_enough(self, adjacency, at_least):
        expected = first_largest(adjacency)
        found = largest_clique(adjacency, at_least)
        assert found.proven
        if len(expected) >= at_least:
            assert found.members == expected
            assert found.upper_bound == len(expected)
        else:
            assert found.members == ()
            assert found.upper_bound == at_least - 1

    @settings(modest, max_examples=25)
    @given(st.integers(25, 60), st.sampled_from([0.3, 0.5, 0.7]), st.integers(0, 10_000))
    def test_is_the_first_of_the_largest_in_graphs_that_need_a_search(self, n, density, seed):
        adjacency = random_graph(n, density, seed)
        assert largest_clique(adjacency, 3).members == first_largest(adjacency)

    @modest
    @given(graphs, st.integers(1, 6), st.integers(0, 12))
    def test_claims_nothing_false_when_the_steps_end(self, adjacency, at_least, max_steps):
        size = len(first_largest(adjacency))
        found = largest_clique(adjacency, at_least, max_steps)
        assert is_clique(adjacency, found.members)
        assert found.members == () or at_least <= len(found.members) <= size
        assert found.upper_bound >= max(len(found.members), at_least - 1)
        assert size <= max(found.upper_bound, at_least - 1)
        assert found.proven == (found.upper_bound == max(len(found.members), at_least - 1))
        assert found.steps <= max_steps

    @pytest.mark.parametrize("at_least", [1, 2, 10])
    def test_of_no_vertices_is_none(self, at_least):
        found = largest_clique(empty(0), at_least)
        assert (found.members, found.proven, found.upper_bound) == ((), True, at_least - 1)

    def test_without_edges_is_the_first_vertex_or_none(self):
        assert largest_clique(empty(7), 1).members == (0,)
        assert largest_clique(empty(7), 2).members == ()

    def test_of_one_edge_is_its_ends(self):
        adjacency = empty(7)
        adjacency[2, 5] = adjacency[5, 2] = True
        assert largest_clique(adjacency, 2).members == (2, 5)
        assert largest_clique(adjacency, 3).members == ()

    def test_refuses_less_than_one_vertex(self):
        with pytest.raises(ValueError, match="at least one"):
            largest_clique(empty(3), 0)

    def test_of_500_near_copies_is_all_of_them_without_a_search(self):
        found = largest_clique(complete(500), 10)
        assert found.members == tuple(range(500))
        assert (found.proven, found.steps) == (True, 0)

    def test_of_nine_parts_is_none_of_ten_without_a_search(self):
        found = largest_clique(multipartite(500, 9), 10)
        assert (found.members, found.proven, found.upper_bound) == ((), True, 9)
        assert found.steps == 0

    def test_of_ten_parts_is_the_first_of_each(self):
        found = largest_clique(multipartite(500, 10), 10)
        assert found.members == tuple(range(10))
        assert found.steps < 200

    def test_of_nine_parts_and_one_edge_more_takes_that_edge(self):
        adjacency = multipartite(500, 9)
        adjacency[300, 309] = adjacency[309, 300] = True
        found = largest_clique(adjacency, 10)
        # 300 and 309 are in the part of 3, whose place they take.
        assert found.members == (0, 1, 2, 4, 5, 6, 7, 8, 300, 309)
        assert (found.proven, found.upper_bound) == (True, 10)

    def test_of_the_complement_of_a_matching_is_one_of_each_pair(self):
        found = largest_clique(without_pairs(500), 10)
        assert found.members == tuple(range(0, 500, 2))
        assert found.proven
        assert found.steps < 5_000

    @pytest.mark.parametrize(
        ("density", "steps"), [(0.05, 0), (0.1, 0), (0.15, 0), (0.2, 2_000), (0.3, 20_000)]
    )
    def test_of_random_graphs_is_decided_within_the_steps(self, density, steps):
        found = largest_clique(random_graph(500, density, 1), 10)
        assert (found.members, found.proven) == ((), True)
        assert found.steps <= steps

    @pytest.mark.parametrize("size", [10, 12, 40])
    @pytest.mark.parametrize("density", [0.058, 0.2])
    def test_finds_a_planted_clique_in_a_dense_graph(self, size, density):
        members = np.sort(np.random.default_rng(size).choice(500, size, replace=False))
        found = largest_clique(planted(random_graph(500, density, 2), members), 10)
        assert found.members == tuple(members.tolist())
        assert found.proven
        assert found.steps < 5_000

    def test_decides_a_dense_block_with_very_many_maximal_cliques(self):
        adjacency = random_graph(500, 0.01, 3)
        adjacency[:120, :120] |= random_graph(120, 0.8, 4)
        found = largest_clique(adjacency, 10)
        assert (len(found.members), found.proven) == (21, True)
        assert is_clique(adjacency, found.members)

    def test_gives_a_witness_and_a_right_bound_when_the_search_is_too_long(self):
        found = largest_clique(joined_pentagons(20), 10, max_steps=300)
        assert len(found.members) == 40
        assert not found.proven
        assert 40 < found.upper_bound <= 60
        assert 0 < found.steps <= 300

    @settings(modest, max_examples=30)
    @given(st.integers(40, 60), st.sampled_from([0.7, 0.9]), st.integers(0, 120))
    def test_takes_no_step_beyond_the_limit_in_graphs_that_need_them(self, n, density, limit):
        adjacency = random_graph(n, density, n)
        found = largest_clique(adjacency, 3, limit)
        assert found.steps <= limit
        assert is_clique(adjacency, found.members)
        if found.proven:
            assert len(found.members) == len(largest_clique(adjacency, 3).members)

    def test_bounds_a_graph_by_its_neighbourhoods_before_any_search(self):
        # Colours of the whole graph or the degeneracy alone say 51 or more.
        assert largest_clique(random_graph(500, 0.4, 1), 10, max_steps=0).upper_bound <= 30

    def test_lowers_the_bound_as_the_search_goes_on(self):
        adjacency = random_graph(80, 0.8, 4)
        bounds = [largest_clique(adjacency, 3, steps).upper_bound for steps in (0, 900, 5_000)]
        assert bounds == sorted(bounds, reverse=True)
        assert len(set(bounds)) == 3
        assert bounds[-1] == 17

    def test_without_steps_is_undecided_where_only_a_search_decides(self):
        adjacency = joined_pentagons(5)
        found = largest_clique(adjacency, 11, max_steps=0)
        assert (found.members, found.proven, found.steps) == ((), False, 0)
        assert 11 <= found.upper_bound <= 15
        assert largest_clique(adjacency, 11).proven

    def test_keeps_the_proven_size_when_the_steps_end_among_equals(self):
        proven_at_once = largest_clique(without_pairs(40), 10, max_steps=0)
        assert len(proven_at_once.members) == 20
        assert (proven_at_once.proven, proven_at_once.upper_bound) == (True, 20)

    def test_equal_graphs_give_equal_results(self):
        adjacency = random_graph(200, 0.5, 8)
        for max_steps in (0, 50, 500):
            once = largest_clique(adjacency, 5, max_steps)
            assert once == largest_clique(adjacency.copy(), 5, max_steps)

    @pytest.mark.parametrize("max_steps", [0, 60, 10_000])
    def test_vertices_without_edges_between_the_others_change_nothing(self, max_steps):
        adjacency = random_graph(60, 0.6, 5)
        places = np.sort(np.random.default_rng(1).choice(300, 60, replace=False))
        wider = empty(300)
        wider[np.ix_(places, places)] = adjacency
        found, wide = (largest_clique(graph, 5, max_steps) for graph in (adjacency, wider))
        assert wide == replace(found, members=tuple(places[list(found.members)].tolist()))

    @pytest.mark.parametrize("max_steps", [0, 60, 10_000])
    def test_edges_outside_the_core_change_nothing(self, max_steps):
        adjacency = random_graph(200, 0.05, 6)
        adjacency[:70, :70] |= random_graph(70, 0.6, 7)
        kept = core(adjacency, 8)
        assert kept.sum() < adjacency.sum()
        once = largest_clique(adjacency, 8, max_steps)
        assert once.members
        assert once == largest_clique(kept, 8, max_steps)

    def test_a_larger_clique_is_preferred_to_an_earlier_one(self):
        adjacency = empty(40)
        for members in (range(10), range(20, 31)):
            adjacency = planted(adjacency, members)
        assert largest_clique(adjacency, 10).members == tuple(range(20, 31))
        assert decide_clique(adjacency, 10).members
