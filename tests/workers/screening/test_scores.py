"""The formulas of the scores, against slow loops over plain numbers."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from seedsweep.workers.pipelines.predictions import PredictionPair, Predictions
from seedsweep.workers.screening.scores import anisotropy, noise_magnitude, one_step

SHAPE = (2, 2, 3)
LATENTS = arrays(np.float64, SHAPE, elements=st.floats(-4, 4, width=32))
PAIRS = st.builds(PredictionPair, LATENTS, LATENTS)
SEEN = st.builds(
    Predictions,
    seed=st.integers(0, 9),
    guidance_scale=st.floats(1.5, 9),
    steps=st.lists(PAIRS, min_size=1, max_size=3).map(tuple),
    low_noise=PAIRS,
)


def magnitude(pair):
    return math.sqrt(math.fsum((c - u) ** 2 for c, u in values(pair)))


def values(pair):
    return zip(pair.conditional.flat, pair.unconditional.flat, strict=True)


@settings(max_examples=30)
@given(SEEN)
def test_noise_magnitude_is_the_mean_over_steps_of_the_guidances_length(seen):
    expected = sum(map(magnitude, seen.steps)) / len(seen.steps)
    assert noise_magnitude(seen) == pytest.approx(expected, abs=1e-12)


@settings(max_examples=30)
@given(SEEN)
def test_one_step_is_the_mean_square_of_the_guided_noise_at_the_first_step(seen):
    first, g = seen.steps[0], seen.guidance_scale
    guided = [u + g * (c - u) for c, u in values(first)]
    assert one_step(seen) == pytest.approx(math.fsum(n * n for n in guided) / len(guided))


@settings(max_examples=30)
@given(SEEN)
def test_anisotropy_adds_twice_the_mean_cosine_over_channels_at_little_noise(seen):
    with_it, without = seen.low_noise.conditional, seen.low_noise.unconditional
    cosines = []
    for row in range(SHAPE[1]):
        for column in range(SHAPE[2]):
            u = [without[channel, row, column] for channel in range(SHAPE[0])]
            g = [with_it[channel, row, column] - u[channel] for channel in range(SHAPE[0])]
            lengths = math.hypot(*u) * math.hypot(*g)
            cosines.append(math.fsum(a * b for a, b in zip(u, g, strict=True)) / max(lengths, 1e-8))
    expected = magnitude(seen.steps[0]) + 2 * sum(cosines) / len(cosines)
    assert anisotropy(seen) == pytest.approx(expected, abs=1e-9)


@settings(max_examples=30)
@given(SEEN, st.floats(1.1, 5))
def test_a_prompt_that_moves_the_prediction_further_scores_higher(seen, more):
    def moved(pair):
        u = pair.unconditional
        return PredictionPair(u + more * (pair.conditional - u), u)

    further = Predictions(1, 3.0, tuple(map(moved, seen.steps)), seen.low_noise)
    for score in (noise_magnitude, anisotropy):
        assert score(further) >= score(seen)


def test_a_prompt_that_moves_nothing_scores_nothing():
    same = np.ones(SHAPE)
    still = Predictions(1, 3.0, (PredictionPair(same, same),), PredictionPair(same, same))
    assert noise_magnitude(still) == anisotropy(still) == 0
    assert one_step(still) == 1


def test_anisotropy_cannot_do_without_little_noise():
    same = PredictionPair(np.ones(SHAPE), np.ones(SHAPE))
    with pytest.raises(ValueError, match="needs the predictions at little noise"):
        anisotropy(Predictions(1, 3.0, (same,), None))
