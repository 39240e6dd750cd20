import io
import json
import shutil
from importlib.util import find_spec

import pytest
import sentencepiece
import transformers

from seedsweep.storage.errors import ConfigError
from seedsweep.storage.records import Unseen
from seedsweep.storage.settings.model import Model
from seedsweep.workers.pipelines.prompt_tokens import (
    DIFFERENT,
    find_unseen,
    open_tokenizers,
    tells_apart,
    unseen_words,
)
from tests.support.classes.tokenizers import chat_glm_tokenizer
from tests.support.model_folders import put, reindex, save_folder
from tests.support.tiny_model import letters_tokenizer

LONG = "x" * 20


@pytest.fixture
def folder(tmp_path):
    """A pipeline's folder with a tokenizer of letters, which takes 12 of them with both ends."""
    folder = save_folder(tmp_path / "model")
    shutil.rmtree(folder / "tokenizer")
    letters_tokenizer(12).save_pretrained(folder / "tokenizer")
    return folder


def opened(folder):
    return open_tokenizers(Model(path=str(folder)))


def told(tokenizers, prompts):
    return unseen_words(find_unseen(tokenizers, prompts), tokenizers, prompts, 250, shares=True)


@pytest.mark.parametrize(
    ("prompts", "said"),
    [
        (["a cat", "a dog"], []),
        (["0123456789"], []),
        (["a cat", "0123456789a"], ["1 prompt is longer than the 12 tokens", "0123456789a"]),
        ([LONG + "a", "a", LONG + "b"], ["2 prompts are longer", "1 prompt is the same"]),
        (
            ["A cat", "a cat"],
            [
                "1 prompt is the same",
                "are taken over and not made again",
                "up to 250 images in all",
                "'a cat', which is one with 'A cat'",
            ],
        ),
    ],
)
def test_prompts_that_the_model_does_not_see_whole_or_apart_are_told(folder, prompts, said):
    text = " ".join(told(opened(folder), prompts))
    assert bool(text) == bool(said)
    for words in said:
        assert words in text


def test_each_such_prompt_is_named_by_its_place(folder):
    prompts = ["a", LONG + "a", "A", LONG + "b", "b", LONG + "a!"]
    assert find_unseen(opened(folder), prompts) == Unseen(
        cut=(1, 3, 5), same=((2, 0), (3, 1), (5, 1))
    )
    assert find_unseen([], prompts) is None


def test_a_prompt_is_whole_if_some_tokenizer_takes_it_whole(folder):
    reindex(folder, tokenizer_2=["transformers", "CLIPTokenizer"])
    letters_tokenizer(40).save_pretrained(folder / "tokenizer_2")
    tokenizers = opened(folder)
    assert [(each.name, each.limit) for each in tokenizers] == [
        ("tokenizer", 12),
        ("tokenizer_2", 40),
    ]
    assert told(tokenizers, [LONG + "a", LONG + "b"]) == ()


def test_what_the_pipelines_call_takes_is_the_limit_if_it_is_less(folder):
    reindex(folder, _class_name="StableDiffusion3Pipeline")
    letters_tokenizer(1000).save_pretrained(folder / "tokenizer")
    assert [each.limit for each in opened(folder)] == [256]


@pytest.mark.parametrize("length", [13, 10**30])
def test_a_tokenizer_that_reads_more_than_the_text_encoder_takes_is_refused(folder, length):
    described = {"model_type": "clip_text_model", "max_position_embeddings": 12}
    put(folder, "text_encoder/config.json", json.dumps(described))
    assert opened(folder)[0].limit == 12
    letters_tokenizer(length).save_pretrained(folder / "tokenizer")
    with pytest.raises(ConfigError, match=r"tokenizer/tokenizer_config\.json to 12\."):
        opened(folder)


def test_many_prompts_are_told_as_few_are(folder):
    prompts = [f"{number:04}" for number in range(2_500)] + [LONG]
    (sentence,) = told(opened(folder), prompts)
    assert sentence.startswith("1 prompt is longer")


