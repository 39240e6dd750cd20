import shutil
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch

from storage.errors import DeviceMemoryError, GenerationError, ModelLoadError
from storage.records import Flaw, Sampling
from workers.diffusion import DiffusersPipeline, to_pixels


@pytest.fixture
def load(tiny_model):
    """Load the tiny model with a recipe."""

    def load(model=None, **sampling):
        return DiffusersPipeline(
            Path((model or tiny_model).path),
            model or tiny_model,
            recipe(**sampling),
            device="cpu",
            threads=1,
        )

    return load


def recipe(**changes):
    usual = {"steps": 2, "guidance_scale": 3.0, "width": 16, "height": 16, "batch_size": 4}
    return Sampling(**usual | changes)


def pixels(generations):
    return np.stack([generation.pixels for generation in generations])


def test_each_seed_gives_one_picture_of_the_size_asked_for(load):
    made = load().generate("a cat", [5, 9, 11])
    assert [generation.seed for generation in made] == [5, 9, 11]
    assert pixels(made).shape == (3, 16, 16, 3)
    assert pixels(made).dtype == np.uint8


def test_a_seed_gives_equal_pixels_in_whatever_company_and_place(load):
    pipeline = load()
    together = pixels(pipeline.generate("a cat", [1, 2, 3, 4, 5, 6, 7]))
    assert np.array_equal(pixels(pipeline.generate("a cat", [5])), together[4:5])
    assert np.array_equal(pixels(pipeline.generate("a cat", [7, 3])), together[[6, 2]])


def test_a_second_process_would_get_equal_pixels(load):
    assert np.array_equal(pixels(load().generate("x", [3])), pixels(load().generate("x", [3])))


def test_seeds_and_prompts_and_guidance_make_a_difference(load):
    one = pixels(load().generate("a cat", [1]))
    assert not np.array_equal(one, pixels(load().generate("a cat", [2])))
    assert not np.array_equal(one, pixels(load().generate("a dog", [1])))
    assert not np.array_equal(one, pixels(load(guidance_scale=7.0).generate("a cat", [1])))
    assert not np.array_equal(one, pixels(load(negative_prompt="grey").generate("a cat", [1])))


def test_equal_pixels_to_a_plain_diffusers_call(load, tiny_model):
    from diffusers import StableDiffusionPipeline

    plain = StableDiffusionPipeline.from_pretrained(tiny_model.path, dtype=torch.float32)
    expected = plain(
        ["a cat"] * 4,
        num_inference_steps=2,
        guidance_scale=3.0,
        width=16,
        height=16,
        generator=[torch.Generator("cpu").manual_seed(seed) for seed in (1, 2, 3, 4)],
    ).images
    made = pixels(load().generate("a cat", [1, 2, 3, 4]))
    assert np.array_equal(made, np.stack([np.asarray(picture) for picture in expected]))


def test_out_of_memory_halves_the_batch_and_says_so(load, monkeypatch):
    pipeline = load()
    whole = pipeline._batch

    def short_of_memory(prompt, seeds, batch_size):
        if batch_size > 1:
            raise torch.OutOfMemoryError("out of memory")
        return whole(prompt, seeds, batch_size)

    monkeypatch.setattr(pipeline, "_batch", short_of_memory)
    made = pipeline.generate("a cat", [1, 2, 3])
    assert [generation.seed for generation in made] == [1, 2, 3]
    assert {generation.provenance.batch_size for generation in made} == {1}


def test_a_picture_that_does_not_fit_at_all_is_a_memory_error(load, monkeypatch):
    def no_memory(*_):
        raise torch.OutOfMemoryError("out of memory")

    pipeline = load()
    monkeypatch.setattr(pipeline, "_batch", no_memory)
    with pytest.raises(DeviceMemoryError, match="16 x 16"):
        pipeline.generate("a cat", [1])


def test_a_size_that_the_model_refuses_is_a_generation_error(load):
    with pytest.raises(GenerationError, match="a cat"):
        load(width=17).generate("a cat", [1])


def test_what_was_loaded_and_how_is_recorded(load):
    provenance = load().generate("a cat", [1])[0].provenance
    assert (provenance.batch_size, provenance.threads, provenance.device) == (4, 1, "cpu")
    assert provenance.dtype == "float32"
    assert f"torch {torch.__version__}" in provenance.versions


def test_another_sampler_changes_the_picture_and_an_unknown_one_is_refused(load):
    usual = pixels(load().generate("a cat", [1]))
    other = pixels(load(sampler="EulerAncestralDiscreteScheduler").generate("a cat", [1]))
    assert not np.array_equal(usual, other)
    with pytest.raises(ModelLoadError, match="DDIMScheduler"):
        load(sampler="AutoencoderKL")


RECIPES = [
    {},
    {"sampler": "EulerAncestralDiscreteScheduler", "guidance_scale": 5.0, "steps": 3},
    {"sampler": "DPMSolverMultistepScheduler", "steps": 3, "batch_size": 2},
    {"sampler": "EulerAncestralDiscreteScheduler", "width": 24, "negative_prompt": "grey"},
    {},
]


def test_another_recipe_gives_the_pixels_of_a_fresh_load_without_loading(load, monkeypatch):
    expected = [pixels(load(**changes).generate("a cat", [1, 2, 3])) for changes in RECIPES]
    pipeline = load()
    monkeypatch.setattr("workers.diffusion._load", lambda *_: pytest.fail("loaded again"))
    for changes, wanted in zip(RECIPES, expected, strict=True):
        pipeline = pipeline.with_sampling(recipe(**changes))
        made = pipeline.generate("a cat", [1, 2, 3])
        assert np.array_equal(pixels(made), wanted)
        assert made[0].provenance.batch_size == changes.get("batch_size", 4)


def test_a_recipe_that_the_model_cannot_take_leaves_the_earlier_one_as_it_was(load):
    pipeline = load()
    expected = pixels(pipeline.generate("a cat", [1]))
    with pytest.raises(ModelLoadError, match="no sampler"):
        pipeline.with_sampling(recipe(sampler="AutoencoderKL", steps=3))
    assert np.array_equal(pixels(pipeline.generate("a cat", [1])), expected)


def test_loading_uses_nothing_that_is_deprecated(load):
    with warnings.catch_warnings():
        warnings.simplefilter("error", FutureWarning)
        load()


def test_weights_that_are_not_safetensors_are_not_loaded(load, tiny_model, tmp_path):
    unsafe = tmp_path / "unsafe"
    shutil.copytree(tiny_model.path, unsafe)
    weights = unsafe / "unet" / "diffusion_pytorch_model.safetensors"
    torch.save({}, Path(weights).with_suffix(".bin"))
    weights.unlink()
    model = tiny_model.model_copy(update={"path": str(unsafe)})
    with pytest.raises(ModelLoadError, match="safetensors"):
        load(model)


@pytest.mark.parametrize(
    ("picture", "blanked", "flaw"),
    [
        (np.full((4, 4, 3), 0.5), False, Flaw.CONSTANT),
        (np.zeros((4, 4, 3)), True, Flaw.BLANKED),
        (np.where(np.eye(4)[..., None] > 0, np.nan, 0.5).repeat(3, 2), False, Flaw.NOT_FINITE),
        (np.linspace(0, 1, 48).reshape(4, 4, 3), False, None),
    ],
)
def test_pictures_that_are_no_evidence_are_marked(picture, blanked, flaw):
    rounded, found = to_pixels(picture, blanked)
    assert found == flaw
    assert rounded.dtype == np.uint8
