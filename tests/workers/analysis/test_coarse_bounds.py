"""Bounds of pictures from a few numbers: never more than the distance, and often near to it."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.pictures import pink
from seedsweep.workers.analysis.coarse_bounds import Coarse

modest = settings(max_examples=60, derandomize=True, deadline=None)


def slow_squared(first, second):
    return np.square(first[:, None].astype(np.int64) - second[None].astype(np.int64)).sum(axis=2)


@modest
@given(
    st.integers(1, 20),
    st.integers(1, 20),
    st.sampled_from([1, 2, 7, 255]),
    st.sampled_from(["noise", "one value but for a pixel", "flat"]),
    st.integers(0, 10_000),
)
def test_no_bound_is_more_than_the_distance(height, width, step, kind, seed):
    rng = np.random.default_rng(seed)
    made = rng.integers(0, 256, (6, height, width, 3))
    if kind != "noise":
        made[:] = rng.integers(0, 256, (6, 1, 1, 1))
    if kind == "one value but for a pixel":
        made[:, 0, 0, 0] += 1
    rows = ((made // step * step) % 256).astype(np.uint8).reshape(6, -1)
    known = Coarse.of(rows, (height, width))
    assert (known.lower_bounds(known) <= slow_squared(rows, rows)).all()


@pytest.mark.parametrize("side", [32, 128])
def test_of_pictures_with_the_spectrum_of_photographs_they_tell_about_half_of_it(side):
    rows = pink(12, side, seed=0).reshape(12, -1)
    known = Coarse.of(rows, (side, side))
    share = known.lower_bounds(known) / np.maximum(slow_squared(rows, rows), 1)
    assert np.median(share[~np.eye(12, dtype=bool)]) > 0.45
