"""Whether a model does what it is asked to, found out as it is loaded."""

import contextlib
import json
import logging
import shutil
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from seedsweep.storage.errors import ConfigError, GenerationError, ModelLoadError
from seedsweep.storage.records import Flaw
from seedsweep.storage.settings.model import Model
from seedsweep.storage.settings.sampling import Sampling
from seedsweep.workers.models.folder_check import check_model
from seedsweep.workers.models.parts import Places
from seedsweep.workers.pipelines.diffusers_class import check_class
from seedsweep.workers.pipelines.diffusers_pipeline import DiffusersPipeline
from seedsweep.workers.pipelines.prompt_tokens import open_tokenizers
from tests.support.tiny_pipelines import save_flux, save_kandinsky

# Kandinsky's combined pipeline gives its parts an argument that is deprecated.
pytestmark = pytest.mark.filterwarnings("ignore:`callback_steps` is deprecated:FutureWarning")

SAVED = {
    "flux": save_flux,
    "guided flux": lambda folder: save_flux(folder, guided=True),
    "kandinsky": save_kandinsky,
}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    made = {}
    for name, save in SAVED.items():
        made[name] = tmp_path_factory.mktemp("model")
        save(made[name])
    return made


def load(folder, **sampling):
    usual = {"steps": 2, "guidance_scale": 3.0, "width": 32, "height": 32, "batch_size": 2}
    model = Model(path=str(folder), fingerprint="f")
    return DiffusersPipeline(
        Places(Path(folder)), model, Sampling(**usual | sampling), "cpu", threads=1
    )


def recipe_of(pipeline):
    return json.loads(pipeline.generate("a cat", [1])[0].provenance.recipe)


@pytest.mark.parametrize(
    ("name", "given", "recorded"),
    [
        ("flux", 3.0, None),
        ("flux", 1.0, 1.0),
        ("flux", 0.0, 0.0),
        ("guided flux", 3.0, 3.0),
        ("guided flux", 0.5, 0.5),
        ("kandinsky", 3.0, 3.0),
    ],
)
def test_a_guidance_scale_is_recorded_only_if_it_is_used(folders, name, given, recorded):
    pipeline = load(folders[name], guidance_scale=given, width=64, height=64)
    assert recipe_of(pipeline)["guidance_scale"] == recorded


def test_guidance_below_one_is_off_for_a_model_that_needs_two_predictions(tiny_model):
    pipeline = load(tiny_model.path, guidance_scale=0.5)
    assert recipe_of(pipeline)["guidance_scale"] is None
    pipeline = pipeline.with_sampling(Sampling(steps=2, width=16, height=16, guidance_scale=2.0))
    assert recipe_of(pipeline)["guidance_scale"] == 2.0


def test_a_sampler_that_is_used_is_recorded_and_leaves_the_pipelines_own_as_it_was(tiny_model):
    pipeline = load(tiny_model.path)
    assert "step" not in vars(pipeline._pipeline.scheduler)
    assert recipe_of(pipeline)["sampler"] == "DDIMScheduler"


REFUSED = [
    (
        "flux",
        {"negative_prompt": "grey"},
        r"sampling\.negative_prompt alters nothing: FluxPipeline",
    ),
    ("guided flux", {"negative_prompt": "grey"}, r"sampling\.negative_prompt alters nothing"),
    ("kandinsky", {"sampler": "DDPMScheduler"}, r"sampling\.sampler alters nothing: Kandinsky"),
    ("flux", {"sampler": "DDIMScheduler"}, r"predicts a flow and not noise"),
]


@pytest.mark.parametrize(("name", "sampling", "said"), REFUSED)
def test_a_setting_that_alters_nothing_is_refused_as_the_model_is_loaded(
    folders, name, sampling, said
):
    with pytest.raises(ModelLoadError, match=said) as caught:
        load(folders[name], **sampling)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "width", "said"),
    [("flux", 33, "2 pictures of 32 x 32 where 2 of 33 x 32"), ("kandinsky", 32, "of 64 x 64")],
)
def test_pictures_of_another_size_than_asked_for_are_refused_with_the_size(
    folders, name, width, said
):
    pipeline = load(folders[name], width=width)
    with pytest.raises(ModelLoadError, match=f"made .*{said}.*; set sampling.width to"):
        pipeline.generate("a cat", [1])


