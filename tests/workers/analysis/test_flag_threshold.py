"""From which edge threshold on a prompt is flagged."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seedsweep.workers.analysis.distances import tiled_distances, tiled_edges
from seedsweep.workers.analysis.flag_threshold import STEPS, critical_steps, steps_of, threshold_of

modest = settings(max_examples=60, derandomize=True, deadline=None)
SIZES = (2, 3, 4, 5)


@st.composite
def matrices(draw):
    count = draw(st.integers(0, 9))
    pairs = count * (count - 1) // 2
    values = st.integers(0, 12) | st.integers(0, 1000)
    drawn = draw(st.lists(values, min_size=pairs, max_size=pairs))
    distances = np.zeros((count, count))
    distances[np.triu_indices(count, 1)] = np.array(drawn) / 1000
    return distances + distances.T


def brute_force(distances, size):
    """Over all sets of that size: the closest one's farthest pair, as a step."""
    found = [
        max(distances[a, b] for a, b in combinations(members, 2))
        for members in combinations(range(len(distances)), size)
    ]
    return max(1, round(min(found) * STEPS)) if found else None


def pictures(count, levels, seed):
    return np.random.default_rng(seed).integers(0, levels, (count, 5, 5, 3), dtype=np.uint8)


@modest
@given(matrices())
def test_the_critical_step_is_that_of_the_closest_clique_among_all_sets(distances):
    found = critical_steps(distances, SIZES)
    assert [each.step for each in found] == [brute_force(distances, size) for size in SIZES]
    assert all(each.decided for each in found)


@modest
@given(matrices())
def test_larger_cliques_need_the_same_threshold_or_a_larger_one(distances):
    steps = [each.step for each in critical_steps(distances, SIZES) if each.step is not None]
    assert steps == sorted(steps)


@modest
@given(matrices(), st.integers(0, 200))
def test_prompts_whose_pictures_are_further_apart_have_no_smaller_score(distances, more):
    apart = np.minimum(distances + more / 1000, 1.0)
    np.fill_diagonal(apart, 0.0)
    for near, far in zip(
        critical_steps(distances, SIZES), critical_steps(apart, SIZES), strict=True
    ):
        assert near.step is None or near.step <= far.step


@modest
@given(matrices())
def test_the_members_are_a_clique_at_that_threshold(distances):
    for each in critical_steps(distances, SIZES):
        if each.step is not None:
            assert len(each.members) >= each.size
            threshold = threshold_of(each.step) + 1e-12
            assert all(distances[a, b] <= threshold for a, b in combinations(each.members, 2))


@pytest.mark.parametrize("tiles", [1, 2, 5])
def test_a_step_has_the_very_edges_of_its_threshold(tiles):
    images = np.concatenate([pictures(6, 256, 0), pictures(6, 40, 1)])
    steps = steps_of(tiled_distances(images, tiles))
    np.fill_diagonal(steps, STEPS + 1)
    for step in range(1, STEPS + 1):
        assert np.array_equal(steps <= step, tiled_edges(images, tiles, threshold_of(step)))


@pytest.mark.parametrize("level", [0, 1, 51, 102, 153, 254, 255])
def test_a_pair_exactly_at_a_threshold_is_an_edge_there(level):
    images = np.stack([np.zeros((4, 4, 3), np.uint8), np.full((4, 4, 3), level, np.uint8)])
    step = int(steps_of(tiled_distances(images, 2))[0, 1])
    assert tiled_edges(images, 2, threshold_of(step))[0, 1]
    if level in (51, 102, 153, 255):
        assert threshold_of(step) == level / 255
    if step > 1:
        assert not tiled_edges(images, 2, threshold_of(step - 1))[0, 1]


def test_a_pair_at_exactly_a_threshold_that_no_float_holds_is_an_edge_there():
    # 5 x 5 pixels whose squares add up to 75 · (0.12 · 255)².
    levels = [30] * 45 + [28] * 15 + [33] * 3 + [35] * 12
    image = np.array(levels, np.uint8).reshape(5, 5, 3)
    images = np.stack([np.zeros_like(image), image])
    assert tiled_edges(images, 1, 0.12)[0, 1]
    assert steps_of(tiled_distances(images, 1))[0, 1] == 120


def test_a_search_that_ends_early_says_so_and_errs_to_the_larger_threshold():
    generator = np.random.default_rng(3)
    upper = np.triu(generator.choice([0.1, 0.9], (60, 60)), 1)
    distances = upper + upper.T
    (full,), (short,) = critical_steps(distances, [9]), critical_steps(distances, [9], 0)
    assert full.decided
    assert not short.decided
    assert short.step >= full.step


def test_a_clique_of_one_is_refused():
    with pytest.raises(ValueError, match="two members"):
        critical_steps(np.zeros((3, 3)), [1])
