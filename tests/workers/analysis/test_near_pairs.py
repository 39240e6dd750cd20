"""Near pairs of many pictures are those of all pairs, and so is the verdict on them."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seedsweep.storage.settings.sampling import Blocks
from seedsweep.workers.analysis import near_pairs as module
from seedsweep.workers.analysis.descriptors import describe, summarise
from seedsweep.workers.analysis.distances import tiled_distances, tiled_edges
from seedsweep.workers.analysis.near_pairs import features, near_pairs
from seedsweep.workers.analysis.sparse_verdict import verdict_of_pairs
from seedsweep.workers.analysis.verdict import verdict_of

SIZES = [(32, 32), (16, 24), (20, 12), (7, 5), (40, 72)]


def pictures_of(seed, count, size, families):
    """Pictures of some families: those of one are a base with noise, more or less of it."""
    random = np.random.default_rng(seed)
    bases = random.integers(0, 256, (families, *size, 3))
    smooth = random.random(families) < 0.5
    bases[smooth] = bases[smooth].mean(axis=(1, 2), keepdims=True)
    strength = random.choice([1, 12, 30, 60], count)[:, None, None, None]
    noise = random.normal(size=(count, *size, 3)) * strength
    made = bases[random.integers(0, families, count)] + noise
    return made.clip(0, 255).round().astype(np.uint8)


def summaries_of(pictures, blocks):
    size = pictures.shape[1:3]
    return summarise([describe(each, blocks) for each in pictures], *size, blocks)


def pairs_of(edges):
    """The oracle: the edges of all pairs, listed."""
    return np.argwhere(np.triu(edges))


@settings(deadline=None, max_examples=10)
@given(
    seed=st.integers(0, 2**32),
    size=st.sampled_from(SIZES),
    tiles=st.integers(1, 4),
    threshold=st.sampled_from([0.02, 0.05, 0.1, 0.2, 0.5]),
    blocks=st.sampled_from([Blocks(), Blocks(fine=2, coarse=8), Blocks(fine=8, coarse=8)]),
    box=st.sampled_from([1, 3, 8, 256]),
)
def test_near_pairs_are_the_edges_of_all_pairs(seed, size, tiles, threshold, blocks, box):
    pictures = pictures_of(seed, 40, size, 5)
    asked = []

    def read(places):
        asked.extend(places.tolist())
        return pictures[places]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_BOX", box)
        found = near_pairs(summaries_of(pictures, blocks), size, tiles, threshold, read, 10**6)
    assert np.array_equal(found, pairs_of(tiled_edges(pictures, tiles, threshold)))
    assert asked == sorted(set(asked))


@settings(deadline=None, max_examples=8)
@given(seed=st.integers(0, 2**32), size=st.sampled_from(SIZES))
def test_features_are_no_further_apart_than_the_pictures(seed, size):
    pictures = pictures_of(seed, 12, size, 3)
    rows = features(summaries_of(pictures, Blocks()), size).astype(np.float64)
    flat = pictures.reshape(len(pictures), -1).astype(np.float64)
    true = np.square(flat[:, None] - flat[None]).sum(axis=2)
    bound = np.square(rows[:, None] - rows[None]).sum(axis=2)
    assert (bound <= true * (1 + 1e-5) + 1).all()


def test_pictures_without_any_that_is_near_are_not_looked_at():
    pictures = np.arange(0, 250, 25, dtype=np.uint8)[:, None, None, None] * np.ones(
        (1, 32, 32, 3), np.uint8
    )

    def read(places):
        assert not len(places)
        return pictures[places]

    found = near_pairs(summaries_of(pictures, Blocks()), (32, 32), 4, 0.05, read, 10)
    assert found.shape == (0, 2)


def test_more_pairs_than_memory_is_for_are_none():
    pictures = np.zeros((6, 8, 8, 3), np.uint8)
    found = [
        near_pairs(summaries_of(pictures, Blocks()), (8, 8), 2, 0.1, pictures.__getitem__, most)
        for most in (14, 15)
    ]
    assert found[0] is None
    assert len(found[1]) == 15


@settings(deadline=None, max_examples=60)
@given(
    seed=st.integers(0, 2**32),
    count=st.integers(0, 40),
    density=st.sampled_from([0.02, 0.1, 0.3, 0.6]),
    size=st.integers(2, 5),
)
def test_the_verdict_on_pairs_is_that_on_the_whole_graph(seed, count, density, size):
    random = np.random.default_rng(seed)
    edges = np.triu(random.random((count, count)) < density, 1)
    edges |= edges.T
    seeds = np.cumsum(random.integers(1, 5, count)).tolist()
    lengths = random.random((count, count))
    lengths += lengths.T
    np.fill_diagonal(lengths, 0)

    def distances(members):
        return lengths[np.ix_(members, members)]

    expected = verdict_of(edges, distances, seeds, size, 10**6)
    found = verdict_of_pairs(pairs_of(edges), distances, seeds, size, 10**6)
    assert found == expected


def test_a_component_that_is_too_large_is_judged_in_part_and_says_so():
    pairs = pairs_of(~np.eye(10, dtype=bool))

    def distances(members):
        return np.ones((len(members), len(members))) - np.eye(len(members))

    verdict = verdict_of_pairs(pairs, distances, list(range(10)), 3, largest=4)
    assert verdict.cliques[0].seeds == (0, 1, 2, 3)
    assert not verdict.clique_proven
    assert verdict.clique_upper_bound == 10


def test_the_verdict_on_pictures_is_that_of_all_pairs():
    pictures = pictures_of(3, 60, (16, 16), 12)
    seeds = list(range(100, 160))

    def distances(members):
        return tiled_distances(pictures[list(members)], 4)

    pairs = near_pairs(
        summaries_of(pictures, Blocks()), (16, 16), 4, 0.1, pictures.__getitem__, 10**6
    )
    expected = verdict_of(tiled_edges(pictures, 4, 0.1), distances, seeds, 3)
    assert expected.flagged
    assert verdict_of_pairs(pairs, distances, seeds, 3) == expected
