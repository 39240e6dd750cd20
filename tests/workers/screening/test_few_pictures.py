"""The scores of a few pictures, against their formulas written out."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image
from scipy.signal import convolve2d

from seedsweep.workers.analysis.distances import tiled_to
from seedsweep.workers.screening.few_pictures import EDGE_SIDE, closest_pair, edge_consistency
from tests.support.pictures import drawings


@settings(max_examples=30)
@given(arrays(np.uint8, st.tuples(st.integers(2, 5), st.just(6), st.just(4), st.just(3))))
def test_the_closest_pair_is_the_least_tiled_distance_less_than_zero(pixels):
    expected = -min(tiled_to(a, b, 2) for a, b in combinations(pixels, 2))
    assert closest_pair(pixels, 2) == expected
    assert closest_pair(pixels[::-1], 2) == expected


def test_one_repeat_is_enough_and_one_picture_is_no_pair():
    pictures = np.random.default_rng(0).integers(0, 256, (4, 8, 8, 3), dtype=np.uint8)
    assert closest_pair(pictures, 2) < 0
    assert closest_pair(np.concatenate([pictures, pictures[2:3]]), 2) == 0
    assert closest_pair(pictures[:1], 2) == closest_pair(pictures[:0], 2) == -1


DOWN = np.outer([1, 0, -1], [1, 2, 1])


def edges_by_hand(picture):
    """Webster's edges of a picture that has his size already."""
    red, green, blue = np.moveaxis(picture / 255, 2, 0)
    smoothed = (3 * red + green, red + 2 * green + blue, green + 3 * blue)
    slopes = [
        np.hypot(*(convolve2d(channel, kernel, "same", "symm") for kernel in (DOWN, DOWN.T)))
        for channel in smoothed
    ]
    return sum(slopes) > 1.5


def test_edge_consistency_is_the_share_of_edges_that_most_pictures_have():
    pictures = drawings(3, 1, side=EDGE_SIDE)
    edges = np.stack([edges_by_hand(picture) for picture in pictures])
    expected = np.mean(edges.sum(axis=0) >= 2)
    assert 0 < expected < 1
    assert edge_consistency(pictures) == pytest.approx(expected, abs=1e-4)


@settings(max_examples=5)
@given(st.permutations(range(4)))
def test_edge_consistency_does_not_depend_on_the_order(order):
    pictures = drawings(4, 2, side=32)
    assert edge_consistency(pictures[list(order)]) == edge_consistency(pictures)


def test_pictures_that_repeat_have_more_edges_in_common():
    pictures = drawings(5, 3)
    repeated = np.stack([pictures[0]] * 4)
    assert edge_consistency(repeated) == edge_consistency(pictures[:1]) > 0
    assert edge_consistency(pictures[1:]) < edge_consistency(repeated)
    plain = np.asarray(Image.new("RGB", (64, 64), "grey"))[None]
    assert edge_consistency(plain) == 0
