"""The pictures furthest from their neighbours, against all distances."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seedsweep.workers.analysis import cells, outliers
from seedsweep.workers.analysis.frames import frames_of
from seedsweep.workers.analysis.outliers import ThumbnailSpace, furthest, thumbnails
from tests.support.pictures import drawings


def slow(pictures, neighbours):
    """Of each picture its mean l2 to the nearest others."""
    values = pictures.astype(float)
    apart = np.sqrt(np.square(values[:, None] - values[None]).mean(axis=2)) / 255
    scores = []
    for place, row in enumerate(apart):
        others = np.sort(np.delete(row, place))
        scores.append(np.mean(others[:neighbours]) if len(others) else 0.0)
    return np.array(scores)


@given(st.integers(1, 70), st.integers(1, 60), st.integers(1, 9), st.integers(0, 10_000))
@settings(max_examples=40, derandomize=True, deadline=None)
def test_they_come_in_the_order_of_comparing_all(count, neighbours, levels, seed):
    rng = np.random.default_rng(seed)
    pictures = (rng.integers(-levels, levels, (count, 192)) * 14).astype(np.int8)
    pictures[rng.integers(count, size=count // 3)] = pictures[0]  # many distances are equal
    wanted = rng.random(count) < 0.8
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cells, "WHOLE", 8)
        patch.setattr(outliers, "_AT_ONCE", 3)
        patch.setattr(outliers, "_ROWS", 7)
        patch.setattr(outliers, "_CROWD", 5)
        found = list(furthest(ThumbnailSpace(pictures), wanted, neighbours))
    scores = slow(pictures, neighbours)
    assert sorted(place for place, _ in found) == np.flatnonzero(wanted).tolist()
    assert np.allclose([score for _, score in found], [scores[place] for place, _ in found])
    told = [(-score, place) for place, score in found]
    assert told == sorted(told)


def test_only_so_many_are_compared_with_all_as_are_asked_for():
    pictures = np.random.default_rng(0).integers(-20, 20, (500, 192)).astype(np.int8)
    pictures[77] = 127
    looked = []

    class Counting(ThumbnailSpace):
        def exact(self, places, count):
            looked.append(len(places))
            return super().exact(places, count)

    place, _ = next(furthest(Counting(pictures), np.ones(500, bool), 5))
    assert place == 77
    assert sum(looked) == outliers._AT_ONCE


def test_a_thumbnail_is_the_mean_of_areas():
    frames = frames_of(drawings(3, 1))
    means = frames.reshape(3, 8, 8, 8, 8, 3).mean(axis=(2, 4)).reshape(3, 192)
    assert np.abs(thumbnails(frames) - (means - 128)).max() <= 0.5
    assert thumbnails(frames[:0]).shape == (0, 192)
