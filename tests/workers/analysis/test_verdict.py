from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seedsweep.workers.analysis.cliques import core
from seedsweep.workers.analysis.distances import tiled_distances, tiled_edges, tiled_to
from seedsweep.workers.analysis.verdict import JudgedClique, Verdict, judge, verdict_of

modest = settings(max_examples=60, derandomize=True, deadline=None)


def flat(*levels):
    return np.stack([np.full((4, 4, 3), level, np.uint8) for level in levels])


def unflagged(edges, bound):
    return Verdict(edges=edges, cliques=(), clique_proven=True, clique_upper_bound=bound)


def largest(*arguments):
    return judge(*arguments).cliques[0]


def cliques_apart(edges, at_least):
    """By the definition, slowly: the largest, then the largest of what no edge joins to those."""
    joined, left, found = core(edges, at_least), list(range(len(edges))), []
    while members := first_largest_clique(joined[np.ix_(left, left)], at_least):
        found.append(tuple(left[member] for member in members))
        left = [v for v in left if v not in found[-1] and not joined[v, list(found[-1])].any()]
    return found


def first_largest_clique(edges, at_least):
    for size in range(len(edges), at_least - 1, -1):
        for members in combinations(range(len(edges)), size):
            if all(edges[a, b] for a, b in combinations(members, 2)):
                return members
    return ()


@st.composite
def prompts(draw):
    count = draw(st.integers(0, 8))
    levels = draw(st.lists(st.integers(0, 60), min_size=count, max_size=count))
    seeds = draw(st.lists(st.integers(0, 2**63), min_size=count, max_size=count, unique=True))
    images = np.stack([flat(0)[0], *flat(*levels)])[1:] if count else flat(0)[:0]
    images[:, 2:, 2:, 1] += 3 * images[:, 2:, 2:, 1]
    return images, seeds


@modest
@given(prompts(), st.integers(2, 4))
def test_a_verdict_is_what_the_definitions_say(prompt, min_clique_size):
    images, seeds = prompt
    picture = dict(zip(seeds, images, strict=True))
    ordered = sorted(seeds)
    edges = tiled_edges(
        np.array([picture[s] for s in ordered], np.uint8).reshape(images.shape), 2, 0.1
    )
    found = [tuple(ordered[v] for v in c) for c in cliques_apart(edges, min_clique_size)]
    expected = found[0] if found else ()

    verdict = judge(images, seeds, 2, 0.1, min_clique_size)

    assert [clique.seeds for clique in verdict.cliques] == found
    assert verdict.flagged == bool(expected)
    assert verdict.clique_proven
    assert verdict.clique_upper_bound == (len(expected) or min_clique_size - 1)
    assert verdict.edges == core(edges, min_clique_size).sum() / 2
    for clique in verdict.cliques:
        far = {
            seed: sum(tiled_to(picture[seed], picture[other], 2) for other in clique.seeds)
            for seed in clique.seeds
        }
        pairs = len(clique.seeds) * (len(clique.seeds) - 1)
        assert clique.mean_distance == pytest.approx(sum(far.values()) / pairs)
        assert far[clique.representative_seed] == pytest.approx(min(far.values()))


@modest
@given(prompts(), st.randoms(use_true_random=False))
def test_the_order_of_the_generations_changes_nothing(prompt, random):
    images, seeds = prompt
    order = random.sample(range(len(seeds)), len(seeds))
    shuffled = judge(images[order], [seeds[i] for i in order], 2, 0.1, 2)
    assert shuffled == judge(images, seeds, 2, 0.1, 2)


def test_the_same_picture_again_and_again_is_flagged():
    images = flat(*[90] * 12)
    verdict = judge(images, range(100, 112), 4, 0.1, 10)
    assert verdict == Verdict(
        edges=66,
        cliques=(JudgedClique(tuple(range(100, 112)), 0.0, 100),),
        clique_proven=True,
        clique_upper_bound=12,
    )
    assert verdict.flagged


def test_each_picture_that_a_prompt_repeats_is_a_clique_of_its_own():
    images = flat(*[90] * 4, *[200] * 6, *[10] * 5, 130)
    verdict = judge(images, range(16), 2, 0.1, 5)
    assert [clique.seeds for clique in verdict.cliques] == [
        (4, 5, 6, 7, 8, 9),
        (10, 11, 12, 13, 14),
    ]
    assert [clique.representative_seed for clique in verdict.cliques] == [4, 10]


def test_near_copies_beside_the_largest_clique_are_no_other_picture():
    # Each is within 24 levels of the next; no clique holds all, and none is of another picture.
    images = flat(*[100] * 3, *[120] * 5, *[140] * 4)
    verdict = judge(images, range(12), 1, 0.1, 3)
    assert [clique.seeds for clique in verdict.cliques] == [tuple(range(3, 12))]


def test_a_clique_of_just_the_wanted_size_is_flagged_and_one_less_is_not():
    images = flat(5, 5, 5, 250, 120)
    assert largest(images, range(5), 2, 0.1, 3).seeds == (0, 1, 2)
    assert judge(images, range(5), 2, 0.1, 4) == unflagged(edges=0, bound=3)


