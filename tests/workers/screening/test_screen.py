"""Screens of real pipelines, held against a plain diffusers loop, and what they refuse."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from seedsweep.storage.errors import ConfigError, DeviceMemoryError, ModelLoadError
from seedsweep.storage.settings.model import Model
from seedsweep.storage.settings.sampling import Sampling, ScreenSettings
from seedsweep.workers.models.parts import Places
from seedsweep.workers.pipelines.diffusers_pipeline import DiffusersPipeline
from seedsweep.workers.pipelines.first_step import first_step
from seedsweep.workers.pipelines.noise import NoisePipeline
from seedsweep.workers.screening.screen import (
    check_screen,
    network_passes,
    screen_names,
    screen_prompt,
)
from tests.support.plain_loop import GUIDANCE, STEPS, Plain
from tests.support.tiny_model import save_tiny_model
from tests.support.tiny_pipelines import save_flux, save_pixart, save_sd3, save_xl

SEEDS = (4, 5, 6)
SIZES = {"sd": 16, "xl": 16, "sd3": 16, "pixart": 256, "flux": 32}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    saves = {
        "sd": save_tiny_model,
        "xl": save_xl,
        "sd3": save_sd3,
        "pixart": save_pixart,
        "flux": save_flux,
    }
    made = {}
    for name, save in saves.items():
        made[name] = tmp_path_factory.mktemp(name)
        save(made[name])
    return made


def load(folder, size=16, **sampling):
    usual = {"steps": STEPS, "guidance_scale": GUIDANCE, "width": size, "height": size}
    recipe = Sampling(**usual | {"batch_size": 4} | sampling)
    return DiffusersPipeline(
        Places(Path(folder)), Model(path=str(folder), fingerprint="f"), recipe, "cpu", threads=1
    )


def settings(score, **others):
    return ScreenSettings(**{"score": score, "seeds": len(SEEDS)} | others)


ALL = [settings(score) for score in screen_names()] + [settings("noise-magnitude", steps=3)]
NAMES = [f"{each.score}, {each.steps} steps" for each in ALL]


@pytest.mark.parametrize("name", ["sd", "xl", "sd3", "pixart"])
def test_every_score_of_every_class_is_that_of_a_plain_loop(folders, name):
    pipeline, plain = load(folders[name], SIZES[name]), Plain(folders[name], SIZES[name])
    for wanted in ALL:
        expected = [plain.score(wanted, "a cat", seed) for seed in SEEDS]
        made = screen_prompt(pipeline, "a cat", SEEDS, wanted)
        assert made.dtype == np.float64
        assert made == pytest.approx(expected, rel=2e-4), wanted


def with_schedule(folder, copy, **changes):
    shutil.copytree(folder, copy)
    place = copy / "scheduler" / "scheduler_config.json"
    place.write_text(json.dumps(json.loads(place.read_text()) | changes))
    return copy


@pytest.mark.parametrize("zero_snr", [False, True], ids=["", "zero terminal SNR"])
@pytest.mark.parametrize("kind", ["v_prediction", "sample"])
def test_every_score_of_every_prediction_type_is_that_of_a_plain_loop(
    folders, tmp_path, kind, zero_snr
):
    folder = with_schedule(
        folders["sd"],
        tmp_path / "model",
        prediction_type=kind,
        rescale_betas_zero_snr=zero_snr,
        timestep_spacing="trailing",
    )
    pipeline, plain = load(folder), Plain(folder, 16)
    for wanted in ALL:
        expected = [plain.score(wanted, "a cat", seed) for seed in SEEDS]
        made = screen_prompt(pipeline, "a cat", SEEDS, wanted)
        assert made == pytest.approx(expected, rel=2e-4), wanted
        assert len(set(made)) == len(SEEDS)


def test_one_step_is_what_the_pipeline_itself_gives_its_sampler(folders):
    pipeline = load(folders["sd"])
    (made,) = screen_prompt(pipeline, "a cat", [0], settings("one-step", seeds=1))
    given = first_step(pipeline._pipeline, {"prompt": "a cat", **pipeline._arguments}).made
    assert made == pytest.approx(np.mean(np.square(given.astype(np.float64))), rel=1e-5)


@pytest.mark.parametrize("wanted", ALL, ids=NAMES)
def test_a_seed_has_one_score_in_whatever_company_and_place(folders, wanted):
    pipeline = load(folders["sd"])
    wanted = wanted.model_copy(update={"seeds": 7})
    together = screen_prompt(pipeline, "a cat", range(7), wanted)
    assert np.array_equal(screen_prompt(pipeline, "a cat", [6, 2], wanted), together[[6, 2]])
    assert np.array_equal(screen_prompt(load(folders["sd"]), "a cat", [5], wanted), together[5:6])
    assert len(set(together)) == 7
    assert not np.isin(screen_prompt(pipeline, "a dog", range(7), wanted), together).any()


def test_a_screen_alters_no_picture_and_a_negative_prompt_no_screen(folders):
    pipeline = load(folders["sd"], negative_prompt="grey")
    before = pipeline.generate("a cat", [1])[0].pixels
    scored = screen_prompt(pipeline, "a cat", SEEDS, ALL[2])
    assert np.array_equal(pipeline.generate("a cat", [1])[0].pixels, before)
    assert np.array_equal(screen_prompt(load(folders["sd"]), "a cat", SEEDS, ALL[2]), scored)


@pytest.mark.parametrize("wanted", ALL, ids=NAMES)
def test_a_screen_takes_as_many_passes_as_it_says_and_decodes_nothing(folders, wanted):
    pipeline, passes = load(folders["sd"]), []
    parts = pipeline._pipeline
    parts.unet.register_forward_hook(lambda _, given, __: passes.append(len(given[0])))
    parts.vae.decode = None
    screen_prompt(pipeline, "a cat", SEEDS, wanted)
    assert sum(passes) == network_passes(wanted)


def test_out_of_memory_halves_the_batch(folders):
    pipeline, tried = load(folders["sd"]), []

    def weigh(_, given):
        tried.append(len(given[0]) // 2)
        if tried[-1] > 1:
            raise torch.OutOfMemoryError("out of memory")

    weighing = pipeline._pipeline.unet.register_forward_pre_hook(weigh)
    made = screen_prompt(pipeline, "a cat", [1, 2], settings("one-step", seeds=2))
    assert tried == [2, 1, 1]
    weighing.remove()
    one = [screen_prompt(pipeline, "a cat", [s], settings("one-step", seeds=1))[0] for s in (1, 2)]
    assert made.tolist() == one
    pipeline._pipeline.unet.register_forward_pre_hook(lambda *_: weigh(_, [[0] * 4]))
    with pytest.raises(DeviceMemoryError, match="One picture of 16 x 16 is more than cpu"):
        screen_prompt(pipeline, "a cat", [1, 2], settings("one-step", seeds=2))


def test_a_model_that_predicts_no_numbers_scores_nan(folders, tmp_path):
    folder = Path(shutil.copytree(folders["sd"], tmp_path / "model"))
    weights = folder / "unet" / "diffusion_pytorch_model.safetensors"
    broken = {name: value * float("nan") for name, value in load_file(weights).items()}
    save_file(broken, weights, metadata={"format": "pt"})
    pipeline = load(folder)
    for wanted in ALL:
        assert np.isnan(screen_prompt(pipeline, "a cat", SEEDS, wanted)).all()


@pytest.mark.parametrize(
    ("name", "sampling", "said"),
    [
        ("flux", {"width": 32, "height": 32}, "FluxPipeline is none of StableDiffusionPipeline"),
        ("sd", {"guidance_scale": 1.0}, "StableDiffusionPipeline.*nothing without the prompt"),
        ("sd", {"sampler": "LCMScheduler"}, "for the sampler LCMScheduler"),
        ("sd", {"sampler": "EDMEulerScheduler"}, "for the sampler EDMEulerScheduler"),
    ],
)
def test_a_pipeline_without_predictions_that_can_be_read_is_refused_by_name(
    folders, name, sampling, said
):
    pipeline = load(folders[name], **sampling)
    with pytest.raises(ModelLoadError, match=said) as caught:
        screen_prompt(pipeline, "a cat", [1], settings("one-step"))
    assert "\n" not in str(caught.value)
    assert pipeline.generate("a cat", [1])


def test_more_steps_than_the_recipe_has_are_refused(folders):
    with pytest.raises(ModelLoadError, match="takes 4 steps, and the screen is to have 5"):
        screen_prompt(load(folders["sd"]), "a cat", [1], settings("noise-magnitude", steps=5))


def test_a_prompt_that_says_nothing_moves_nothing(folders):
    pipeline = load(folders["sd"])
    assert screen_prompt(pipeline, "", SEEDS, settings("noise-magnitude")).tolist() == [0, 0, 0]
    assert screen_prompt(pipeline, "", SEEDS, settings("anisotropy")).tolist() == [0, 0, 0]


SAMPLERS = ["EulerDiscreteScheduler", "HeunDiscreteScheduler", "LMSDiscreteScheduler"]


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_at_pure_noise_the_sampler_alters_next_to_nothing(folders, sampler):
    wanted = settings("anisotropy")
    usual = screen_prompt(load(folders["sd"]), "a cat", SEEDS, wanted)
    other = screen_prompt(load(folders["sd"], sampler=sampler), "a cat", SEEDS, wanted)
    assert other == pytest.approx(usual, rel=1e-4)


@pytest.mark.parametrize("name", ["sd", "xl", "sd3"])
def test_half_precision_alters_little(folders, name):
    model = Model(path=str(folders[name]), fingerprint="f", dtype="bfloat16")
    recipe = Sampling(steps=STEPS, guidance_scale=GUIDANCE, width=16, height=16, batch_size=4)
    half = DiffusersPipeline(Places(Path(folders[name])), model, recipe, "cpu", threads=1)
    wanted = settings("one-step")
    usual = screen_prompt(load(folders[name]), "a cat", SEEDS, wanted)
    assert screen_prompt(half, "a cat", SEEDS, wanted) == pytest.approx(usual, rel=0.05)


def test_guidance_that_is_not_the_usual_one_is_refused(folders):
    pipeline = load(folders["sd"])
    pipeline._arguments["guidance_rescale"] = 0.7
    with pytest.raises(ModelLoadError, match="its guidance is another than the usual one"):
        screen_prompt(pipeline, "a cat", [1], settings("one-step"))


def test_a_pipeline_that_is_not_of_diffusers_is_refused():
    with pytest.raises(ModelLoadError, match="look inside a NoisePipeline; leave the screen out"):
        screen_prompt(NoisePipeline(Sampling()), "a cat", [1], settings("one-step"))


@pytest.mark.parametrize(
    ("name", "sampling", "screen", "said"),
    [
        ("flux", {}, {}, "FluxPipeline is none of.*leave the screen out"),
        ("sd", {"guidance_scale": 1.0}, {}, "guidance_scale is 1, .*set it above 1"),
        ("sd", {"steps": 2}, {"steps": 3}, "3 steps is longer than sampling.steps, 2"),
    ],
)
def test_what_is_known_to_be_impossible_is_refused_before_anything_is_loaded(
    folders, name, sampling, screen, said
):
    model = Model(path=str(folders[name]))
    with pytest.raises(ConfigError, match=said):
        check_screen(settings("noise-magnitude", **screen), model, Sampling(**sampling))
    check_screen(settings("anisotropy"), Model(path=str(folders["sd"])), Sampling())
    with pytest.raises(ConfigError, match="look inside the pipeline 'noise'"):
        check_screen(settings("anisotropy"), Model(pipeline="noise"), Sampling())


def test_steps_are_taken_by_the_noise_magnitude_alone():
    with pytest.raises(ValueError, match="one-step takes one step; leave steps out"):
        settings("one-step", steps=2)
