"""A diffusers pipeline from the places of its parts: its folder or checkpoint, and components."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import diffusers
import torch
import transformers
from diffusers.loaders.single_file_utils import SingleFileComponentError

from seedsweep.storage.errors import ModelLoadError
from seedsweep.storage.held_folder import held_folder
from seedsweep.storage.settings.model import Model
from seedsweep.workers.models.folder import (
    IndexedPart,
    component_of,
    components,
    config_files,
    read_index,
    variant_of,
)
from seedsweep.workers.models.parts import Places
from seedsweep.workers.pipelines.diffusers_class import class_of
from seedsweep.workers.pipelines.lacking_package import lacking_package
from seedsweep.workers.pipelines.loaded_weights import drawn_by_lot, unused_weights

_MOVED = ("alt_diffusion", "wuerstchen")
"""The families of what is deprecated whose networks diffusers exports no more."""

_LACKING = re.compile(r"Failed to load (\w+)")


def assemble(places: Places, model: Model) -> Any:
    """The pipeline of `[model]` with its components, on the CPU; nothing is fetched.

    Raises `ModelLoadError` if a part cannot be loaded, or lacks weights that would be drawn by lot.
    """
    index = places.config or places.model
    try:
        with drawn_by_lot() as lacking:
            _name_moved(index)
            given = {
                one.name: _component(places.components[one.name], one.name, index, model)
                for one in model.components
            }
            if places.config is not None:
                pipeline = _from_checkpoint(places.model, places.config, model, given)
            else:
                pipeline = diffusers.DiffusionPipeline.from_pretrained(
                    places.model,
                    dtype=_dtype(model),
                    use_safetensors=True,
                    variant=model.variant or variant_of(places.model),
                    trust_remote_code=False,
                    local_files_only=True,
                    **given,
                )
    except (torch.OutOfMemoryError, ModelLoadError):
        raise
    except Exception as error:  # a model's own files may bring diffusers to raise anything
        require_packages(model, error)
        raise ModelLoadError(
            f"The model {model.path} could not be loaded from {places.model} ({one_line(error)}); "
            "check that diffusers' DiffusionPipeline loads it with safetensors."
        ) from error
    if lacking:
        raise ModelLoadError(
            f"The model {model.path} is not whole: weights are in none of its files "
            f"({', '.join(lacking)}), and would be drawn by lot; fetch or save the folder again."
        )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def _name_moved(folder: Path) -> None:
    """Name classes that diffusers has moved among what is deprecated where it looks for them.

    Folders that people hold name them by their family; diffusers now saves them as its own.
    """
    from diffusers import pipelines
    from diffusers.pipelines import deprecated

    for part in components(folder):
        for family in _MOVED:
            moved = getattr(deprecated, family, None)
            if not hasattr(moved, part.class_name):
                continue
            if part.library == family and not hasattr(pipelines, family):
                setattr(pipelines, family, moved)
            if part.library == "diffusers" and not hasattr(diffusers, part.class_name):
                setattr(diffusers, part.class_name, getattr(moved, part.class_name))


def one_line(error: Exception) -> str:
    """What an error says, or what it is, on one line; diffusers' and torch's may have many."""
    return " ".join(str(error).split())[:400] or type(error).__name__


def require_packages(model: Model, error: Exception) -> None:
    """Raise `ModelLoadError` if this error was raised for want of a package."""
    package = lacking_package(error)
    if package:
        raise ModelLoadError(
            f"The model {model.path} needs the package {package}, which is not here; install it on "
            f"every worker's host: pip install {package}."
        ) from error


def _dtype(model: Model) -> torch.dtype:
    dtype: torch.dtype = getattr(torch, model.dtype)
    return dtype


def _component(folder: Path, name: str, index: Path, model: Model) -> Any:
    """A network by the class that its configuration names; one of transformers by that of the part
    whose place it takes, since its own file may hold more than that."""
    part = component_of(folder, name)
    kinds: Any = diffusers
    if part.library == "transformers":
        own = next(one for one in components(index) if one.name == name)
        part, kinds = IndexedPart(name, own.library, own.class_name, folder), transformers
    kind = getattr(kinds, part.class_name, None)
    if kind is None:
        raise ModelLoadError(
            f"The {name} in {folder} is a {part.class_name!r}, which {part.library} does not have; "
            "name a component of the model's kind."
        )
    variant = part.variant(model.variant) or None
    return kind.from_pretrained(
        folder, dtype=_dtype(model), use_safetensors=True, variant=variant, local_files_only=True
    )


def _from_checkpoint(file: Path, config: Path, model: Model, given: dict[str, Any]) -> Any:
    kind: Any = class_of((read_index(config) or {}).get("_class_name"))
    if not hasattr(kind, "from_single_file"):
        raise ModelLoadError(
            f"The configuration {config} is of a pipeline that is not loaded from one file; name "
            "another as model.config, or a folder as model.path."
        )
    with _without_weights(config) as bare, unused_weights() as unused:
        try:
            pipeline = kind.from_single_file(
                str(file), config=str(bare), dtype=_dtype(model), local_files_only=True, **given
            )
        except SingleFileComponentError as error:
            lacking = _LACKING.search(str(error))
            raise ModelLoadError(
                f"The model {model.path} lacks a part that its configuration {model.config} has"
                f"{f' (a {lacking[1]})' if lacking else ''}; name a folder of it under "
                "[[model.components]], or the configuration of the checkpoint's kind."
            ) from error
    empty = [
        f"{name}: {weight}"
        for name, part in pipeline.components.items()
        if isinstance(part, torch.nn.Module)
        for weight, values in part.named_parameters()
        if values.is_meta
    ]
    if empty or unused:
        what = f"lacks {empty[0]}" if empty else f"has more than it says ({unused[0]})"
        raise ModelLoadError(
            f"The model {model.path} does not fit its configuration {model.config}: it {what}; "
            "name the configuration of its kind as model.config."
        )
    return pipeline


@contextmanager
def _without_weights(config: Path) -> Iterator[Path]:
    """A folder that describes a model and has no weights: diffusers would take from them what the
    checkpoint lacks."""
    with held_folder("ssconfig-") as bare:
        for path in config_files(config):
            link = bare / path
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to((config / path).resolve())
        yield bare
