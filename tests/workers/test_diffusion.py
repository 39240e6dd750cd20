import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from storage.errors import DeviceMemoryError, GenerationError, ModelLoadError
from storage.records import Flaw, Sampling
from workers.diffusion import DiffusersPipeline, to_pixels
from workers.models import fingerprint_model


@pytest.fixture
def load(tiny_model):
    """Load the tiny model with a recipe."""

    def load(model=None, **sampling):
        recipe = {"steps": 2, "guidance_scale": 3.0, "width": 16, "height": 16, "batch_size": 4}
        return DiffusersPipeline(
            model or tiny_model, Sampling(**{**recipe, **sampling}), device="cpu", threads=1
        )

    return load


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

    plain = StableDiffusionPipeline.from_pretrained(tiny_model.path, torch_dtype=torch.float32)
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


def test_a_model_that_is_not_the_submitted_one_is_refused(load, tiny_model, tmp_path):
    changed = tmp_path / "changed"
    shutil.copytree(tiny_model.path, changed)
    config = changed / "scheduler" / "scheduler_config.json"
    config.write_text(config.read_text() + "\n")
    with pytest.raises(ModelLoadError, match="not the one that was submitted"):
        load(tiny_model.model_copy(update={"path": str(changed)}))


def test_weights_that_are_not_safetensors_are_not_loaded(load, tiny_model, tmp_path):
    unsafe = tmp_path / "unsafe"
    shutil.copytree(tiny_model.path, unsafe)
    weights = unsafe / "unet" / "diffusion_pytorch_model.safetensors"
    torch.save({}, Path(weights).with_suffix(".bin"))
    weights.unlink()
    model = tiny_model.model_copy(update={"path": str(unsafe)})
    model = model.model_copy(update={"fingerprint": fingerprint_model(model)})
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
