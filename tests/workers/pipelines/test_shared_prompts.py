"""Prompts are one, and made once, if and only if all that the model is given of them is one."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from seedsweep.storage.settings.model import Adapter, Embedding, Model
from seedsweep.storage.settings.sampling import Sampling
from seedsweep.workers.models.parts import Places
from seedsweep.workers.pipelines.diffusers_pipeline import DiffusersPipeline
from seedsweep.workers.pipelines.prompt_tokens import find_unseen, open_tokenizers, read_as
from tests.support.classes.registry import save_class
from tests.support.model_folders import safetensors, save_folder
from tests.support.tiny_model import letters_tokenizer

WORD = "<w>"
CASES = ("a Cat", "a cat")
AT_24 = tuple("x" * 22 + end for end in ("a", "b"))
AT_300 = tuple("x" * 300 + end for end in ("a", "b"))


@pytest.fixture(scope="module")
def model_of(tmp_path_factory):
    """The tiny model of a class, saved once."""
    saved = {}

    def model_of(name):
        if name not in saved:
            folder = tmp_path_factory.mktemp("model")
            save_class(name, folder)
            saved[name] = Model(path=str(folder), fingerprint="f")
        return saved[name]

    return model_of


def same(model, prompts, settings=()):
    return bool(find_unseen(open_tokenizers(model), read_as(model, prompts), settings).same)


@pytest.mark.parametrize(
    ("name", "side", "prompts", "one"),
    [
        ("StableDiffusionXLPipeline", 16, CASES, True),
        ("StableDiffusionXLPipeline", 16, AT_24, True),
        ("StableDiffusion3Pipeline", 32, CASES, False),
        ("StableDiffusion3Pipeline", 32, AT_24, False),
        ("StableDiffusion3Pipeline", 32, AT_300, True),
    ],
)
def test_prompts_are_one_where_their_pictures_are(model_of, name, side, prompts, one):
    """CLIP reads small letters, and 24 of them; T5 reads both, and what its call is told to."""
    model = model_of(name)
    sampling = Sampling(steps=1, guidance_scale=3.0, width=side, height=side, batch_size=1)
    pipeline = DiffusersPipeline(Places(Path(model.path)), model, sampling, "cpu", threads=1)
    (first,), (second,) = (pipeline.generate(prompt, [1]) for prompt in prompts)
    assert np.array_equal(first.pixels, second.pixels) == one
    assert pipeline.reads_alike(*prompts) == one
    assert same(model, prompts) == one


@pytest.fixture
def folder(tmp_path):
    """A folder whose tokenizer takes 24 letters with both ends."""
    folder = save_folder(tmp_path / "model")
    shutil.rmtree(folder / "tokenizer")
    letters_tokenizer(24).save_pretrained(folder / "tokenizer")
    return folder


def test_a_prompt_with_the_trigger_is_one_with_that_without_it(folder):
    model = Model(path=str(folder), adapters=(Adapter(path="x.safetensors", trigger="sks"),))
    assert same(model, ["sks a cat", "a cat"])
    assert not same(model, ["a cat sks", "a cat"])
    assert not same(model.model_copy(update={"adapters": ()}), ["sks a cat", "a cat"])


def test_the_word_of_an_embedding_is_one_with_no_other_and_counts_by_its_vectors(folder, tmp_path):
    file = tmp_path / "embedding.safetensors"
    file.write_bytes(safetensors(emb_params=[30, 16]))
    model = Model(path=str(folder), embeddings=(Embedding(path=str(file), token=WORD),))
    assert not same(model, [f"a {WORD}", "a w"])
    prompts = [f"{WORD} {'a ' * 2}{end}" for end in "bc"]
    assert same(model, prompts)
    assert not same(model.model_copy(update={"embeddings": ()}), prompts)


def test_prompts_with_other_settings_are_not_one(folder):
    model = Model(path=str(folder))
    assert same(model, ["A cat", "a cat"], [{"steps": 2}, {"steps": 2}])
    assert not same(model, ["A cat", "a cat"], [{"steps": 2}, {"steps": 3}])
    assert not same(model, ["A cat", "a cat"], [None, {"steps": 3}])
