"""What a model's tokenizers make of prompts: where they cut them, and which are one to it."""

import contextlib
import hashlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from seedsweep.storage.errors import ConfigError, ModelLoadError
from seedsweep.storage.records import Unseen
from seedsweep.storage.settings.model import Model
from seedsweep.workers.models.folder import IndexedPart, components, read_index, read_json
from seedsweep.workers.models.local_folder import component_place, folder_here
from seedsweep.workers.models.weights_check import vectors_of
from seedsweep.workers.pipelines.diffusers_class import (
    call_parameters,
    class_of,
    is_installed,
    part_class,
)
from seedsweep.workers.pipelines.lacking_package import LackingPackageError, lacking_package

DIFFERENT = ("a red house", "3 blue birds", "狗在公园里", "ночь")
"""Prompts of several scripts: no tokenizer with a vocabulary takes all for one."""

_AT_A_TIME = 1_000


@dataclass(frozen=True, slots=True)
class Tokenizer:
    """A tokenizer of a pipeline, and how many tokens of a prompt go to the model."""

    name: str
    tokenizer: Any
    limit: int


def open_tokenizers(model: Model) -> list[Tokenizer]:
    """Load the tokenizers of a diffusers model, those in its processors included, if it and
    diffusers are on this machine; they know the tokens of its embeddings.

    Raises `ConfigError` if one cannot be loaded or takes all prompts for one, and
    `LackingPackageError`, which is one, if a package is wanting here.
    """
    folder = folder_here(model)
    if folder is None or not is_installed():
        return []
    kind = class_of((read_index(folder) or {}).get("_class_name"))
    longest = call_parameters(kind).get("max_sequence_length") if kind else None
    usual = longest.default if longest and isinstance(longest.default, int) else None
    parts = [part for part in components(folder) if part.is_tokenizer or _has_tokenizer(part)]
    opened = [_open(part, usual) for part in parts]
    for each in opened:
        _require_room(model, folder, each)
    for each in opened:
        each.tokenizer.add_tokens([word for words in _words(model).values() for word in words])
    return opened


def check_tokenizers(model: Model) -> None:
    """Raise `ConfigError` as `open_tokenizers` does, but not if a package is wanting here: workers
    elsewhere may have it."""
    with contextlib.suppress(LackingPackageError):
        open_tokenizers(model)


def read_as(model: Model, prompts: Sequence[str]) -> list[str]:
    """What the tokenizers are given for each prompt: the triggers that it lacks before it, and for
    each token of an embedding as many words as it has vectors."""
    texts = list(map(model.given, prompts))
    for token, words in _words(model).items():
        texts = [text.replace(token, " ".join(words)) for text in texts]
    return texts


def _words(model: Model) -> dict[str, list[str]]:
    """By token, the words that diffusers makes of the embeddings that are here."""
    return {
        one.token: [one.token, *(f"{one.token}_{n}" for n in range(1, vectors_of(Path(one.path))))]
        for one in model.embeddings
    }


def tells_apart(tokenizer: Any) -> bool:
    """Whether some of the prompts `DIFFERENT` differ to a tokenizer in more than their length: one
    without a vocabulary knows no word of any."""
    special = set(tokenizer.all_special_ids)
    words = (tokenizer(text, verbose=False).input_ids for text in DIFFERENT)
    return len({frozenset(set(ids) - special) for ids in words}) > 1


def require_vocabularies(pipeline: Any) -> None:
    """Raise `ModelLoadError` if a tokenizer of a loaded pipeline knows no word of any prompt."""
    import transformers

    for name, part in pipeline.components.items():
        tokenizer = getattr(part, "tokenizer", part)  # a processor has one
        if not isinstance(tokenizer, transformers.PreTrainedTokenizerBase):
            continue
        try:
            works, reason = tells_apart(tokenizer), "all prompts are one to it"
        except Exception as error:  # a model's own files may bring transformers to raise anything
            works, reason = False, " ".join(str(error).split())[:300] or type(error).__name__
        if not works:
            raise ModelLoadError(
                f"The {name} of the {type(pipeline).__name__} has no vocabulary that can be used "
                f"({reason}); fetch or save the model again, with tokenizer.json or vocab.json."
            )


def find_unseen(
    tokenizers: Sequence[Tokenizer], prompts: Sequence[str], settings: Sequence[object] = ()
) -> Unseen | None:
    """Find which prompts are cut, and which are one to the model; None without tokenizers.

    A prompt counts as cut if no tokenizer takes it whole; prompts are one if all tokenizers make
    the same of them, and `settings`, those that each has of its own if any, are the same.
    """
    if not tokenizers:
        return None
    cut: list[int] = []
    seen: dict[bytes, int] = {}
    same: list[tuple[int, int]] = []
    for first in range(0, len(prompts), _AT_A_TIME):
        texts = list(prompts[first : first + _AT_A_TIME])
        tokens = [each.tokenizer(texts, verbose=False).input_ids for each in tokenizers]
        for index, *made in zip(range(first, first + len(texts)), *tokens, strict=True):
            text = texts[index - first]
            ids = [_read(text, t, each) for t, each in zip(made, tokenizers, strict=True)]
            if all(len(t) > each.limit for t, each in zip(made, tokenizers, strict=True)):
                cut.append(index)
            made_of = (ids, settings[index]) if settings else ids
            earlier = seen.setdefault(hashlib.sha256(str(made_of).encode()).digest(), index)
            if earlier != index:
                same.append((index, earlier))
    return Unseen(cut=tuple(cut), same=tuple(same))