def test_edges_count_only_in_the_core():
    # Two pairs and a triangle: for cliques of 3 only the triangle's edges count.
    images = flat(0, 0, 100, 100, 200, 200, 200)
    assert judge(images, range(7), 2, 0.1, 2).edges == 5
    assert judge(images, range(7), 2, 0.1, 3).edges == 3


def test_a_core_without_the_wanted_clique_still_counts_its_edges():
    octahedron = ~np.eye(6, dtype=bool)
    for vertex in range(6):
        octahedron[vertex, (vertex + 3) % 6] = False
    # No clique of 4, yet each edge lies in two triangles.
    verdict = verdict_of(octahedron, pytest.fail, range(6), 4)
    assert verdict == unflagged(edges=12, bound=3)


@pytest.mark.parametrize("count", [0, 1])
def test_too_few_generations_for_a_pair_are_not_flagged(count):
    assert judge(flat(5)[:count], [7][:count], 2, 0.1, 2) == unflagged(edges=0, bound=1)


def test_the_representative_is_the_medoid():
    # 20 is in the middle; 0 and 40 are ends.
    clique = largest(flat(0, 40, 20), [1, 2, 3], 1, 0.2, 2)
    assert clique.representative_seed == 3
    assert clique.mean_distance == pytest.approx((20 + 20 + 40) / 3 / 255)


def test_the_representative_is_chosen_by_the_worst_tile():
    images = flat(0, 0, 0)
    images[1, :2, :2] = 24  # tiled l2 24, plain l2 12 from the first
    images[2] = 16
    # Tiled sums are 40, 40, 32; plain sums are 28, 26.4 and 30.4: the second would be first.
    assert largest(images, [1, 2, 3], 2, 0.2, 3).representative_seed == 3


def test_the_smallest_seed_represents_among_equals():
    assert largest(flat(10, 0), [8, 5], 1, 0.1, 2).representative_seed == 5
    assert largest(flat(0, 30, 10, 20), [9, 8, 7, 6], 1, 0.2, 4).representative_seed == 6


def test_among_equally_large_cliques_the_smallest_seeds_are_taken():
    images = flat(0, 0, 200, 200)
    assert largest(images, [4, 30, 5, 6], 1, 0.1, 2).seeds == (4, 30)
    assert largest(images, [40, 30, 5, 6], 1, 0.1, 2).seeds == (5, 6)


def test_the_worst_tile_keeps_pictures_with_the_same_background_apart():
    images = flat(0, 0)
    images[1, :2, :2] = 40  # plain l2 20 / 255, tiled l2 40 / 255
    assert judge(images, [0, 1], 1, 0.1, 2).flagged
    assert not judge(images, [0, 1], 2, 0.1, 2).flagged


def test_seeds_beyond_64_bits_are_kept_whole():
    clique = largest(flat(3, 9, 6), [2**70 + 2, 2**70, 2**70 + 1], 1, 0.1, 2)
    assert clique.seeds == (2**70, 2**70 + 1, 2**70 + 2)
    assert clique.representative_seed == 2**70 + 1


def test_a_graph_with_the_same_core_has_the_same_verdict():
    rng = np.random.default_rng(5)
    images = flat(*rng.integers(0, 60, 30), *rng.integers(150, 255, 10))
    edges, distances = tiled_edges(images, 2, 0.03), tiled_distances(images, 2)

    def of(members):
        return distances[np.ix_(members, members)]

    whole = verdict_of(edges, of, range(40), 5)
    assert whole.flagged
    assert not np.array_equal(core(edges, 5), edges)
    assert verdict_of(core(edges, 5), of, range(40), 5) == whole
    assert judge(images, range(40), 2, 0.03, 5) == whole


def test_the_step_limit_reaches_the_search():
    pentagons = ~np.eye(50, dtype=bool)
    for vertex in range(50):
        other = vertex // 5 * 5 + (vertex + 1) % 5
        pentagons[vertex, other] = pentagons[other, vertex] = False

    def of(members):
        return np.ones((len(members), len(members)))

    verdict = verdict_of(pentagons, of, range(50), 10, max_steps=3)
    [clique] = verdict.cliques
    assert (len(clique.seeds), verdict.clique_proven) == (20, False)
    assert 20 < verdict.clique_upper_bound <= 30


def test_repeated_seeds_are_refused():
    with pytest.raises(ValueError, match="different"):
        judge(flat(1, 2, 3), [5, 6, 5], 1, 0.1, 2)


def test_a_wrong_number_of_seeds_is_refused():
    with pytest.raises(ValueError, match="2 images, but 3 seeds"):
        judge(flat(1, 2), [5, 6, 7], 1, 0.1, 2)
    with pytest.raises(ValueError, match="1 seeds, but"):
        verdict_of(np.zeros((2, 2), bool), pytest.fail, [5], 2)


def test_a_graph_whose_seeds_do_not_ascend_is_refused():
    with pytest.raises(ValueError, match="ascending"):
        verdict_of(np.zeros((2, 2), bool), pytest.fail, [6, 5], 2)


def test_a_clique_of_fewer_than_two_is_refused():
    with pytest.raises(ValueError, match="min_clique_size"):
        judge(flat(1, 2), [5, 6], 1, 0.1, 1)
