from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from seedsweep.storage.prompt_results import Transform
from seedsweep.storage.records import Flaw
from seedsweep.storage.settings.analysis import Analysis, AnalysisSettings, PartRule, Verification
from seedsweep.storage.settings.sampling import Blocks
from seedsweep.workers.analysis.inner_products import TorchProducts
from seedsweep.workers.analysis.nearest import describe_training
from seedsweep.workers.analysis.verdict import judge
from seedsweep.workers.analysts.prompt_result import (
    analyse_prompt,
    analyse_stored,
    possible_edges,
    result_of,
)
from seedsweep.workers.training.index import TrainingSet
from tests.support.templates import noise, template

SETTINGS = AnalysisSettings(analysis=Analysis(min_clique_size=4))
AS_IT_IS = Transform(width=16, height=16, resize="none", crop="none")
FULL = AnalysisSettings(analysis=Analysis(min_clique_size=4, matrix="full"))


def training_set(pictures, ids):
    how = [AS_IT_IS.model_dump()] * len(ids)
    return TrainingSet(
        describe_training(pictures), pa.chunked_array([ids]), pa.chunked_array([how])
    )


def repeated_and_others(repeats, others, seed=0):
    """Near-copies of one picture at the odd places, unlike pictures elsewhere."""
    rng = np.random.default_rng(seed)
    picture = rng.integers(8, 248, (16, 16, 3))
    copies = picture + rng.integers(-4, 5, (repeats, 16, 16, 3))
    rest = rng.integers(0, 256, (others, 16, 16, 3))
    return rng.permutation(np.concatenate([copies, rest])).astype(np.uint8)


def analyse(stored, settings=SETTINGS, training=None):
    return analyse_prompt(stored.read(), settings, training)


@pytest.mark.parametrize(("repeats", "others"), [(6, 10), (3, 10), (0, 8), (12, 0), (4, 1), (0, 1)])
def test_the_descriptors_never_change_the_verdict(store_prompt, repeats, others):
    pictures = repeated_and_others(repeats, others)
    result = analyse(store_prompt(pictures))
    seeds = range(len(pictures))
    full = judge(pictures, seeds, 4, 0.1, 4)
    assert result == result_of(result.prompt, seeds, 0, full, [None] * len(full.cliques))
    assert result.flagged == (repeats >= 4)


