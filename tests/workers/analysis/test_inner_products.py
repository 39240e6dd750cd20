import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from seedsweep.storage.errors import ConfigError
from seedsweep.workers.analysis.distances import tiled_pairs
from seedsweep.workers.analysis.inner_products import (
    TorchMaskedSums,
    TorchProducts,
    masked_sums,
    products,
)


@pytest.fixture(scope="module")
def on_device():
    """The very code that runs on a CUDA device."""
    return TorchProducts("cpu")


def integer_products(first, second):
    return (first.astype(np.int64) - 128) @ (second.astype(np.int64) - 128).T


@st.composite
def two_sets_of_rows(draw):
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    values = draw(st.sampled_from([1, 3, 1023, 1024, 1025, 5000]))
    low, high = draw(st.sampled_from([(0, 256), (0, 1), (255, 256), (126, 131)]))
    sizes = draw(st.integers(0, 7)), draw(st.integers(1, 7))
    return [rng.integers(low, high, (size, values), dtype=np.uint8) for size in sizes]


@settings(deadline=None, max_examples=60)
@given(two_sets_of_rows())
def test_products_are_those_of_integers(rows):
    first, second = rows
    assert np.array_equal(products(first, second), integer_products(first, second))
    assert np.array_equal(products(second, second), integer_products(second, second))


@settings(deadline=None, max_examples=60)
@given(two_sets_of_rows())
def test_products_on_a_device_are_those_of_integers(on_device, rows):
    first, second = rows
    assert np.array_equal(on_device(first, second), integer_products(first, second))
    assert np.array_equal(on_device(second, second), integer_products(second, second))


def test_distances_are_the_same_whatever_computes_them(on_device):
    rng = np.random.default_rng(0)
    base = rng.integers(0, 256, (1, 40, 30, 3))
    images = np.clip(base + rng.integers(-60, 61, (20, 40, 30, 3)), 0, 255).astype(np.uint8)
    pairs, there = tiled_pairs(images, 4, 0.19), tiled_pairs(images, 4, 0.19, on_device)
    assert 0 < pairs.edges.sum() < 380
    assert np.array_equal(there.edges, pairs.edges)
    assert np.array_equal(there.distances, pairs.distances)


class Rounding(TorchProducts):
    """A device that multiplies in bfloat16 and keeps sums in it, too."""

    def __call__(self, first, second):
        left, right = (torch.from_numpy(x.astype(np.float32) - 128) for x in (first, second))
        return (left.bfloat16() @ right.bfloat16().T).double().numpy()


def test_a_device_that_rounds_is_refused():
    with pytest.raises(ConfigError, match="--device cpu"):
        Rounding("cpu")


@pytest.mark.parametrize("inside", [0.01, 0.5, 1.0])
def test_masked_sums_of_torch_are_those_of_numpy(inside):
    rng = np.random.default_rng(3)
    sums = TorchMaskedSums("cpu")
    for count in (0, 1, 7):
        pictures = rng.integers(0, 256, (count, 40, 33, 3), dtype=np.uint8)
        pictures[:1] = 255
        for _ in range(2):
            mask = rng.random((40, 33)) < inside
            mask[0, 0] = True
            values = rng.integers(-128, 128, (int(mask.sum()), 3)).astype(np.float64)
            wanted = masked_sums(pictures, mask, values)
            for one, other in zip(sums(pictures, mask, values), wanted, strict=True):
                assert one.dtype == np.float64
                assert np.array_equal(one, other)


def test_masked_sums_on_a_device_that_is_not_there_are_refused():
    with pytest.raises(ConfigError, match="verify with --device cpu"):
        TorchMaskedSums("cuda:99")
