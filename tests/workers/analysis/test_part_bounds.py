"""Bounds on parts from descriptors: they reject no pair that pixels call the same."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seedsweep.storage.settings.analysis import PartRule
from seedsweep.storage.settings.sampling import Blocks
from seedsweep.workers.analysis.descriptors import describe, summarise
from seedsweep.workers.analysis.part_bounds import (
    part_candidates,
    possible_tiles,
    project_coarse,
    project_fine,
)
from seedsweep.workers.analysis.parts import find_parts, same_tiles
from tests.support.templates import noise, template

few = settings(max_examples=80, derandomize=True, deadline=None)
SHAPES = ((32, 32), (48, 64), (50, 33), (64, 64), (128, 96))
BLOCKS = (Blocks(), Blocks(fine=4, coarse=8), Blocks(fine=2, coarse=8))


def pictures(rng, height, width, grain):
    """Some repeat a part, some differ in contrast or tint alone, some are plain."""
    side = 4 * max(height, width)
    rows, columns = slice(0, 2 * height // 3), slice(width // 4, width)
    made = np.concatenate([template(rng, 5, rows, columns, side), noise(rng, 4, side)])
    made = made[:, :height, :width].astype(float)
    made[5] = (made[0] - 128) * rng.uniform(0.5, 1) + 128
    made[6] = made[1] + rng.integers(-30, 30, 3)
    made[7] = rng.integers(0, 256, 3) + rng.normal(0, 9, (height, width, 3))
    made += rng.integers(-grain, grain + 1, made.shape)
    return np.clip(made, 0, 255).astype(np.uint8)


def summaries_of(made, blocks):
    height, width = made.shape[1:3]
    return summarise([describe(each, blocks) for each in made], height, width, blocks)


@few
@given(
    seed=st.integers(0, 10_000),
    shape=st.sampled_from(SHAPES),
    blocks=st.sampled_from(BLOCKS),
    grain=st.sampled_from([0, 4, 10, 13, 25]),
    rule=st.builds(
        PartRule,
        grid=st.sampled_from([2, 4, 5, 8]),
        least=st.integers(1, 8),
        correlation=st.sampled_from([0.0, 0.5, 0.8, 1.0]),
        distance=st.sampled_from([0.01, 0.05, 0.2]),
        texture=st.sampled_from([0.001, 0.03, 0.1]),
    ),
)
def test_no_pair_is_rejected_that_is_the_same_and_no_part_is_lost(seed, shape, blocks, grain, rule):
    made = pictures(np.random.default_rng(seed), *shape, grain)
    summaries, size = summaries_of(made, blocks), 3
    same = same_tiles(made, rule)
    for project in (project_coarse, project_fine):
        possible = possible_tiles(summaries, *shape, rule, project)
        assert not (same & ~possible).any()
        assert (possible == possible.swapaxes(1, 2)).all()
        assert not possible.diagonal(axis1=1, axis2=2).any()
    left = part_candidates(summaries, *shape, rule, size)
    whole = find_parts(same, size, rule.least, 10**6)
    pruned = same_tiles(made[left.images], rule, among=left.pairs)
    names = left.images.tolist()
    assert [
        (names[part.centre], part.tiles, [names[i] for i in part.members],
         [names[i] for i in part.shared])
        for part in find_parts(pruned, size, rule.least, 10**6).parts
    ] == [
        (part.centre, part.tiles, [*part.members], [*part.shared]) for part in whole.parts
    ]  # fmt: skip


@pytest.mark.parametrize("side", [128, 192])
def test_pictures_that_repeat_nothing_are_all_ruled_out(side):
    rng = np.random.default_rng(0)
    made = noise(rng, 40, side // 2).repeat(2, axis=1).repeat(2, axis=2)
    rule, blocks = PartRule(), Blocks()
    left = part_candidates(summaries_of(made, blocks), side, side, rule, 4)
    assert (len(left.images), left.pairs.any()) == (0, False)
    made[:5, : side // 2] = made[0, : side // 2]
    left = part_candidates(summaries_of(made, blocks), side, side, rule, 4)
    assert left.images.tolist() == [0, 1, 2, 3, 4]
    tiles = left.pairs.any(axis=(1, 2))
    assert tiles[:32].all()
    assert tiles[32:].sum() <= 4  # two pictures can be near by chance, for all that is known


def test_no_picture_has_no_part():
    empty = np.zeros((0, 32, 32, 3), np.uint8)
    assert not len(part_candidates(summaries_of(empty, Blocks()), 32, 32, PartRule(), 3).images)
