"""Pictures laid at other scales many at a time: each as the slow search lays it alone."""

import numpy as np
import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from seedsweep.storage.settings.analysis import PartRule
from seedsweep.workers.analysis import part_scales, scaled_laying
from seedsweep.workers.analysis.moved_pictures import places, read_all_at, read_at
from seedsweep.workers.analysis.part_scales import LaidPictures
from seedsweep.workers.analysis.part_shifts import Laid, lay, reduce_pictures, twice_as_wide
from seedsweep.workers.analysis.scaled_laying import Lie, fitted
from tests.support.shifted_pictures import scaled
from tests.support.slow_scales import slow_fitted, slow_scaled
from tests.support.templates import noise

few = settings(max_examples=12, derandomize=True, deadline=None)
lies = st.builds(Lie, st.integers(920, 1080), st.integers(-40, 40), st.integers(-40, 40))


def brightness(seed, count, side):
    """Of pictures that show one subject, larger or smaller."""
    rng = np.random.default_rng(seed)
    how = [(int(rng.integers(930, 1071)), *rng.uniform(-1, 1, 2), False) for _ in range(count)]
    return reduce_pictures(scaled(rng, how, side, 0.4 * side))[..., 0]


@few
@given(seed=st.integers(0, 999), shape=st.sampled_from([(5, 9), (12, 7)]), data=st.data())
def test_many_pictures_are_read_between_pixels_as_each_alone(seed, shape, data):
    rng = np.random.default_rng(seed)
    pictures = rng.choice(np.array([0, 1, 128, 254, 255], np.uint8), (4, *shape))
    asked = data.draw(st.lists(lies, min_size=4, max_size=4))
    rows = np.stack([places(lie.down, lie.thousandths, shape[0]) for lie in asked])
    columns = np.stack([places(lie.right, lie.thousandths, shape[1]) for lie in asked])
    read = read_all_at(pictures.astype(np.float32), rows, columns)
    for place, picture in enumerate(pictures):
        assert (read[place] == read_at(picture, rows[place], columns[place])).all()


@few
@given(seed=st.integers(0, 999), data=st.data(), whole_numbers=st.sampled_from([53, 30]))
def test_many_pictures_are_laid_as_the_slow_search_lays_each(seed, data, whole_numbers):
    mine, others = brightness(seed, 3, 14), brightness(seed, 3, 14)[::-1]
    rng = np.random.default_rng(seed)
    chosen = np.zeros((3, 14, 14), np.bool_)
    chosen[0, 2:12, 1:13] = rng.random((10, 12)) < 0.8
    chosen[1, 3:6, 4:13] = chosen[2, :2, :5] = True
    from_here = [Lie(1000, *data.draw(st.tuples(st.integers(-20, 20), st.integers(-20, 20))))] * 3
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scaled_laying, "_EXACT", whole_numbers)
        both = (each.astype(np.float32) for each in (mine, others))
        found = fitted(*both, chosen, np.stack([lie.row() for lie in from_here]), 80)
    for place, lie in enumerate(map(Lie.of, found)):
        event("moved" if lie != from_here[place] else "stays")
        one, other, marked = mine[place], others[place], chosen[place]
        assert lie == slow_fitted(one, other, marked, from_here[place], 80)


@few
@given(seed=st.integers(0, 999), mirror=st.booleans(), scale=st.sampled_from([0.03, 0.08]))
def test_pairs_are_scaled_as_the_slow_search_scales_each(seed, mirror, scale):
    rng = np.random.default_rng(seed)
    how = [(int(rng.integers(920, 1081)), *rng.uniform(-1, 1, 2), mirror and n == 1)
           for n in range(3)]  # fmt: skip
    pictures = np.concatenate([scaled(rng, how, 24, 9), noise(rng, 1, 24)])
    rule = PartRule(grid=4, least=4, shift=0.05, scale=scale, mirror=mirror)
    reduced = reduce_pictures(pictures)
    near = lay(reduced, rule.model_copy(update={"least": 2}), 2)
    with pytest.MonkeyPatch.context() as patch:
        # Two pairs at once, so that some are together and one is alone.
        patch.setattr(part_scales, "_VALUES", 2 * 24 * 24)
        known = LaidPictures(reduced, rule, 1).pairs()
    wide, asked = twice_as_wide(rule), np.argwhere(near.best >= 0).tolist()
    for first, second in asked:
        way, tiles = near.shifts[near.best[first, second]], near.same[:, first, second].tolist()
        wanted = slow_scaled(
            reduced[first, ..., 0], reduced[second, ..., 0], way, tiles, rule, wide
        )
        got = known.get((first, second))
        event("scaled" if wanted else "not scaled")
        assert (got and (got.lie, got.same.tolist())) == wanted
        assert got is None or got.mirrored == way.mirrored
    assert {*known} <= {tuple(pair) for pair in asked}


def test_pairs_that_lie_nowhere_near_are_not_tried():
    pictures = reduce_pictures(noise(np.random.default_rng(0), 3, 24))
    laid = LaidPictures(pictures, PartRule(grid=4, least=9, shift=0.05, scale=0.08), 1)
    assert isinstance(laid.laid, Laid)
    assert laid.scaled([(0, 1), (2, 0)]) == [None, None]
