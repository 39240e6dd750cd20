"""Which training picture a generation repeats, against a slow comparison of its own."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seedsweep.storage.settings.analysis import Verification
from seedsweep.workers.analysis import agreement as agreeing_pictures
from seedsweep.workers.analysis import matching
from seedsweep.workers.analysis.agreement import agreement, agreements
from seedsweep.workers.analysis.cuts import centres
from seedsweep.workers.analysis.distances import tiled_to
from seedsweep.workers.analysis.frames import frames_of
from seedsweep.workers.analysis.matching import TrainingMatch, is_extracted
from seedsweep.workers.analysis.near_copies import Reference
from seedsweep.workers.analysis.nearest import describe_training
from seedsweep.workers.analysis.running_nearest import content_digest
from tests.support.pictures import drawings, scaled_and_back, stored_anew

modest = settings(max_examples=40, derandomize=True, deadline=None)
few = settings(max_examples=12, derandomize=True, deadline=None)
MARGIN = 0.1
"""Edited copies may move an adaptive score by so much: they are other pixels."""


def flat(*levels):
    return np.stack([np.full((4, 6, 3), level, np.uint8) for level in levels])


def noise(count, seed):
    return np.random.default_rng(seed).integers(0, 256, (count, 5, 4, 3), dtype=np.uint8)


def nearest_training(image, training, tiles=1, **changes):
    asked = Verification(training_set="", **changes)
    return matching.nearest_training(image, describe_training(training), tiles, asked)


def slow_l2(a, b):
    return math.sqrt(np.mean((a / 255.0 - b / 255.0) ** 2))


def is_near_copy(known, other):
    [frame, met] = frames_of(np.stack([known, other]))
    rule = Verification(training_set="").near_copies
    return bool(Reference(frame, rule, False).copies(centres(met[None]))[0])


def slow_neighbours(image, match, training, count):
    """The l2 to the distinct ones, one after the other: no near-copies of the match, or of one
    taken already."""
    ordered = sorted(training, key=lambda other: (slow_l2(image, other), content_digest(other)))
    taken = [match]
    for other in ordered:
        if len(taken) <= count and not any(is_near_copy(known, other) for known in taken):
            taken.append(other)
    return [slow_l2(image, other) for other in taken[1:]]


def slow_score(l2, distances, neighbours, alpha=0.5):
    if len(distances) < neighbours:
        return None
    return pytest.approx(l2 / (alpha * (sum(distances) / len(distances))))


class TestNearestTraining:
    @modest
    @given(st.integers(1, 9), st.integers(1, 4), st.integers(0, 10_000))
    def test_is_the_nearest_by_l2_with_its_distances(self, count, neighbours, seed):
        training, image = noise(count, seed), noise(1, seed + 1)[0]
        match = nearest_training(image, training, 2, alpha=0.7, neighbours=neighbours)
        distances = [slow_l2(image, other) for other in training]
        nearest = training[match.index]
        assert match.index == distances.index(min(distances))
        assert match.l2 == pytest.approx(min(distances))
        assert match.tiled_l2 == tiled_to(image, nearest, 2)
        around = slow_neighbours(nearest, nearest, training, neighbours)
        assert match.adaptive_training == slow_score(match.l2, around, neighbours, 0.7)
        own = [match.l2, *slow_neighbours(image, nearest, training, neighbours - 1)]
        assert match.adaptive_generation == slow_score(match.l2, own, neighbours, 0.7)
        assert match.adaptive == match.adaptive_training

    def test_the_order_of_equals_is_that_of_their_digests(self):
        levels = flat(200, 20, 0)
        for order in ([0, 1, 2], [2, 1, 0]):
            match = nearest_training(flat(10)[0], levels[order], neighbours=1)
            nearest = min((flat(0)[0], flat(20)[0]), key=content_digest)
            assert np.array_equal(levels[order][match.index], nearest)

    def test_is_judged_by_plain_l2_while_tiled_l2_is_reported_beside_it(self):
        corner = flat(0)
        corner[0, :2, :3] = 100
        match = nearest_training(flat(0)[0], np.concatenate([flat(60), corner]), 2)
        assert match.index == 1
        assert match.l2 == pytest.approx(50 / 255)
        assert match.tiled_l2 == pytest.approx(100 / 255)

    def test_is_scored_from_both_sides_and_the_training_picture_decides_unless_told(self):
        # The generation's own two nearest are 30 and 50 away, those of the training image 80, 175.
        training = flat(80, 0, 255)
        match = nearest_training(flat(50)[0], training, neighbours=2)
        assert match.adaptive_training == pytest.approx(30 / (0.5 * (80 + 175) / 2))
        assert match.adaptive_generation == pytest.approx(30 / (0.5 * (30 + 50) / 2))
        assert match.adaptive == match.adaptive_training
        told = nearest_training(flat(50)[0], training, neighbours=2, neighbours_of="generation")
        assert told.adaptive == match.adaptive_generation

    def test_takes_alpha_a_half_and_50_neighbours_unless_told(self):
        training = flat(0, *range(100, 250, 3))
        match = nearest_training(flat(25)[0], training, neighbours_of="training")
        assert match.adaptive is None  # of two levels that lie side by side one is a near-copy
        training = flat(0, *range(8, 248, 6))
        match = nearest_training(flat(25)[0], np.concatenate([training, drawings(20, 1, 6)[:, :4]]))
        plain = [abs(level - 26) / 255 for level in (0, *range(8, 248, 6)) if level != 26]
        shapes = [slow_l2(flat(26)[0], other) for other in drawings(20, 1, 6)[:, :4]]
        nearest = sorted([*plain, *shapes])[:50]
        assert match.adaptive == pytest.approx(match.l2 / (0.5 * sum(nearest) / 50))

    def test_is_not_scored_among_too_few_distinct_pictures(self):
        lonely = nearest_training(flat(3)[0], flat(3), neighbours=1)
        assert (lonely.l2, lonely.adaptive_training) == (0.0, None)
        copied = nearest_training(flat(9)[0], flat(3, 3, 5, 3, 7), neighbours=1)
        assert copied.adaptive_training is None
        assert nearest_training(flat(9)[0], flat(3, 3, 90), neighbours=1).adaptive is not None
        assert nearest_training(flat(9)[0], flat(3, 3, 90), neighbours=2).adaptive is None

    def test_refuses_an_empty_training_set(self):
        with pytest.raises(ValueError, match="empty"):
            nearest_training(flat(3)[0], flat(3)[:0], 2)

    def test_refuses_images_of_another_size(self):
        with pytest.raises(ValueError, match="others"):
            nearest_training(noise(1, 0)[0], flat(3, 4), 2)


def scores(match):
    return match.l2, match.adaptive_training, match.adaptive_generation, match.agreement


class TestCopiesInTheTrainingSet:
    """What is memorised is repeated: how often must alter no verdict."""

    @few
    @given(
        st.lists(st.tuples(st.integers(0, 11), st.integers(1, 120)), min_size=1, max_size=3),
        st.sampled_from(["training", "generation"]),
        st.integers(0, 1000),
        st.randoms(use_true_random=False),
    )
    def test_exact_copies_and_the_order_change_nothing(self, repeats, whose, seed, rng):
        training = list(drawings(12, seed, 16))
        image = np.rint(training[0] * 0.8 + training[1] * 0.2).astype(np.uint8)
        asked = {"neighbours": 6, "neighbours_of": whose}
        once = nearest_training(image, np.stack(training), **asked)
        copied = training + [training[place] for place, times in repeats for _ in range(times)]
        rng.shuffle(copied)
        again = nearest_training(image, np.stack(copied), **asked)
        assert scores(again) == scores(once)
        assert np.array_equal(copied[again.index], training[once.index])

    @few
    @given(
        st.integers(0, 3),
        st.integers(1, 60),
        st.sampled_from([(90, None), (95, None), (None, 0.5), (None, 2.0)]),
        st.integers(0, 1000),
    )
    def test_edited_copies_change_no_verdict_outside_the_margin(self, which, times, edit, seed):
        training = drawings(12, seed)
        image = stored_anew(np.rint(training[0] * 0.85 + training[1] * 0.15).astype(np.uint8), 60)
        quality, scale = edit
        copy = stored_anew(training[which], quality) if quality else None
        copy = scaled_and_back(training[which], scale) if scale else copy
        once = nearest_training(image, training, neighbours=6)
        again = nearest_training(
            image, np.concatenate([training, np.stack([copy] * times)]), neighbours=6
        )
        assert again.adaptive == pytest.approx(once.adaptive, abs=MARGIN)

    def test_a_picture_is_extracted_however_often_it_was_repeated(self):
        training = drawings(60, 3)
        image = stored_anew(scaled_and_back(training[7], 0.5), 75)
        for times in (1, 10, 30, 100, 300):
            edited = [stored_anew(training[7], 60 + place % 40) for place in range(times)]
            match = nearest_training(image, np.concatenate([training, edited]))
            assert is_extracted(match, 0.15, 64)
            assert 0 < match.adaptive < 0.5


def match(l2, adaptive, agreeing=0.5):
    return TrainingMatch(
        index=0,
        l2=l2,
        tiled_l2=0.9,
        adaptive=adaptive,
        adaptive_training=adaptive,
        adaptive_generation=None,
        agreement=agreeing,
    )


@pytest.mark.parametrize(
    ("l2", "adaptive", "side", "extracted"),
    [
        (0.15, 9.0, 512, True),
        (0.15, None, 256, True),
        (0.1500001, 0.1, 512, False),
        (0.1, 1.0, 255, True),
        (0.1, 1.0000001, 255, False),
        (0.1, 1.0000001, 256, True),
        (0.15, 0.2, 64, True),
        (0.16, 0.2, 64, False),
        (0.0, None, 64, False),
    ],
)
def test_extracted_is_within_the_threshold_and_below_256_px_within_the_adaptive_score(
    l2, adaptive, side, extracted
):
    assert is_extracted(match(l2, adaptive), 0.15, side) is extracted


@pytest.mark.parametrize("side", [64, 512])
def test_a_background_alone_is_no_extraction(side):
    assert not is_extracted(match(0.05, 0.5, 0.0), 0.15, side)
    assert is_extracted(match(0.05, 0.5, None), 0.15, side)
    axis = np.linspace(0, 255, 64)
    background = np.broadcast_to(axis[:, None, None], (64, 64, 3)).astype(np.uint8)
    subject = background.copy()
    subject[24:34, 24:34] = drawings(1, 0)[0][20:30, 20:30]
    assert agreement(background, subject) == 0.0
    assert agreement(background, background // 2) is None  # plain tiles alone
    assert agreement(subject, stored_anew(subject, 90)) == pytest.approx(4 / 64, abs=3 / 64)
    picture = drawings(1, 2)[0]
    assert agreement(picture, stored_anew(picture, 90)) > 0.3
    assert agreement(picture, drawings(1, 9)[0]) < 0.05


@few
@given(
    st.integers(1, 20),
    st.integers(1, 20),
    st.sampled_from([1, 2, 30]),
    st.sampled_from([1, 1 << 18]),
    st.integers(0, 10_000),
)
def test_many_agree_as_one_after_the_other(height, width, levels, values, seed):
    rng = np.random.default_rng(seed)
    images = (rng.integers(0, levels, (7, height, width, 3)) * (255 // levels)).astype(np.uint8)
    pictures = images[rng.permutation(7)]
    pictures[:3] = images[:3] // 2
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(agreeing_pictures, "_VALUES", values)
        found = list(agreements(images, pictures))
    assert found == [agreement(a, b) for a, b in zip(images, pictures, strict=True)]


def test_on_a_limit_many_are_judged_as_one_is(monkeypatch):
    pictures = drawings(2, 3, 16)
    images = np.stack([pictures[0] // 2, pictures[1]])
    expected = [agreement(a, b) for a, b in zip(images, pictures, strict=True)]
    asked: list[int] = []
    monkeypatch.setattr(agreeing_pictures, "_UNSURE", 2.0)
    alone = agreeing_pictures.agreement
    monkeypatch.setattr(
        agreeing_pictures, "agreement", lambda *pair: asked.append(1) or alone(*pair)
    )
    assert list(agreements(images, pictures)) == expected
    assert len(asked) == 2
