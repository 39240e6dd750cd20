"""What a network predicts is one noise, whatever it was trained to predict."""

import math

import diffusers
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from seedsweep.storage.errors import ModelLoadError
from seedsweep.workers.pipelines.noise_levels import (
    LEAST_SIGNAL,
    NoiseSchedule,
    noise_schedule,
)

STABLE_DIFFUSION = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
VALUES = st.lists(st.floats(-5, 5), min_size=3, max_size=3).map(np.array)
SAMPLERS = [
    "DDIMScheduler",
    "DDPMScheduler",
    "PNDMScheduler",
    "EulerDiscreteScheduler",
    "EulerAncestralDiscreteScheduler",
    "DPMSolverMultistepScheduler",
    "UniPCMultistepScheduler",
    "LMSDiscreteScheduler",
    "HeunDiscreteScheduler",
]


def stable_diffusion(kind="epsilon", **changes):
    settings = STABLE_DIFFUSION | {"prediction_type": kind} | changes
    return noise_schedule(diffusers.DDIMScheduler(**settings))


@given(clean=VALUES, noise=VALUES, timestep=st.integers(0, 999))
def test_equal_knowledge_of_any_prediction_type_is_equal_noise(clean, noise, timestep):
    signal, much = stable_diffusion().levels(timestep)
    noisy = signal * clean + much * noise
    outputs = {"epsilon": noise, "sample": clean, "v_prediction": signal * noise - much * clean}
    for kind, output in outputs.items():
        predicted = stable_diffusion(kind).predicted_noise(output, noisy, timestep)
        assert predicted == pytest.approx(noise, abs=1e-9), kind


@given(clean=VALUES, noise=VALUES, share=st.floats(0.01, 0.93))
def test_flow_matching_predicts_the_noise_too(clean, noise, share):
    schedule = noise_schedule(diffusers.FlowMatchEulerDiscreteScheduler())
    noisy = (1 - share) * clean + share * noise
    predicted = schedule.predicted_noise(noise - clean, noisy, 1000 * share)
    assert predicted == pytest.approx(noise, abs=1e-9)


@pytest.mark.parametrize("kind", ["v_prediction", "sample", "flow_prediction"])
def test_where_no_signal_is_left_the_predicted_picture_still_tells(kind):
    if kind == "flow_prediction":
        schedule = noise_schedule(diffusers.FlowMatchEulerDiscreteScheduler())
    else:
        schedule = stable_diffusion(kind, rescale_betas_zero_snr=True)
    last = 1000 if kind == "flow_prediction" else 999
    assert schedule.levels(last) == (0.0, 1.0)
    noise, clean = np.array([0.3]), np.array([2.0])
    output = {"v_prediction": -clean, "sample": clean, "flow_prediction": noise - clean}[kind]
    predicted = schedule.predicted_noise(output, noise, last)
    assert predicted == pytest.approx(noise - LEAST_SIGNAL * clean)


def test_the_least_signal_is_what_stable_diffusion_1_leaves_at_its_last_step():
    signal, noise = stable_diffusion().levels(999)
    assert signal / noise == pytest.approx(LEAST_SIGNAL, rel=1e-3)


@pytest.mark.parametrize("name", SAMPLERS)
def test_signal_and_noise_are_those_of_the_samplers_own_sigmas(name):
    sampler = getattr(diffusers, name)(**STABLE_DIFFUSION)
    sampler.set_timesteps(20)
    schedule = noise_schedule(sampler)
    assert schedule.kind == "epsilon"
    for place, timestep in enumerate(sampler.timesteps):
        signal, noise = schedule.levels(float(timestep))
        assert signal**2 + noise**2 == pytest.approx(1)
        if name in ("EulerDiscreteScheduler", "LMSDiscreteScheduler"):
            assert noise / signal == pytest.approx(float(sampler.sigmas[place]), rel=1e-3)


def test_between_two_training_timesteps_noise_is_that_of_karras_sigmas():
    sampler = diffusers.EulerDiscreteScheduler(**STABLE_DIFFUSION, use_karras_sigmas=True)
    sampler.set_timesteps(10)
    assert any(float(t) % 1 for t in sampler.timesteps)
    for place, timestep in enumerate(sampler.timesteps):
        signal, noise = noise_schedule(sampler).levels(float(timestep))
        assert noise / signal == pytest.approx(float(sampler.sigmas[place]), rel=1e-3)


@given(st.floats(0, 999))
def test_more_steps_are_never_less_noise(timestep):
    schedule = stable_diffusion()
    signal, noise = schedule.levels(timestep)
    later_signal, later_noise = schedule.levels(min(timestep + 1, 999))
    assert math.isclose(signal**2 + noise**2, 1)
    assert later_noise >= noise - 1e-12
    assert later_signal <= signal + 1e-12


@pytest.mark.parametrize(
    "name", ["LCMScheduler", "TCDScheduler", "EDMEulerScheduler", "CMStochasticIterativeScheduler"]
)
def test_a_sampler_whose_predictions_are_not_known_is_refused_by_name(name):
    with pytest.raises(ModelLoadError, match=f"predicts for the sampler {name}; name another"):
        noise_schedule(getattr(diffusers, name)())


def test_a_schedule_is_what_its_ratios_say():
    schedule = NoiseSchedule("epsilon", 2, np.array([0.75, np.inf]))
    assert schedule.levels(0) == pytest.approx((0.8, 0.6))
    assert schedule.levels(1) == (0.0, 1.0)
