"""The sampler that a campaign names, beside the model's own."""

import pytest
from diffusers import (
    DDIMScheduler,
    DPMSolverMultistepScheduler,
    FlowMatchEulerDiscreteScheduler,
    IPNDMScheduler,
    PNDMScheduler,
)

from seedsweep.storage.errors import ModelLoadError
from seedsweep.workers.pipelines.samplers import choose_sampler

NOISE = DDIMScheduler(prediction_type="v_prediction", beta_end=0.013)
FLOW = FlowMatchEulerDiscreteScheduler(shift=3.0)
FLOW_BY_SETTING = DPMSolverMultistepScheduler(
    prediction_type="flow_prediction", use_flow_sigmas=True
)


def test_a_sampler_is_set_up_as_the_models_own():
    assert choose_sampler(None, NOISE) is NOISE
    chosen = choose_sampler("DPMSolverMultistepScheduler", NOISE)
    assert (chosen.config.prediction_type, chosen.config.beta_end) == ("v_prediction", 0.013)


@pytest.mark.parametrize(
    ("name", "own"),
    [
        ("IPNDMScheduler", PNDMScheduler()),
        ("PNDMScheduler", IPNDMScheduler()),
        ("FlowMatchHeunDiscreteScheduler", FLOW),
        ("FlowMatchEulerDiscreteScheduler", FLOW_BY_SETTING),
        ("UniPCMultistepScheduler", FLOW_BY_SETTING),
    ],
)
def test_a_sampler_of_the_models_kind_is_taken(name, own):
    assert type(choose_sampler(name, own)).__name__ == name


@pytest.mark.parametrize(
    ("name", "own", "said"),
    [
        ("FlowMatchEulerDiscreteScheduler", NOISE, "predicts noise and not a flow"),
        ("DDIMScheduler", FLOW, "predicts a flow and not noise"),
        ("DPMSolverMultistepScheduler", FLOW, "predicts a flow and not noise"),
        ("DDIMScheduler", FLOW_BY_SETTING, "predicts a flow and not noise"),
        ("EulerScheduler", NOISE, "is no sampler of diffusers"),
        ("DiffusionPipeline", NOISE, "is no sampler of diffusers"),
    ],
)
def test_a_sampler_that_makes_nonsense_of_what_the_model_predicts_is_refused(name, own, said):
    with pytest.raises(ModelLoadError, match=said) as caught:
        choose_sampler(name, own)
    assert "\n" not in str(caught.value)
