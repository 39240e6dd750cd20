"""Tokenizers whose words are letters, of the kinds that models have: nothing is fetched."""

import functools
import string
import tempfile
from pathlib import Path

import sentencepiece
from diffusers.pipelines.kolors.tokenizer import ChatGLMTokenizer
from tokenizers import pre_tokenizers, processors
from transformers import (
    BertTokenizer,
    GemmaTokenizer,
    Qwen2Tokenizer,
    T5Tokenizer,
    XLMRobertaTokenizer,
)

LETTERS = string.ascii_letters + string.digits + string.punctuation
CHAT = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n"
    "{% if m['content'] is string %}{{ m['content'] }}"
    "{% else %}{% for c in m['content'] %}{{ c['text'] }}{% endfor %}{% endif %}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
"""What a chat model is given for a conversation."""

_FOLDER = tempfile.TemporaryDirectory()  # as long as the process: the file is read again

_SPOKEN = [
    *("<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>"),
    *("<|image_pad|>", "<|video_pad|>"),
]


def t5_tokenizer(longest=64):
    """Unigrams, as sentencepiece has them."""
    return T5Tokenizer(
        vocab=_pieces("<pad>", "</s>", "<unk>"), extra_ids=0, model_max_length=longest
    )


def roberta_tokenizer():
    return XLMRobertaTokenizer(vocab=_pieces("<s>", "<pad>", "</s>", "<unk>"), model_max_length=64)


def bert_tokenizer():
    """Word pieces."""
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *LETTERS, *("##" + c for c in LETTERS)]
    return BertTokenizer(vocab=_numbered(words), model_max_length=77)


def qwen_tokenizer(**settings):
    """Bytes, with the tokens of a conversation and its template."""
    words = ["<|endoftext|>", *sorted(pre_tokenizers.ByteLevel.alphabet())]
    return Qwen2Tokenizer(
        vocab=_numbered(words),
        merges=[],
        chat_template=CHAT,
        extra_special_tokens=_SPOKEN,
        model_max_length=1024,
        **settings,
    )


def glm_tokenizer():
    """A conversation's bytes, which begin with a token even of no words."""
    tokenizer = qwen_tokenizer(padding_side="left")
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="<|im_start|> $A", special_tokens=[("<|im_start|>", len(tokenizer) - len(_SPOKEN))]
    )
    return tokenizer


def gemma_tokenizer():
    """Letters, which begin with a token even of no words."""
    words = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>", "▁", "\n", *LETTERS]
    return GemmaTokenizer(
        vocab=_numbered(words), merges=[], model_max_length=1024, add_bos_token=True
    )


def chat_glm_tokenizer():
    """Pieces of words, of the kind that is kept as a sentencepiece model alone."""
    return ChatGLMTokenizer(str(_sentencepiece_model()))


@functools.cache
def _sentencepiece_model():
    model = Path(_FOLDER.name) / "tokenizer.model"
    with model.open("wb") as file:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter([" ".join(LETTERS)] * 2),
            model_writer=file,
            model_type="char",
            hard_vocab_limit=False,
            pad_id=3,
            minloglevel=2,
        )
    return model


def _pieces(*special):
    return [*((word, 0.0) for word in special), ("▁", -1.0), *((c, -2.0) for c in LETTERS)]


def _numbered(words):
    return {word: number for number, word in enumerate(words)}