def unseen_words(
    unseen: Unseen | None,
    tokenizers: Sequence[Tokenizer],
    prompts: Sequence[str],
    seeds: int,
    shares: bool,
) -> tuple[str, ...]:
    """Say in sentences how many prompts are cut, how many are one with another and how many images
    of so many seeds that is, and which first. `shares`: whether these are made once."""
    if unseen is None:
        return ()
    said = []
    if unseen.cut:
        limit = max(each.limit for each in tokenizers)
        said.append(
            f"{_prompts_are(len(unseen.cut))} longer than the {limit} tokens that the model reads, "
            f"and cut there; the first is {_shown(prompts[unseen.cut[0]])}."
        )
    if unseen.same:
        text, earlier = (_shown(prompts[index]) for index in unseen.same[0])
        again = "are taken over and not made again" if shares else "come again"
        said.append(
            f"{_prompts_are(len(unseen.same))} the same to the model as an earlier one, whose "
            f"pictures {again}, up to {len(unseen.same) * seeds:,} images in all; the first is "
            f"{text}, which is one with {earlier}."
        )
    return tuple(said)


def _has_tokenizer(part: IndexedPart) -> bool:
    """Whether a part is a processor of prompts, and not of pictures alone."""
    is_processor = part.class_name.endswith("Processor")
    return is_processor and (part.folder / "tokenizer_config.json").is_file()


def _open(part: IndexedPart, usual: int | None) -> Tokenizer:
    try:
        loaded = part_class(part.library, part.class_name).from_pretrained(
            part.folder, local_files_only=True
        )
        tokenizer = getattr(loaded, "tokenizer", loaded) if _has_tokenizer(part) else loaded
        works = tells_apart(tokenizer)
        limit = min(tokenizer.model_max_length, usual or tokenizer.model_max_length)
    except Exception as error:  # a model's own files may bring transformers to raise anything
        package = lacking_package(error)
        if package:
            raise LackingPackageError(
                f"{part.name} of the model {part.folder.parent}", package
            ) from error
        raise ConfigError(
            f"The {part.name} of the model {part.folder.parent} cannot be loaded "
            f"({' '.join(str(error).split())[:300]}); fetch or save the folder again."
        ) from error
    if not works:
        raise ConfigError(
            f"The {part.name} of the model {part.folder.parent} has no vocabulary: all prompts are "
            "one to it; fetch or save the folder again, with tokenizer.json or vocab.json."
        )
    return Tokenizer(part.name, tokenizer, limit)


def _require_room(model: Model, folder: Path, each: Tokenizer) -> None:
    """CLIP's text encoders have a place for so many tokens, and are given as many as the tokenizer
    reads."""
    name = each.name.replace("tokenizer", "text_encoder")
    config = read_json(component_place(model, folder, name) / "config.json") or {}
    room = config.get("max_position_embeddings")
    if (
        config.get("model_type") == "clip_text_model"
        and isinstance(room, int)
        and each.limit > room
    ):
        raise ConfigError(
            f"The {each.name} of the model {folder} reads more tokens than the {room} that its "
            f"{name} takes; set model_max_length in {each.name}/tokenizer_config.json to {room}."
        )


def _read(text: str, tokens: list[int], by: Tokenizer) -> Sequence[int]:
    """What is left of a prompt's tokens; of one that is cut, the tokenizer knows what ends it."""
    if len(tokens) <= by.limit:
        return tokens
    return list(by.tokenizer(text, truncation=True, max_length=by.limit).input_ids)


_OF_CUTS = ("part of your input was truncated", "Token indices sequence length is longer")


def say_cuts_once() -> None:
    """Leave it to `unseen_words` to say which prompts are cut.

    diffusers says it for every call, and transformers that indexing will fail, which it does not.
    """
    for library in ("diffusers", "transformers"):
        for handler in logging.getLogger(library).handlers:
            handler.addFilter(_is_no_cut)


def _is_no_cut(record: logging.LogRecord) -> bool:
    said = record.getMessage()
    return not any(words in said for words in _OF_CUTS)


def _prompts_are(count: int) -> str:
    return "1 prompt is" if count == 1 else f"{count:,} prompts are"


def _shown(text: str) -> str:
    return repr(text) if len(text) <= 80 else f"{text[:38]!r}…{text[-38:]!r}"
