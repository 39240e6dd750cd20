"""What a campaign file names of a model → absolute places, each with its fingerprint."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from seedsweep.storage.errors import ConfigError
from seedsweep.storage.settings.model import Adapter, Component, Embedding, Model
from seedsweep.workers.models.fingerprint import fingerprint_part, hub_part
from seedsweep.workers.models.parts import (
    ModelPart,
    base_part,
    component_folder,
    component_part,
    config_part,
    weights_parts,
)

PICKLES = frozenset({".bin", ".ckpt", ".pt", ".pth", ".pkl"})
"""Files that run code when they are loaded; none is ever opened."""

_USUAL = frozenset({"pytorch_lora_weights.safetensors", "learned_embeds.safetensors"})

Weights = TypeVar("Weights", Adapter, Embedding)


def resolve_parts(model: Model, folder: Path) -> Model:
    """A diffusers model with absolute places instead of those relative to `folder`, the file that
    each adapter and embedding is, and every fingerprint.

    Raises `ConfigError` if a part is not there, or is no safetensors.
    """
    _refuse_file(model, folder / model.path)
    model = model.model_copy(update={"path": _absolute(model.path, folder)})
    _require_sense(model)
    if model.config:
        model = model.model_copy(update={"config": _absolute(model.config, folder)})
    config = config_part(model)
    return model.model_copy(
        update={
            "fingerprint": fingerprint_part(base_part(model)),
            "config_fingerprint": fingerprint_part(config) if config else "",
            "adapters": _weights(model.adapters, folder),
            "embeddings": _weights(model.embeddings, folder),
            "components": tuple(_component(one, model, folder) for one in model.components),
        }
    )


def _absolute(path: str, folder: Path) -> str:
    return str((folder / path).resolve()) if (folder / path).exists() else path


def _refuse_file(model: Model, path: Path) -> None:
    if path.is_file() and path.suffix in PICKLES:
        raise ConfigError(
            f"The model {model.path} is a pickle ({path.suffix}), which may run code when it is "
            "loaded; save it as safetensors with a tool that you trust."
        )
    if path.is_file() and path.suffix == ".gguf":
        raise ConfigError(
            f"The model {model.path} is quantised (GGUF), which is not loaded here; name a "
            "checkpoint of 16 or 32 bits, or the folder that save_pretrained wrote."
        )
    if path.is_file() and path.suffix != ".safetensors":
        raise ConfigError(
            f"The model {model.path} is one file and no safetensors; name a .safetensors "
            "checkpoint, or the folder that save_pretrained wrote."
        )
    if not path.exists() and model.is_single_file:
        raise ConfigError(f"The model {model.path} is not there; correct model.path.")


def _require_sense(model: Model) -> None:
    if model.is_single_file and not model.config:
        raise ConfigError(
            f"The model {model.path} is a single checkpoint, which does not say what kind of model "
            "it is; set model.config to a diffusers folder, or a hub id, of the same kind."
        )
    for key in ("config", "variant"):
        if getattr(model, key) and (key == "config") != model.is_single_file:
            what = "is one" if model.is_single_file else "is none"
            kind = "a single checkpoint" if key == "config" else "a folder or hub id"
            raise ConfigError(f"model.{key} is for {kind}, and {model.path} {what}; remove it.")
    if model.fuse_adapters and not model.adapters:
        raise ConfigError("model.fuse_adapters is set without adapters; remove it.")
    for number, adapter in enumerate(model.adapters, 1):
        if adapter.weight == 0:
            raise ConfigError(f"The adapter {number} has a weight of 0; set another, or remove it.")
        if adapter.trigger != adapter.trigger.strip():
            raise ConfigError(
                f"The trigger {adapter.trigger!r} begins or ends with a space; remove it."
            )
    for names in ([one.token for one in model.embeddings], [one.name for one in model.components]):
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice:
            raise ConfigError(f"Two parts of the model are called {twice!r}; leave one.")


def _weights(sources: Sequence[Weights], folder: Path) -> tuple[Weights, ...]:
    return tuple(
        _file(source, part, folder)
        for source, part in zip(sources, weights_parts(sources), strict=True)
    )


def _file(source: Weights, part: ModelPart, folder: Path) -> Weights:
    """The file that an adapter or embedding is: of a folder here its path, of a hub id its name."""
    place = folder / source.path
    if place.is_dir():
        named = place / (source.file or _choose(part, place))
        place, source = named, source.model_copy(update={"file": ""})
    if place.suffix in PICKLES:
        raise ConfigError(
            f"The {part.role} {place} is a pickle, which may run code when it is loaded; save it "
            "as safetensors."
        )
    if place.is_file() and source.file:
        raise ConfigError(f"The {part.role} {place} is a file, which has no file; remove the key.")
    if place.is_file():
        source = source.model_copy(update={"path": str(place.resolve())})
        part = replace(part, source=source)
        return source.model_copy(update={"fingerprint": fingerprint_part(part)})
    if place.suffix == ".safetensors":
        raise ConfigError(f"The {part.role} {place} is not there; correct its path.")
    fingerprint = fingerprint_part(part)
    if not source.file:
        source = source.model_copy(update={"file": _choose(part, _of_hub(part, fingerprint))})
    return source.model_copy(update={"fingerprint": fingerprint})


def _of_hub(part: ModelPart, fingerprint: str) -> Path:
    try:
        return hub_part(part, fingerprint.removeprefix("commit:"))
    except Exception as error:  # the errors of its HTTP client differ between its versions
        raise ConfigError(
            f"The files of the {part.role} {part.source.path} are not here, and the hub does not "
            f"give them ({type(error).__name__}); fetch it and name its folder."
        ) from error


def _choose(part: ModelPart, folder: Path) -> str:
    """The one file of weights in a folder, by the name that diffusers saves it under or alone."""
    names = sorted(file.name for file in folder.iterdir() if file.suffix == ".safetensors")
    usual = [name for name in names if name in _USUAL]
    if len(usual) == 1 or len(names) == 1:
        return (usual or names)[0]
    if names:
        raise ConfigError(
            f"The {part.role} {part.source.path} has several files ({', '.join(names[:3])}"
            f"{', …' if len(names) > 3 else ''}); name one as its file."
        )
    pickles = sorted(file.name for file in folder.iterdir() if file.suffix in PICKLES)
    if pickles:
        raise ConfigError(
            f"The {part.role} {part.source.path} has only pickles ({pickles[0]}), which may run "
            "code when they are loaded; save it as safetensors."
        )
    raise ConfigError(f"The {part.role} {part.source.path} has no .safetensors file; correct it.")


def _component(source: Component, model: Model, folder: Path) -> Component:
    place = folder / source.path
    if place.is_file():
        raise ConfigError(
            f"The {source.name} {place} is one file, and a component is a folder with a "
            "config.json; save it with save_pretrained, and name that folder."
        )
    if place.is_dir():
        path = component_folder(place, source.name).resolve()
        if not (path / "config.json").is_file():
            raise ConfigError(
                f"The folder {place} holds no {source.name} (no config.json); name the folder that "
                "save_pretrained wrote of it, or of a pipeline that has it."
            )
        source = source.model_copy(update={"path": str(path)})
    part = component_part(source, model.variant)
    return source.model_copy(update={"fingerprint": fingerprint_part(part)})