@st.composite
def families(draw):
    """Pictures in families of near-copies that overlap at the threshold, beside unlike ones."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    height, width = draw(st.sampled_from([(16, 16), (33, 20), (7, 50)]))
    grain = draw(st.sampled_from([1, 4, 16]))
    coarse = -(-height // grain), -(-width // grain)

    def noise(count, reach):
        found = rng.integers(-reach, reach + 1, (count, *coarse, 3))
        return found.repeat(grain, axis=1).repeat(grain, axis=2)[:, :height, :width]

    pictures = [
        128 + noise(1, 100) + noise(draw(st.integers(1, 8)), draw(st.sampled_from([0, 20, 32, 60])))
        for _ in range(draw(st.integers(1, 3)))
    ]
    mixed = rng.permutation(np.concatenate([*pictures, 128 + noise(4, 127)]))
    return np.clip(mixed, 0, 255).astype(np.uint8)


@settings(
    deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(families(), st.integers(1, 5), st.sampled_from([0.05, 0.1, 0.15, 0.3]), st.integers(2, 5))
def test_the_pruned_and_the_full_matrix_give_the_very_same_result(
    store_prompt, pictures, tiles, threshold, size
):
    stored = store_prompt(pictures, per_shard=5)
    pruned, full = (
        AnalysisSettings(
            analysis=Analysis(
                matrix=matrix, tiles=tiles, edge_threshold=threshold, min_clique_size=size
            )
        )
        for matrix in ("pruned", "full")
    )
    assert analyse(stored, pruned) == analyse(stored, full)


@settings(
    deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    seed=st.integers(0, 10_000),
    shared=st.integers(0, 8),
    shape=st.sampled_from([(32, 4), (64, 8), (64, 4)]),
)
def test_parts_are_the_same_however_many_pictures_were_ruled_out(store_prompt, seed, shared, shape):
    rng, (side, grid) = np.random.default_rng(seed), shape
    box = slice(0, side // 2), slice(side // 4, side)
    pictures = (
        [noise(rng, 5, side), template(rng, shared, *box, side)] if shared else [noise(rng, 9)]
    )
    stored = store_prompt(rng.permutation(np.concatenate(pictures)), per_shard=4)
    pruned, full = (partial_settings(grid, matrix) for matrix in ("pruned", "full"))
    found = analyse(stored, pruned)
    assert found == analyse(stored, full)
    assert found.flagged_partial == (shared >= 4)


def test_pictures_that_can_show_no_part_are_not_decoded(store_prompt):
    rng = np.random.default_rng(0)
    pictures = noise(rng, 12, 64).repeat(2, axis=1).repeat(2, axis=2)
    pictures[3:8, :64] = pictures[3, :64]
    stored = store_prompt(pictures).read()
    settings = partial_settings(8, "pruned")
    result = analyse_prompt(stored, settings, None)
    assert [part.seeds for part in result.parts] == [(3, 4, 5, 6, 7)]
    assert stored.tally.decoded == 5
    again = store_prompt(pictures[[0, 1, 2, 8, 9, 10, 11]]).read()
    assert analyse_prompt(again, settings, None).parts == ()
    assert again.tally.decoded == 0


def partial_settings(grid, matrix):
    rule = PartRule(grid=grid, least=3)
    analysis = Analysis(min_clique_size=4, partial=True, parts=rule, matrix=matrix)
    return AnalysisSettings(analysis=analysis)


def test_only_pictures_that_may_join_a_clique_are_wanted_unless_the_matrix_is_full(store_prompt):
    """A picture that is broken and not wanted does not matter."""
    rng = np.random.default_rng(0)
    pictures = rng.integers(0, 256, (8, 4, 4, 3)).repeat(8, axis=1).repeat(8, axis=2)
    pictures[:4] = pictures[0] + rng.integers(0, 2, (4, 32, 32, 3))
    stored = store_prompt(np.clip(pictures, 0, 255).astype(np.uint8), per_shard=4)
    prompt = stored.read()
    possible = possible_edges(prompt, range(8), SETTINGS.analysis)
    assert np.flatnonzero(possible.any(axis=1)).tolist() == [0, 1, 2, 3]
    stored.alter(1, lambda images: [replace(image, png=b"") for image in images])
    found = analyse_stored(stored.store, stored.submission, stored.text, SETTINGS, None)
    assert found[0].clique_seeds == (0, 1, 2, 3)
    assert found[1].corrupt == ()
    found = analyse_stored(stored.store, stored.submission, stored.text, FULL, None)
    assert found[0].clique_seeds == (0, 1, 2, 3)
    assert found[0].seeds == 4
    assert found[1].corrupt == (stored.keys[1],)


@pytest.mark.parametrize("kept", [(0, 1, 2), (1, 2), (2,), ()])
def test_a_prompt_is_judged_without_the_shards_whose_wanted_pictures_are_broken(store_prompt, kept):
    stored = store_prompt(repeated_and_others(12, 0), per_shard=4)
    for place in {0, 1, 2} - set(kept):
        stored.alter(place, lambda images: [replace(images[0], png=images[1].png), *images[1:]])
    result, read = analyse_stored(stored.store, stored.submission, stored.text, SETTINGS, None)
    broken = tuple(key for place, key in enumerate(stored.keys) if place not in kept)
    assert read.corrupt == broken
    assert result.seeds == result.clique_size == 4 * len(kept)
    assert result.flagged == bool(kept)


def test_shards_described_with_different_blocks_are_compared_all_the_same(store_prompt):
    pictures = repeated_and_others(9, 9)
    expected = analyse(store_prompt(pictures, per_shard=3))
    mixed = (Blocks(), Blocks(fine=2, coarse=8), Blocks(fine=8, coarse=8))
    assert analyse(store_prompt(pictures, per_shard=3, blocks=mixed)) == expected
    assert expected.flagged


def test_what_computes_the_distances_does_not_change_the_result(store_prompt):
    stored = store_prompt(repeated_and_others(6, 10))
    found = analyse_prompt(stored.read(), SETTINGS, None, TorchProducts("cpu"))
    assert found == analyse(stored)


def test_pictures_that_are_no_evidence_are_counted_and_join_no_clique(store_prompt):
    black = np.zeros((6, 16, 16, 3), np.uint8)
    for settings_ in (SETTINGS, FULL):
        stored = store_prompt(black, dict.fromkeys(range(6), Flaw.BLANKED))
        result = analyse(stored, settings_)
        assert (result.seeds, result.excluded, result.flagged) == (6, 6, False)


def test_the_representative_is_matched_with_its_training_picture(store_prompt):
    pictures = repeated_and_others(6, 10)
    stored = store_prompt(pictures)
    rng = np.random.default_rng(5)
    strangers = rng.integers(0, 256, (60, 16, 16, 3), dtype=np.uint8)
    flagged = analyse(stored)
    near = pictures[flagged.representative_seed]
    training = training_set(
        np.concatenate([strangers, near[None]]), [*map(str, range(60)), "the one"]
    )
    verified = SETTINGS.model_copy(update={"verification": Verification(training_set="t")})
    result = analyse(stored, verified, training)
    assert result.match is not None
    assert (result.match.training_id, result.match.l2, result.match.extracted) == (
        "the one",
        0.0,
        True,
    )


def test_each_picture_that_a_prompt_repeats_is_matched(store_prompt):
    first, second = repeated_and_others(6, 0), repeated_and_others(4, 0, seed=1)
    pictures = np.concatenate([second, first, repeated_and_others(0, 5, seed=2)])
    rng = np.random.default_rng(5)
    strangers = rng.integers(0, 256, (60, 16, 16, 3), dtype=np.uint8)
    training = training_set(
        np.concatenate([strangers, second[:1], first[:1]]), [*map(str, range(60)), "2nd", "1st"]
    )
    verified = SETTINGS.model_copy(update={"verification": Verification(training_set="t")})
    result = analyse(store_prompt(pictures), verified, training)
    assert result.clique_seeds == (4, 5, 6, 7, 8, 9)
    [further] = result.further_cliques
    assert further.clique_seeds == (0, 1, 2, 3)
    assert [(m.training_id, m.extracted, m.transform) for m in result.matches] == [
        ("1st", True, AS_IT_IS),
        ("2nd", True, AS_IT_IS),
    ]


def test_a_prompt_that_is_not_flagged_is_matched_with_nothing(store_prompt):
    training = training_set(np.zeros((1, 16, 16, 3), np.uint8), ["black"])
    verified = SETTINGS.model_copy(update={"verification": Verification(training_set="t")})
    assert analyse(store_prompt(repeated_and_others(0, 8)), verified, training).match is None
