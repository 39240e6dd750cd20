"""A diffusers pipeline from its parts, loaded and set up as the campaign's `[model]` says."""

from typing import Any

import torch

from seedsweep.storage.errors import DeviceMemoryError, ModelLoadError
from seedsweep.storage.settings.model import Model
from seedsweep.workers.models.parts import Places
from seedsweep.workers.pipelines.adapters import add_adapters
from seedsweep.workers.pipelines.assembly import assemble, one_line
from seedsweep.workers.pipelines.embeddings import add_embeddings

COMPILED_SHAPES = 64
"""As many shapes of batches a compiled model keeps; beyond them, torch no longer compiles."""


def load_diffusers(places: Places, model: Model, device: str) -> Any:
    """Load the pipeline onto the device, with the components, embeddings and adapters of `model`,
    and every option that is switched on:

    - `attention_slicing`: the denoiser's attention in two steps, each over half of the heads;
    - `vae_slicing`: one picture decoded at a time; `vae_tiling`: pictures larger than the
      autoencoder's tile decoded tile by tile, which alters their pixels;
    - `channels_last`: the convolutions' weights with the channels innermost;
    - `compile`: the denoiser through torch.compile, anew for each shape of a batch, at its first;
    - `cpu_offload`: each part on the device only while it is at work.

    The denoiser is whatever the pipeline calls a unet or transformer. Raises `ModelLoadError`, also
    where the pipeline or the device cannot do what is asked, and `DeviceMemoryError`.
    """
    if model.cpu_offload and torch.device(device).type == "cpu":
        raise ModelLoadError(
            f"The model {model.path} with model.cpu_offload = true needs an accelerator, and this "
            f"worker's device is {device}; use a GPU's worker, or leave the option out."
        )
    pipeline = assemble(places, model)
    add_embeddings(pipeline, places, model)
    add_adapters(pipeline, places, model)
    if model.attention_slicing:
        _slice_attention(pipeline)
    if model.vae_slicing:
        _switch_on_vae(pipeline, "vae_slicing", "enable_slicing")
    if model.vae_tiling:
        _switch_on_vae(pipeline, "vae_tiling", "enable_tiling")
    if model.channels_last:
        _put_channels_last(pipeline)
    _place(pipeline, model, device)
    if model.compile:
        _compile(pipeline)
    return pipeline


def is_compilers_failure(error: Exception) -> bool:
    """Whether torch.compile failed, and not what it compiled."""
    from torch._dynamo.exc import TorchDynamoException

    return isinstance(error, TorchDynamoException)


def _place(pipeline: Any, model: Model, device: str) -> None:
    try:
        if model.cpu_offload:
            pipeline.enable_model_cpu_offload(device=device)
        else:
            pipeline.to(device)
    except torch.OutOfMemoryError as error:
        raise DeviceMemoryError(
            f"The model {model.path} is more than {device} has memory for; "
            "set model.cpu_offload = true, or take a smaller dtype."
        ) from error
    except (ValueError, ImportError, NotImplementedError) as error:
        if model.cpu_offload:
            raise _cannot(pipeline, "cpu_offload", str(error)) from error
        raise ModelLoadError(
            f"The model {model.path} could not be put on {device} ({one_line(error)}); check that "
            "its weights are whole and fit its configs."
        ) from error


def _slice_attention(pipeline: Any) -> None:
    heads = [
        layer.sliceable_head_dim
        for part in denoisers(pipeline)
        if hasattr(part, "set_attention_slice")
        for layer in part.modules()
        if hasattr(layer, "sliceable_head_dim")
    ]
    if min(heads, default=0) < 2:
        raise _cannot(pipeline, "attention_slicing", "its denoiser has no heads to slice")
    pipeline.enable_attention_slicing()


def _switch_on_vae(pipeline: Any, option: str, method: str) -> None:
    vae = getattr(pipeline, "vae", None)
    if not hasattr(vae, method):
        raise _cannot(pipeline, option, "it has no autoencoder that can")
    try:
        getattr(vae, method)()
    except NotImplementedError as error:
        raise _cannot(pipeline, option, str(error)) from error


def _put_channels_last(pipeline: Any) -> None:
    vae = getattr(pipeline, "vae", None)
    parts = [*denoisers(pipeline), *([vae] if isinstance(vae, torch.nn.Module) else [])]
    if not any(weight.dim() == 4 for part in parts for weight in part.parameters()):
        raise _cannot(pipeline, "channels_last", "it has no convolutions")
    for part in parts:
        part.to(memory_format=torch.channels_last)


def _compile(pipeline: Any) -> None:
    parts = denoisers(pipeline)
    if not parts:
        raise _cannot(pipeline, "compile", "it has neither a unet nor a transformer")
    # What was compiled for an earlier model would count against the limit of this one.
    torch.compiler.reset()
    for part in parts:
        # Kernels for any shape would make other pixels than a process that met this one first.
        part.compile(dynamic=False, recompile_limit=COMPILED_SHAPES)


def denoisers(pipeline: Any) -> list[Any]:
    """The networks of a pipeline that predict: whatever it calls a unet or transformer."""
    return [
        part
        for name, part in pipeline.components.items()
        if name.startswith(("unet", "transformer")) and isinstance(part, torch.nn.Module)
    ]


def _cannot(pipeline: Any, option: str, reason: str) -> ModelLoadError:
    return ModelLoadError(
        f"A {type(pipeline).__name__} cannot do model.{option} ({reason}); leave the option out."
    )
