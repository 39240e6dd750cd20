"""LoRA on a loaded pipeline, by diffusers and PEFT, and what shows that all of it was loaded."""

import hashlib
from collections import defaultdict
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from seedsweep.storage.errors import ModelLoadError
from seedsweep.storage.settings.model import Model
from seedsweep.workers.models.parts import Places
from seedsweep.workers.models.weights_check import PAIR
from seedsweep.workers.pipelines.assembly import one_line


def add_adapters(pipeline: Any, places: Places, model: Model) -> None:
    """Load the model's adapters into the pipeline, each with its weight, and fuse them if asked.

    diffusers loads what fits and only warns of the rest: refused is an adapter of which any layer
    finds no layer of the model. Each layer is scaled by alpha ÷ rank as its file says: of files
    with several alphas diffusers takes one for all. Raises `ModelLoadError`, also without PEFT.
    """
    if not model.adapters:
        return
    if find_spec("peft") is None:
        raise ModelLoadError(
            "The model has adapters, which need the package peft; install it on every worker's "
            "host: pip install peft."
        )
    if not hasattr(pipeline, "load_lora_weights"):
        raise ModelLoadError(
            f"A {type(pipeline).__name__} takes no adapters; merge them into the model's weights."
        )
    for number, file in enumerate(places.adapters, 1):
        _load(pipeline, number, file, model)
    names = [adapter_name(number) for number in range(1, len(model.adapters) + 1)]
    pipeline.set_adapters(names, [adapter.weight for adapter in model.adapters])
    if model.fuse_adapters:
        pipeline.fuse_lora(adapter_names=names)
        pipeline.unload_lora_weights()


def adapter_name(number: int) -> str:
    """What PEFT calls the model's adapter with this number, from 1."""
    return f"adapter_{number}"


def _load(pipeline: Any, number: int, file: Path, model: Model) -> None:
    path, name = model.adapters[number - 1].path, adapter_name(number)
    try:
        pipeline.load_lora_weights(
            str(file), use_safetensors=True, local_files_only=True, adapter_name=name
        )
        tensors = load_file(file)
    except torch.OutOfMemoryError:
        raise
    except Exception as error:  # a file of others may bring diffusers to raise anything
        raise ModelLoadError(
            f"The adapter {number} ({path}) does not fit a {type(pipeline).__name__} "
            f"({one_line(error)}); name one that was trained on this base model."
        ) from error
    layers = [*_layers(pipeline, name)]
    wanted = sum(PAIR.search(key) is not None for key in tensors)
    if not wanted or len(layers) < wanted:
        raise ModelLoadError(
            f"The adapter {number} ({path}) does not fit a {type(pipeline).__name__}: "
            f"{len(layers)} of its {wanted} layers are there; name one that was trained on this "
            "base model, as diffusers or kohya's trainer saves it."
        )
    _scale(number, path, tensors, layers, name)
    pairs = [(layer.lora_A[name].weight, layer.lora_B[name].weight) for layer in layers]
    if not all(weights.isfinite().all() for pair in pairs for weights in pair):
        raise ModelLoadError(
            f"The adapter {number} ({path}) has weights that are no finite numbers, so that every "
            "picture would be broken; name one whose training did not fail."
        )
    scales = [layer.scaling[name] for layer in layers]
    if not any(scale and up.any() for scale, (_, up) in zip(scales, pairs, strict=True)):
        raise ModelLoadError(
            f"The adapter {number} ({path}) alters nothing: all that it adds is 0; name one that "
            "was trained."
        )


def _layers(pipeline: Any, name: str) -> Iterator[Any]:
    """The layers of the pipeline that an adapter is added to."""
    for part in pipeline.components.values():
        if isinstance(part, torch.nn.Module):
            for module in part.modules():
                if name in getattr(module, "lora_A", ()):
                    yield module


def _scale(
    number: int, path: str, tensors: dict[str, torch.Tensor], layers: Sequence[Any], name: str
) -> None:
    """Give each layer the scale that the file has for it.

    Only layers whose tensors were loaded as they stand in the file are known again.
    """
    said = defaultdict[bytes, set[float]](set)
    for key, down in tensors.items():
        match = PAIR.search(key)
        alpha = tensors.get(f"{key[: match.start()]}.alpha") if match else None
        if alpha is not None:
            said[_digest(down)].add(float(alpha) / down.shape[0])
    for layer in layers:
        wanted = said.get(_digest(layer.lora_A[name].weight), set())
        if len(wanted) > 1:
            raise ModelLoadError(
                f"The adapter {number} ({path}) has layers of equal weights and different alphas, "
                "which cannot be told from each other; merge it into the model with the tool that "
                "trained it."
            )
        for scale in wanted:
            layer.lora_alpha[name], layer.scaling[name] = scale * layer.r[name], scale


def _digest(weights: torch.Tensor) -> bytes:
    """Names the values of a tensor, as exactly as 16 bits hold them."""
    values = weights.detach().to("cpu", torch.float32).to(torch.bfloat16).to(torch.float32)
    return hashlib.sha256(values.contiguous().numpy().tobytes()).digest()
