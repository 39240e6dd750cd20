import numpy as np
import pytest

from seedsweep.storage.settings.sampling import Blocks
from seedsweep.workers.analysis.descriptors import describe, descriptor_size, summarise


def slow_sums(values, side):
    """Sums over whole side x side blocks of (height, width, any) numbers."""
    rows, columns = values.shape[0] // side, values.shape[1] // side
    return [
        [
            sum(
                int(v) for v in values[side * r : side * (r + 1), side * c : side * (c + 1)].ravel()
            )
            for c in range(columns)
        ]
        for r in range(rows)
    ]


@pytest.mark.parametrize("coarse", [8, 16])
@pytest.mark.parametrize("fine", [2, 4, 8])
@pytest.mark.parametrize(("height", "width"), [(16, 16), (37, 50), (17, 9), (3, 8), (1, 1)])
def test_a_descriptor_holds_the_sums_of_whole_blocks(height, width, fine, coarse):
    pixels = np.random.default_rng(1).integers(0, 256, (height, width, 3), dtype=np.uint8)
    blocks = Blocks(fine=fine, coarse=coarse)
    found = summarise([describe(pixels, blocks)], height, width, blocks)
    assert len(found) == 1
    assert found.brightness[0].tolist() == slow_sums(pixels, fine)
    assert found.coarse_brightness[0].tolist() == slow_sums(pixels, coarse)
    assert found.red[0].tolist() == slow_sums(pixels[..., :1], coarse)
    assert found.blue[0].tolist() == slow_sums(pixels[..., 2:], coarse)
    assert found.energy[0].tolist() == slow_sums(pixels.astype(np.int64) ** 2, coarse)


@pytest.mark.parametrize("fine", [2, 4, 8])
def test_the_largest_sums_fit_what_is_stored(fine):
    white = np.full((16, 16, 3), 255, np.uint8)
    blocks = Blocks(fine=fine, coarse=16)
    found = summarise([describe(white, blocks)], 16, 16, blocks)
    assert (found.brightness == 765 * fine**2).all()
    assert found.red.item() == found.blue.item() == 255 * 256
    assert found.energy.item() == 255**2 * 768


def test_a_descriptor_takes_40_kb_at_512_px_and_as_much_less_as_there_are_fewer_pixels():
    for side in (512, 256, 64):
        pixels = np.zeros((side, side, 3), np.uint8)
        assert len(describe(pixels, Blocks())) == 40 * 1024 * side**2 // 512**2


def test_smaller_blocks_make_larger_descriptors():
    sizes = [descriptor_size(512, 512, Blocks(fine=f, coarse=16)) for f in (2, 4, 8)]
    assert sizes == sorted(sizes, reverse=True)


def test_summaries_are_in_the_order_of_the_descriptors_and_can_be_taken_from():
    pictures = [np.full((16, 16, 3), level, np.uint8) for level in (1, 2, 3)]
    found = summarise([describe(p, Blocks()) for p in pictures], 16, 16, Blocks())
    assert found.red.ravel().tolist() == [256, 512, 768]
    taken = found.take(np.array([2, 0]))
    assert taken.red.ravel().tolist() == [768, 256]
    assert taken.coarse_brightness.ravel().tolist() == [768 * 3, 256 * 3]
    assert len(taken) == 2


def test_a_descriptor_of_another_size_is_refused():
    descriptor = describe(np.zeros((32, 16, 3), np.uint8), Blocks())
    with pytest.raises(ValueError, match="16 x 16"):
        summarise([descriptor], 16, 16, Blocks())
    assert len(summarise([], 16, 16, Blocks())) == 0
