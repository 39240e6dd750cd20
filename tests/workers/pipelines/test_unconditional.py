"""Models without prompts make pictures of seeds alone."""

import json
from pathlib import Path

import diffusers
import numpy as np
import pytest
import torch

from seedsweep.storage.errors import GenerationError, ModelLoadError
from seedsweep.storage.settings.model import Model
from seedsweep.storage.settings.sampling import Sampling
from seedsweep.workers.models.parts import Places
from seedsweep.workers.pipelines.diffusers_class import is_unconditional, why_unfit
from seedsweep.workers.pipelines.unconditional_pipeline import UnconditionalPipeline
from tests.support.seed_pipelines import SEED_PIPELINES, SIDE, lay_flat, save_ddpm

pytestmark = [
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]
USUAL = {"steps": 4, "guidance_scale": 1.0, "width": SIDE, "height": SIDE, "batch_size": 2}


@pytest.fixture(scope="module")
def folder_of(tmp_path_factory):
    """The folder of a tiny model of a class, saved once."""
    saved = {}

    def folder_of(name):
        if name not in saved:
            saved[name] = tmp_path_factory.mktemp("class")
            SEED_PIPELINES[name]().save_pretrained(saved[name])
        return saved[name]

    return folder_of


def load(folder, **sampling):
    model = Model(path=str(folder), dtype="float32", fingerprint="f")
    wanted = Sampling(**USUAL | sampling)
    return UnconditionalPipeline(Places(Path(folder)), model, wanted, "cpu", 1)


def own_pictures(folder, seeds, sampler=None, times=1, **arguments):
    """What diffusers' own call makes of the seeds, when it is called for the last of so many
    times."""
    own = diffusers.DiffusionPipeline.from_pretrained(folder)
    own.set_progress_bar_config(disable=True)
    if sampler:
        own.scheduler = getattr(diffusers, sampler).from_config(own.scheduler.config)
    for _ in range(times):
        made = own(
            batch_size=len(seeds),
            num_inference_steps=4,
            generator=[torch.Generator("cpu").manual_seed(seed) for seed in seeds],
            output_type="np",
            **arguments,
        ).images
    return np.rint(made * 255).astype(np.uint8)


@pytest.mark.parametrize("name", [name for name in SEED_PIPELINES if name != "ScoreSdeVePipeline"])
def test_pictures_are_those_of_diffusers_own_call_whatever_else_is_made(folder_of, name):
    pipeline = load(folder_of(name))
    made = pipeline.generate("", [3, 4, 5])
    expected = own_pictures(folder_of(name), [3, 4])
    assert [one.seed for one in made] == [3, 4, 5]
    assert np.array_equal([one.pixels for one in made[:2]], expected)
    (alone,) = pipeline.generate("", [5])
    assert np.array_equal(alone.pixels, made[2].pixels)
    assert json.loads(made[0].provenance.recipe)["guidance_scale"] is None


@pytest.mark.parametrize("sampler", ["DDIMScheduler", "DPMSolverMultistepScheduler"])
def test_another_sampler_makes_what_diffusers_makes_with_it(folder_of, sampler):
    folder = folder_of("DDPMPipeline")
    before = load(folder)
    pipeline = before.with_sampling(Sampling(**USUAL, sampler=sampler))
    made = [one.pixels for one in pipeline.generate("", [0, 1])]
    assert np.array_equal(made, own_pictures(folder, [0, 1], sampler))
    assert json.loads(pipeline.generate("", [0])[0].provenance.recipe)["sampler"] == sampler


def test_a_sampler_whose_noise_depends_on_the_call_before_is_told_its_steps_first(folder_of):
    folder = folder_of("LDMPipeline")
    made = [one.pixels for one in load(folder, sampler="LMSDiscreteScheduler").generate("", [0, 1])]
    assert np.array_equal(made, own_pictures(folder, [0, 1], "LMSDiscreteScheduler", times=2))


@pytest.mark.parametrize(
    ("name", "sampler", "said"),
    [
        ("DDPMPipeline", "EulerDiscreteScheduler", "does not scale what the sampler Euler"),
        ("DDPMPipeline", "UniPCMultistepScheduler", "cannot make a picture .*generator"),
        ("LDMPipeline", "DDPMScheduler", "seeds alone; name another as sampling.sampler"),
        ("PNDMPipeline", "DDPMScheduler", "seeds alone; name another as sampling.sampler"),
        (
            "DDPMPipeline",
            "FlowMatchEulerDiscreteScheduler",
            "whose network predicts noise and not a flow",
        ),
    ],
)
def test_a_sampler_that_the_pipeline_cannot_use_is_refused(folder_of, name, sampler, said):
    with pytest.raises(ModelLoadError, match=said):
        load(folder_of(name), sampler=sampler)


def test_a_pipeline_that_mixes_the_pictures_of_a_batch_is_refused_but_for_single_ones(folder_of):
    folder = folder_of("ScoreSdeVePipeline")
    with pytest.raises(ModelLoadError, match=r"alone; set sampling\.batch_size = 1\."):
        load(folder)
    (made,) = load(folder, batch_size=1).generate("", [7])
    assert np.array_equal([made.pixels], own_pictures(folder, [7]))


def test_more_steps_than_the_sampler_has_are_refused_as_it_is_loaded(folder_of):
    with pytest.raises(ModelLoadError, match="30 cannot be larger"):
        load(folder_of("DDPMPipeline"), steps=30)


def test_grey_pictures_become_rgb(tmp_path):
    folder = save_ddpm(tmp_path, channels=1)
    (made,) = load(folder, batch_size=1).generate("", [2])
    assert np.array_equal(made.pixels[None, :, :, :1], own_pictures(folder, [2]))
    assert made.pixels.shape == (SIDE, SIDE, 3)
    assert (made.pixels == made.pixels[:, :, :1]).all()


def test_pictures_that_are_no_squares_are_made(tmp_path):
    folder = save_ddpm(tmp_path, size=(16, 24))
    (made,) = load(folder, width=24, batch_size=1).generate("", [2])
    assert np.array_equal([made.pixels], own_pictures(folder, [2]))


def test_a_model_whose_files_lie_beside_the_index_is_loaded(tmp_path):
    folder = save_ddpm(tmp_path)
    expected = own_pictures(folder, [1, 2])
    made = [one.pixels for one in load(lay_flat(folder)).generate("", [1, 2])]
    assert np.array_equal(made, expected)


def test_a_prompt_is_refused(folder_of):
    with pytest.raises(GenerationError, match=r"'a cat'; leave \[prompts\] out"):
        load(folder_of("DDPMPipeline")).generate("a cat", [0])


def test_a_model_of_classes_is_refused(tmp_path):
    with pytest.raises(ModelLoadError, match="class_labels should be provided"):
        load(save_ddpm(tmp_path, num_class_embeds=3))


def test_what_makes_sound_or_needs_a_picture_is_no_model_of_pictures_of_seeds():
    assert is_unconditional(diffusers.DDPMPipeline)
    assert not why_unfit(diffusers.DDPMPipeline)
    assert not is_unconditional(diffusers.DiTPipeline)
    assert "makes no pictures" in why_unfit(diffusers.DanceDiffusionPipeline)
    assert "(image)" in why_unfit(diffusers.LDMSuperResolutionPipeline)
