import io
import json
import logging
import os
import shutil
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler, StableDiffusionPipeline, VQModel

from seedsweep.storage.errors import DeviceMemoryError, ModelLoadError
from seedsweep.storage.records import Flaw
from seedsweep.storage.settings.model import Model
from seedsweep.storage.settings.sampling import Sampling
from seedsweep.workers.models.parts import Places
from seedsweep.workers.pipelines.diffusers_pipeline import DiffusersPipeline, to_pixels
from tests.support.tiny_model import save_tiny_model, tiny_denoiser

needs_compiler = pytest.mark.skipif(
    not shutil.which(os.environ.get("CXX", "g++")),
    reason="torch.compile needs a C++ compiler on a CPU: install g++, or name one in CXX",
)


@pytest.fixture
def load(tiny_model):
    """Load the tiny model with a recipe."""

    def load(model=None, **sampling):
        return DiffusersPipeline(
            Places(Path((model or tiny_model).path)),
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


def with_options(model, **options):
    return model.model_copy(update=options)


def levels_between(made, expected):
    """By how many of the 256 levels each value differs."""
    return np.abs(pixels(made).astype(int) - pixels(expected))


def calls_of(module):
    """A list that grows by the batch's size whenever the module is called."""
    calls = []
    module.register_forward_hook(lambda _, inputs, __: calls.append(len(inputs[0])))
    return calls


def fits_only(pipeline, images):
    """Make the device too small for the denoiser with more images; returns the tried batches."""
    tried = []

    def weigh(_, inputs):
        # Guidance doubles what the denoiser is given.
        tried.append(len(inputs[0]) // 2)
        if tried[-1] > images:
            raise torch.OutOfMemoryError("out of memory")

    pipeline._pipeline.unet.register_forward_pre_hook(weigh)
    return tried


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


def test_out_of_memory_halves_the_batch_and_says_so(load):
    pipeline = load()
    fits_only(pipeline, 1)
    made = pipeline.generate("a cat", [1, 2, 3])
    assert [generation.seed for generation in made] == [1, 2, 3]
    assert {generation.provenance.batch_size for generation in made} == {1}


def test_the_batch_that_fitted_is_where_the_next_unit_starts(load):
    pipeline = load(sampler="DPMSolverMultistepScheduler", steps=3, batch_size=12)
    tried = fits_only(pipeline, 3)
    pipeline.generate("a cat", range(7))
    assert tried == [12, 6, *[3] * 9]
    tried.clear()
    again = pipeline.generate("a cat", range(7))
    assert tried == [3] * 9
    assert {generation.provenance.batch_size for generation in again} == {3}


def test_a_halved_batch_gives_the_pixels_of_that_batch_size_in_every_unit(load):
    sampling = {"sampler": "DPMSolverMultistepScheduler", "steps": 3}
    expected = pixels(load(**sampling, batch_size=3).generate("a cat", range(7)))
    pipeline = load(**sampling, batch_size=12)
    fits_only(pipeline, 3)
    for _ in range(2):
        assert np.array_equal(pixels(pipeline.generate("a cat", range(7))), expected)


@pytest.mark.parametrize("change", [{"width": 24}, {"height": 24}, {"batch_size": 8}])
def test_another_size_or_batch_size_starts_afresh_and_each_is_remembered(load, change):
    pipeline = load()
    tried = fits_only(pipeline, 2)
    pipeline.generate("a cat", [1])
    pipeline = pipeline.with_sampling(recipe(**change))
    tried.clear()
    pipeline.generate("a cat", [1])
    assert tried[0] == change.get("batch_size", 4)
    for back in ({}, change, {"steps": 1, "guidance_scale": 5.0}):
        pipeline = pipeline.with_sampling(recipe(**back))
        tried.clear()
        pipeline.generate("a cat", [1])
        assert set(tried) == {2}


def test_a_picture_that_does_not_fit_at_all_is_a_memory_error_and_nothing_is_remembered(load):
    pipeline = load()
    tried = fits_only(pipeline, 0)
    for _ in range(2):
        with pytest.raises(DeviceMemoryError, match="16 x 16"):
            pipeline.generate("a cat", [1])
    assert tried == [4, 2, 1, 4, 2, 1]


def test_a_size_that_the_model_refuses_is_refused_when_it_is_loaded(load):
    with pytest.raises(ModelLoadError, match=r"cannot begin a picture.*correct \[sampling\]"):
        load(width=17)


def test_what_was_loaded_and_how_is_recorded(load):
    provenance = load().generate("a cat", [1])[0].provenance
    assert (provenance.batch_size, provenance.threads, provenance.device) == (4, 1, "cpu")
    assert provenance.dtype == "float32"
    assert f"torch {torch.__version__}" in provenance.versions


def test_the_recipe_that_was_used_is_recorded_with_the_models_own_sampler(load, tiny_model):
    text = load(negative_prompt="größer").generate("a cat", [1])[0].provenance.recipe
    assert "größer" in text
    assert json.loads(text) == {
        "pipeline": "diffusers",
        "fingerprint": tiny_model.fingerprint,
        "dtype": "float32",
        "attention_slicing": False,
        "vae_slicing": False,
        "vae_tiling": False,
        "channels_last": False,
        "compile": False,
        "cpu_offload": False,
        "sampler": "DDIMScheduler",
        "steps": 2,
        "guidance_scale": 3.0,
        "negative_prompt": "größer",
        "width": 16,
        "height": 16,
    }


def test_the_recorded_recipe_is_canonical_and_follows_the_sampling(load):
    pipeline = load().with_sampling(recipe(sampler="EulerDiscreteScheduler", steps=3))
    text = pipeline.generate("a cat", [1])[0].provenance.recipe
    settings = json.loads(text)
    assert (settings["sampler"], settings["steps"]) == ("EulerDiscreteScheduler", 3)
    assert text == json.dumps(settings, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def test_another_sampler_changes_the_picture(load):
    usual = pixels(load().generate("a cat", [1]))
    other = pixels(load(sampler="EulerAncestralDiscreteScheduler").generate("a cat", [1]))
    assert not np.array_equal(usual, other)


@pytest.mark.parametrize("name", ["AutoencoderKL", "NoSuchScheduler", "os"])
def test_what_is_no_sampler_is_refused(load, name):
    with pytest.raises(ModelLoadError, match="DDIMScheduler"):
        load(sampler=name)


@pytest.mark.parametrize("name", ["UnCLIPScheduler", "AmusedScheduler", "SchedulerMixin"])
def test_a_sampler_that_cannot_be_made_for_the_model_is_refused(load, name):
    with pytest.raises(ModelLoadError, match=f"{name} does not suit"):
        load(sampler=name)


def test_a_sampler_that_the_pipeline_cannot_use_is_refused_when_it_is_loaded(load):
    with pytest.raises(ModelLoadError, match="predicts noise and not a flow"):
        load(sampler="FlowMatchEulerDiscreteScheduler")


@pytest.mark.parametrize(("dtype", "levels"), [("float16", 2), ("bfloat16", 6)])
def test_another_dtype_is_loaded_as_such_and_gives_nearly_the_same_picture(
    load, tiny_model, dtype, levels
):
    pipeline = load(with_options(tiny_model, dtype=dtype))
    assert pipeline._pipeline.unet.dtype == getattr(torch, dtype)
    made = pipeline.generate("a cat", [1, 2])
    assert levels_between(made, load().generate("a cat", [1, 2])).max() <= levels
    assert made[0].flaw is None
    assert (made[0].provenance.dtype, json.loads(made[0].provenance.recipe)["dtype"]) == (
        dtype,
    ) * 2


EXACT_OPTIONS = ["attention_slicing", "vae_slicing", "channels_last"]


@pytest.mark.parametrize("option", [*EXACT_OPTIONS, "vae_tiling"])
def test_an_option_gives_the_same_pictures_within_a_level_and_is_recorded(load, tiny_model, option):
    model = with_options(tiny_model, **{option: True})
    made = load(model).generate("a cat", [1, 2, 3])
    assert [generation.flaw for generation in made] == [None] * 3
    assert levels_between(made, load().generate("a cat", [1, 2, 3])).max() <= 1
    assert np.array_equal(pixels(made), pixels(load(model).generate("a cat", [1, 2, 3])))
    recorded = json.loads(made[0].provenance.recipe)
    assert [name for name, value in recorded.items() if value is True] == [option]


def test_all_options_together_make_a_picture(load, tiny_model):
    everything = dict.fromkeys([*EXACT_OPTIONS, "vae_tiling"], True)
    made = load(with_options(tiny_model, **everything)).generate("a cat", [1, 2, 3])
    assert levels_between(made, load().generate("a cat", [1, 2, 3])).max() <= 1


def test_attention_slicing_slices_every_attention_of_the_denoiser(load, tiny_model):
    unet = load(with_options(tiny_model, attention_slicing=True))._pipeline.unet
    assert {type(p).__name__ for p in unet.attn_processors.values()} == {"SlicedAttnProcessor"}


@pytest.mark.parametrize(("on", "decoded"), [(False, [4]), (True, [1, 1, 1, 1])])
def test_vae_slicing_decodes_one_picture_at_a_time(load, tiny_model, on, decoded):
    pipeline = load(with_options(tiny_model, vae_slicing=on))
    calls = calls_of(pipeline._pipeline.vae.decoder)
    pipeline.generate("a cat", [1, 2])
    assert calls == decoded


def test_vae_tiling_decodes_larger_pictures_tile_by_tile_which_alters_them_a_little(
    load, tiny_model
):
    pipeline = load(with_options(tiny_model, vae_tiling=True), width=32, height=32)
    calls = calls_of(pipeline._pipeline.vae.decoder)
    made = pipeline.generate("a cat", [1, 2])
    assert len(calls) > 1
    between = levels_between(made, load(width=32, height=32).generate("a cat", [1, 2]))
    # Random weights see much of a tile's surroundings: real ones change less.
    assert 0 < between.mean() < 12


def test_channels_last_lays_out_the_convolutions_of_denoiser_and_autoencoder(load, tiny_model):
    pipeline = load(with_options(tiny_model, channels_last=True))._pipeline
    for convolution in (pipeline.unet.conv_in, pipeline.vae.decoder.conv_in):
        assert convolution.weight.is_contiguous(memory_format=torch.channels_last)
        assert not convolution.weight.is_contiguous()


@pytest.fixture(scope="module")
def flat_model(tmp_path_factory):
    """A model whose denoiser is quickly compiled: one level, without attention to the prompt."""
    folder = tmp_path_factory.mktemp("flat")
    blocks = ("DownBlock2D",), ("UpBlock2D",)
    save_tiny_model(folder, tiny_denoiser((8,), *blocks, middle=None, in_time=True))
    return Model(path=str(folder), fingerprint="flat")


@needs_compiler
def test_a_compiled_model_gives_the_same_pictures_within_a_level(load, flat_model):
    model = with_options(flat_model, compile=True)
    pipeline = load(model)
    assert pipeline._pipeline.unet._compiled_call_impl is not None
    made = pipeline.generate("a cat", [1, 2, 3])
    assert [generation.flaw for generation in made] == [None] * 3
    assert levels_between(made, load(flat_model).generate("a cat", [1, 2, 3])).max() <= 1
    assert np.array_equal(pixels(made), pixels(pipeline.generate("a cat", [1, 2, 3])))
    assert np.array_equal(pixels(made), pixels(load(model).generate("a cat", [1, 2, 3])))
    assert json.loads(made[0].provenance.recipe)["compile"] is True


def test_a_host_that_cannot_compile_is_told_so(load, flat_model, tmp_path, monkeypatch):
    from torch._inductor import config

    monkeypatch.setattr(config.cpp, "cxx", ("no-such-compiler",))
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    with pytest.raises(ModelLoadError, match="could not be compiled for cpu") as caught:
        load(with_options(flat_model, compile=True)).generate("a cat", [1])
    assert "\n" not in str(caught.value)


def test_cpu_offload_is_refused_on_a_cpu_before_anything_is_loaded(load, tiny_model, monkeypatch):
    monkeypatch.setattr(
        "seedsweep.workers.pipelines.diffusers_loading.assemble",
        lambda *_: pytest.fail("loaded"),
    )
    with pytest.raises(ModelLoadError, match=r"needs an accelerator.*device is cpu"):
        load(with_options(tiny_model, cpu_offload=True))


def test_a_model_that_the_device_has_no_room_for_is_a_memory_error(load, monkeypatch):
    def no_room(*_):
        raise torch.OutOfMemoryError("out of memory")

    monkeypatch.setattr("diffusers.DiffusionPipeline.to", no_room)
    with pytest.raises(DeviceMemoryError, match="cpu_offload = true"):
        load()


@pytest.mark.parametrize("option", [*EXACT_OPTIONS, "vae_tiling", "compile"])
def test_an_option_that_the_pipeline_has_no_part_for_is_refused(
    load, tiny_model, monkeypatch, option
):
    parts = ["vae", "unet", "text_encoder", "tokenizer", "safety_checker", "feature_extractor"]
    sampler = DDIMScheduler(steps_offset=1, clip_sample=False)
    empty = StableDiffusionPipeline(
        **dict.fromkeys(parts), scheduler=sampler, requires_safety_checker=False
    )
    monkeypatch.setattr("seedsweep.workers.pipelines.diffusers_loading.assemble", lambda *_: empty)
    with pytest.raises(ModelLoadError, match=rf"StableDiffusionPipeline cannot do model\.{option}"):
        load(with_options(tiny_model, **{option: True}))


@pytest.mark.parametrize("option", ["vae_slicing", "vae_tiling"])
def test_an_autoencoder_that_cannot_is_refused(load, tmp_path, option):
    save_tiny_model(tmp_path, autoencoder=VQModel(block_out_channels=(8,), norm_num_groups=4))
    with pytest.raises(ModelLoadError, match="VQModel"):
        load(Model(path=str(tmp_path), **{option: True}))


@pytest.mark.parametrize(
    "blocks", [("DownBlock2D", "UpBlock2D"), ("CrossAttnDownBlock2D", "UpBlock2D")]
)
def test_attention_without_heads_to_slice_is_refused(load, tmp_path, blocks):
    down, up = blocks
    save_tiny_model(tmp_path, tiny_denoiser((8,), (down,), (up,), middle=None, heads=1))
    with pytest.raises(ModelLoadError, match="no heads to slice"):
        load(Model(path=str(tmp_path), attention_slicing=True))


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
    monkeypatch.setattr(
        "seedsweep.workers.pipelines.diffusers_loading.assemble",
        lambda *_: pytest.fail("loaded again"),
    )
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


@pytest.mark.parametrize("kind", [np.float16, np.float32, np.float64, np.uint8, np.bool_])
def test_values_are_rounded_as_diffusers_does_and_the_picture_stays_as_it_is(kind):
    # Values between two levels, on them, and beyond the ends.
    values = np.r_[np.linspace(-0.5, 1.5, 1001), (np.arange(256) + 0.5) / 255, -0.0, 1.0, 0.0]
    picture = np.resize(values, (21, 20, 3)).astype(kind)
    picture.flags.writeable = False
    before = picture.copy()
    rounded, _ = to_pixels(picture, False)
    expected = (picture.astype(kind).clip(0, 1) * 255).round().astype(np.uint8)
    assert np.array_equal(rounded, expected)
    assert np.array_equal(picture, before)


def test_a_prompt_that_is_cut_is_not_told_again_with_every_picture(load, monkeypatch):
    told = io.StringIO()
    for library in ("diffusers", "transformers"):
        for handler in logging.getLogger(library).handlers:
            if type(handler) is logging.StreamHandler:  # and none of pytest's
                monkeypatch.setattr(handler, "stream", told)
    monkeypatch.setattr(logging.getLogger("transformers"), "level", logging.WARNING)
    pipeline = load()
    pipeline.generate("many letters, more than twelve", [0])
    assert told.getvalue() == ""
    for library in ("diffusers.pipelines", "transformers.models"):
        logging.getLogger(library).warning("another thing of %s", library)
        assert f"another thing of {library}" in told.getvalue()