BROKEN = [
    (lambda folder: (folder / "tokenizer.json").unlink(), "has no vocabulary"),
    (lambda folder: put(folder, "tokenizer.json", "{}"), "cannot be loaded"),
    (lambda folder: put(folder, "tokenizer.json", "[" * 10_000), "cannot be loaded"),
    (lambda folder: put(folder, "tokenizer_config.json", "[]"), "cannot be loaded"),
    (lambda folder: put(folder, "tokenizer_config.json", '{"model_max_length": "x"}'), "cannot be"),
]


@pytest.mark.parametrize(("change", "said"), BROKEN)
def test_a_tokenizer_that_makes_nothing_of_prompts_is_refused_by_name(folder, change, said):
    change(folder / "tokenizer")
    with pytest.raises(ConfigError, match=f"The tokenizer of the model .* {said}") as caught:
        opened(folder)
    assert "\n" not in str(caught.value)


@pytest.fixture
def processor(folder):
    """The folder with a processor that sees pictures and videos too, and no other tokenizer."""
    reindex(folder, tokenizer=[None, None], processor=["transformers", "Qwen3VLProcessor"])
    letters_tokenizer(12).save_pretrained(folder / "processor")
    kinds = {"image_processor": "Qwen2VLImageProcessor", "video_processor": "Qwen3VLVideoProcessor"}
    described = {name: {f"{name}_type": kind} for name, kind in kinds.items()}
    put(folder, "processor/processor_config.json", json.dumps(described))
    return folder


@pytest.mark.skipif(bool(find_spec("torchvision")), reason="torchvision is here")
def test_a_processor_that_needs_a_package_is_refused_with_its_name(processor):
    with pytest.raises(ConfigError, match="needs the package torchvision") as said:
        opened(processor)
    assert str(said.value).endswith("on every worker's host: pip install torchvision.")


def test_what_a_processor_reads_is_what_its_tokenizer_reads(processor, monkeypatch):
    monkeypatch.setattr(transformers, "Qwen3VLProcessor", Reader)
    (tokenizer,) = opened(processor)
    assert (tokenizer.name, tokenizer.limit) == ("processor", 12)


class Reader:
    """A processor of prompts alone."""

    def __init__(self, tokenizer):
        self.tokenizer = tokenizer

    @classmethod
    def from_pretrained(cls, folder, **options):
        return cls(transformers.CLIPTokenizer.from_pretrained(folder, **options))


def test_a_tokenizer_of_a_family_of_diffusers_is_found_there(folder):
    reindex(folder, tokenizer=["kolors", "ChatGLMTokenizer"])
    shutil.rmtree(folder / "tokenizer")
    chat_glm_tokenizer().save_pretrained(folder / "tokenizer")
    assert told(opened(folder), ["a cat", "a dog"]) == ()


def test_a_class_that_transformers_does_not_have_is_refused(folder):
    reindex(folder, tokenizer=["transformers", "NoSuchTokenizer"])
    with pytest.raises(ConfigError, match="cannot be loaded"):
        opened(folder)


def test_a_tokenizer_that_is_kept_as_a_sentencepiece_model_alone_works(folder):
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(["a red house", "three blue birds", "some more words"] * 5),
        model_writer=model,
        model_type="unigram",
        vocab_size=40,
        hard_vocab_limit=False,
        pad_id=0,
        eos_id=1,
        unk_id=2,
        bos_id=-1,
        minloglevel=2,
    )
    settings = {"tokenizer_class": "T5Tokenizer", "model_max_length": 20, "extra_ids": 0}
    put(folder, "tokenizer_2/spiece.model", model.getvalue())
    put(folder, "tokenizer_2/tokenizer_config.json", json.dumps(settings))
    reindex(folder, tokenizer_2=["transformers", "T5Tokenizer"])
    tokenizer = opened(folder)[1]
    assert tokenizer.limit == 20
    assert tells_apart(tokenizer.tokenizer)
    assert told([tokenizer], list(DIFFERENT[:2])) == ()
