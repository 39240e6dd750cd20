import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seedsweep.workers.analysis import matching
from seedsweep.workers.analysis.distances import tiled_to
from seedsweep.workers.analysis.matching import TrainingMatch, is_extracted
from seedsweep.workers.analysis.nearest import describe_training

modest = settings(max_examples=40, derandomize=True, deadline=None)


def flat(*levels):
    return np.stack([np.full((4, 6, 3), level, np.uint8) for level in levels])


def noise(count, seed):
    return np.random.default_rng(seed).integers(0, 256, (count, 5, 4, 3), dtype=np.uint8)


def neighbour_mean(index, training, *options):
    return matching.neighbour_mean(index, describe_training(training), *options)


def nearest_training(image, training, *options, **more):
    return matching.nearest_training(image, describe_training(training), *options, **more)


def slow_l2(a, b):
    return math.sqrt(np.mean((a / 255.0 - b / 255.0) ** 2))


def slow_mean(index, training, neighbours):
    others = [slow_l2(training[index], t) for i, t in enumerate(training) if i != index]
    nearest = sorted(others)[:neighbours]
    return sum(nearest) / len(nearest)


class TestNeighbourMean:
    @modest
    @given(st.integers(2, 9), st.integers(1, 12), st.integers(0, 10_000))
    def test_is_the_mean_l2_to_the_nearest_others(self, count, neighbours, seed):
        training = noise(count, seed)
        for index in range(count):
            expected = slow_mean(index, training, neighbours)
            assert neighbour_mean(index, training, neighbours) == pytest.approx(expected)

    def test_leaves_the_image_itself_out(self):
        assert neighbour_mean(1, flat(0, 51, 102), 2) == 51 / 255

    def test_counts_an_exact_copy_elsewhere(self):
        assert neighbour_mean(0, flat(0, 0, 51), 1) == 0.0
        assert neighbour_mean(0, flat(0, 0, 51), 2) == pytest.approx(0.1)

    def test_takes_the_nearest_not_the_first(self):
        assert neighbour_mean(0, flat(0, 255, 204, 51), 1) == 51 / 255

    def test_takes_50_neighbours_unless_told(self):
        training = np.concatenate([flat(0), flat(*[51] * 49), flat(*[255] * 9)])
        assert neighbour_mean(0, training) == pytest.approx((49 * 0.2 + 1) / 50)

    def test_is_nan_without_another_image(self):
        assert math.isnan(neighbour_mean(0, flat(7)))

    @pytest.mark.parametrize("index", [-1, 2])
    def test_refuses_an_index_outside_the_training_set(self, index):
        with pytest.raises(IndexError, match=str(index)):
            neighbour_mean(index, flat(0, 1))

    def test_refuses_less_than_one_neighbour(self):
        with pytest.raises(ValueError, match="neighbours"):
            neighbour_mean(0, flat(0, 1), 0)


class TestNearestTraining:
    @modest
    @given(st.integers(2, 9), st.integers(1, 4), st.integers(0, 10_000))
    def test_is_the_nearest_by_l2_with_its_distances(self, count, tiles, seed):
        training, image = noise(count, seed), noise(1, seed + 1)[0]
        match = nearest_training(image, training, tiles, alpha=0.7, neighbours=3)
        distances = [slow_l2(image, other) for other in training]
        nearest = training[match.index]
        assert match.index == distances.index(min(distances))
        assert match.l2 == pytest.approx(min(distances))
        assert match.tiled_l2 == tiled_to(image, nearest, tiles)
        expected = match.l2 / (0.7 * slow_mean(match.index, training, 3))
        assert match.adaptive == pytest.approx(expected)

    def test_is_the_smallest_index_among_equals(self):
        assert nearest_training(flat(10)[0], flat(200, 20, 0, 20), 2).index == 1

    def test_is_judged_by_plain_l2_while_tiled_l2_is_reported_beside_it(self):
        corner = flat(0)
        corner[0, :2, :3] = 100
        match = nearest_training(flat(0)[0], np.concatenate([flat(60), corner]), 2)
        assert match.index == 1
        assert match.l2 == pytest.approx(50 / 255)
        assert match.tiled_l2 == pytest.approx(100 / 255)

    def test_takes_the_neighbours_of_the_training_image_not_of_the_generation(self):
        # The generation's own two nearest are 30 and 50 away, those of the training image 80 away.
        match = nearest_training(flat(50)[0], flat(80, 0), 1, neighbours=2)
        assert match.adaptive == pytest.approx(30 / (0.5 * 80))

    def test_takes_the_generations_own_neighbours_where_that_is_asked_for(self):
        match = nearest_training(flat(50)[0], flat(80, 0, 255), 1, 0.5, 2, "generation")
        assert match.adaptive == pytest.approx(30 / (0.5 * (30 + 50) / 2))

    def test_takes_alpha_a_half_and_50_neighbours_unless_told(self):
        training = np.concatenate([flat(0), flat(*[100] * 50), flat(*[250] * 9)])
        assert nearest_training(flat(25)[0], training, 1).adaptive == pytest.approx(0.5)

    def test_has_no_adaptive_score_without_neighbours(self):
        match = nearest_training(flat(3)[0], flat(3), 2)
        assert match == TrainingMatch(index=0, l2=0.0, tiled_l2=0.0, adaptive=None)

    def test_has_no_adaptive_score_among_identical_neighbours(self):
        assert nearest_training(flat(9)[0], flat(3, 3, 3), 2).adaptive is None

    def test_refuses_an_empty_training_set(self):
        with pytest.raises(ValueError, match="empty"):
            nearest_training(flat(3)[0], flat(3)[:0], 2)

    @pytest.mark.parametrize("alpha", [0.0, -1.0, math.nan])
    def test_refuses_an_alpha_that_is_not_positive(self, alpha):
        with pytest.raises(ValueError, match="alpha"):
            nearest_training(flat(3)[0], flat(3, 4), 2, alpha=alpha)

    def test_refuses_images_of_another_size(self):
        with pytest.raises(ValueError, match="others"):
            nearest_training(noise(1, 0)[0], flat(3, 4), 2)


def match(l2, adaptive):
    return TrainingMatch(index=0, l2=l2, tiled_l2=0.9, adaptive=adaptive)


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
