"""That prompt and seed alone decide a picture is found out of every model as it is loaded."""

from pathlib import Path

import numpy as np
import pytest
from diffusers import StableDiffusionPipeline
from PIL import Image
from transformers import Ministral3Config, Ministral3ForCausalLM

from seedsweep.storage.errors import ModelLoadError
from seedsweep.storage.settings.model import Model
from seedsweep.storage.settings.sampling import Sampling
from seedsweep.workers.models.parts import Places
from seedsweep.workers.pipelines import call_arguments
from seedsweep.workers.pipelines.diffusers_pipeline import DiffusersPipeline
from seedsweep.workers.pipelines.promises import require_steps
from seedsweep.workers.pipelines.protocol import on_white
from tests.support.classes.decoders import ernie
from tests.support.classes.registry import save_parts


@pytest.fixture(scope="module")
def rewriting(tmp_path_factory):
    """The folder of a model whose language model writes prompts anew, by lot."""
    folder, parts = tmp_path_factory.mktemp("model"), ernie()
    config = Ministral3Config(
        vocab_size=len(parts["tokenizer"]),
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=2,
        head_dim=8,
    )
    tokenizer = ernie()["tokenizer"]
    tokenizer.model_max_length = 8
    writer = {"pe": Ministral3ForCausalLM(config).eval(), "pe_tokenizer": tokenizer}
    save_parts("ErnieImagePipeline", parts | writer, folder)
    return folder


def load(folder, side=32, batch_size=1):
    sampling = Sampling(steps=2, guidance_scale=3.0, width=side, height=side, batch_size=batch_size)
    model = Model(path=str(folder), fingerprint="f")
    return DiffusersPipeline(Places(folder), model, sampling, "cpu", threads=1)


def test_a_language_model_that_would_write_prompts_anew_is_not_asked(rewriting):
    (first,) = load(rewriting).generate("a cat", [1])
    (again,) = load(rewriting).generate("a cat", [1])
    assert np.array_equal(first.pixels, again.pixels)


def test_a_model_that_draws_more_than_its_generator_fixes_is_refused(rewriting, monkeypatch):
    monkeypatch.setattr(call_arguments, "_REWRITES", ())
    with pytest.raises(ModelLoadError, match="another picture of the same prompt and seed each"):
        load(rewriting)


def test_pictures_that_share_the_first_ones_noise_are_refused_in_batches(tiny_model, monkeypatch):
    own = StableDiffusionPipeline.prepare_latents

    def prepare_latents(self, *args):
        *rest, generators, latents = args
        return own(self, *rest, [generators[0]] * len(generators), latents)

    monkeypatch.setattr(StableDiffusionPipeline, "prepare_latents", prepare_latents)
    with pytest.raises(ModelLoadError, match=r"do not each follow a seed.*batch_size = 1"):
        load(Path(tiny_model.path), side=16, batch_size=2)


def test_a_sampler_that_keeps_to_steps_of_its_own_is_refused_with_their_number():
    class Sampler:
        num_inference_steps = 8

    require_steps("model", Sampler(), 8)
    require_steps("model", None, 8)
    with pytest.raises(ModelLoadError, match=r"set sampling\.steps = 8"):
        require_steps("model", Sampler(), 50)


def test_a_transparent_picture_is_put_on_white_as_pillow_does_it():
    picture = np.random.default_rng(0).random((5, 6, 4))
    levels = np.rint(picture * 255).astype(np.uint8)
    white = Image.new("RGBA", (6, 5), "white")
    expected = Image.alpha_composite(white, Image.fromarray(levels)).convert("RGB")
    assert np.abs(on_white(levels / 255) * 255 - np.asarray(expected)).max() <= 1