@pytest.fixture
def copy(tiny_model, tmp_path):
    return Path(shutil.copytree(tiny_model.path, tmp_path / "model"))


def test_a_text_encoder_that_makes_the_same_of_two_prompts_is_refused(copy):
    weights = copy / "text_encoder" / "model.safetensors"
    zeros = {name: torch.zeros_like(value) for name, value in load_file(weights).items()}
    save_file(zeros, weights, metadata={"format": "pt"})
    with pytest.raises(ModelLoadError, match="makes the same of two different prompts"):
        load(copy)


def test_a_model_that_makes_no_finite_numbers_is_loaded_and_its_pictures_say_so(copy):
    weights = copy / "unet" / "diffusion_pytorch_model.safetensors"
    broken = {name: value * float("nan") for name, value in load_file(weights).items()}
    save_file(broken, weights, metadata={"format": "pt"})
    (made,) = load(copy).generate("a cat", [1])
    assert made.flaw == Flaw.NOT_FINITE
    assert json.loads(made.provenance.recipe)["guidance_scale"] == 3.0


def test_a_tokenizer_without_vocabulary_is_refused_by_name(copy):
    (copy / "tokenizer" / "tokenizer.json").unlink()
    with pytest.raises(ModelLoadError, match="The tokenizer of the StableDiffusionPipeline has no"):
        load(copy)


@pytest.mark.parametrize("part", ["tokenizer", "text_encoder", "vae", "scheduler"])
def test_a_part_that_is_missing_is_refused(copy, part):
    shutil.rmtree(copy / part)
    with pytest.raises(ModelLoadError):
        load(copy)


@pytest.mark.parametrize("part", ["text_encoder", "unet", "vae"])
def test_weights_that_no_file_has_are_named_and_not_drawn_by_lot(copy, part):
    (weights,) = (copy / part).glob("*.safetensors")
    tensors = load_file(weights)
    lost = sorted(tensors)[0]
    del tensors[lost]
    save_file(tensors, weights, metadata={"format": "pt"})
    logger = logging.getLogger("transformers")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with pytest.raises(ModelLoadError, match=f"not whole.*{part}: {lost}"):
            load(copy)
        assert logger.level == logging.ERROR
    finally:
        logger.setLevel(before)


@pytest.mark.parametrize("variant", ["fp16", "bf16"])
def test_a_variant_that_is_there_alone_is_loaded(copy, tiny_model, variant):
    for weights in copy.rglob("*.safetensors"):
        weights.rename(weights.with_suffix(f".{variant}.safetensors"))
    made, expected = (load(f).generate("a cat", [1])[0].pixels for f in (copy, tiny_model.path))
    assert (made == expected).all()


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.floats(-2, 2) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=5,
)
CONFIGS = [
    "model_index.json",
    "text_encoder/config.json",
    "tokenizer/tokenizer_config.json",
    "tokenizer/tokenizer.json",
    "unet/config.json",
    "vae/config.json",
    "scheduler/scheduler_config.json",
]


@pytest.mark.fuzz
@settings(max_examples=25)
@given(name=st.sampled_from(CONFIGS), data=st.data())
def test_whatever_a_models_configs_say_it_makes_pictures_or_is_refused_in_our_words(
    tiny_model, tmp_path_factory, name, data
):
    folder = tmp_path_factory.mktemp("fuzzed") / "model"
    shutil.copytree(tiny_model.path, folder)
    config = json.loads((folder / name).read_text())
    key = data.draw(st.sampled_from(sorted(config)))
    config[key] = data.draw(JSON)
    (folder / name).write_text(json.dumps(config))
    model = Model(path=str(folder))
    with contextlib.suppress(ConfigError):
        check_model(model, Sampling(width=16, height=16))
        check_class(model)
        open_tokenizers(model)
    with contextlib.suppress(ModelLoadError, GenerationError):
        load(folder, width=16, height=16).generate("a cat", [1])
