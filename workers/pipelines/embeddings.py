"""Textual inversions on a loaded pipeline: words that its tokenizers and text encoders learn."""

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from seedsweep.storage.errors import ModelLoadError
from seedsweep.storage.settings.model import Model
from seedsweep.workers.models.parts import Places
from seedsweep.workers.pipelines.assembly import one_line

_OF_SDXL = {"clip_l": "", "clip_g": "_2"}
"""By the name of a tensor, what ends the names of the text encoder and tokenizer it is for."""


def add_embeddings(pipeline: Any, places: Places, model: Model) -> None:
    """Teach the pipeline the model's embeddings, each by its token, of however many vectors.

    Raises `ModelLoadError` if the pipeline takes none, or one was made for another text encoder.
    """
    if model.embeddings and not hasattr(pipeline, "load_textual_inversion"):
        raise ModelLoadError(
            f"A {type(pipeline).__name__} takes no embeddings; leave [[model.embeddings]] out."
        )
    for number, (embedding, file) in enumerate(
        zip(model.embeddings, places.embeddings, strict=True), 1
    ):
        try:
            _load(pipeline, embedding.token, file)
        except torch.OutOfMemoryError:
            raise
        except Exception as error:  # a file of others may bring diffusers to raise anything
            raise ModelLoadError(
                f"The embedding {number} ({embedding.path}) does not fit a "
                f"{type(pipeline).__name__} ({one_line(error)}); name one that was trained on this "
                "base model, or correct its token."
            ) from error


def _load(pipeline: Any, token: str, file: Path) -> None:
    tensors = load_file(file)
    if set(tensors) != set(_OF_SDXL):
        if getattr(pipeline, "text_encoder_2", None) is not None:
            raise ValueError("it is for one text encoder, and the pipeline has two")
        pipeline.load_textual_inversion(next(iter(tensors.values())), token=token)
        return
    for name, end in _OF_SDXL.items():
        encoder = getattr(pipeline, f"text_encoder{end}", None)
        if encoder is None:
            raise ValueError("it is for two text encoders, and the pipeline has one")
        pipeline.load_textual_inversion(
            tensors[name],
            token=token,
            text_encoder=encoder,
            tokenizer=getattr(pipeline, f"tokenizer{end}"),
        )
