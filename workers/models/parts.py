"""The places that a diffusers model is loaded from: its folder or checkpoint, and what it is given.

Each is fingerprinted, staged and fetched by itself, so that models that share one share its copy.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from seedsweep.storage.settings.model import Adapter, Component, Embedding, Model, Source
from seedsweep.workers.models.folder import component_files, config_files, loaded_files

CHECKPOINT = "weights.safetensors"
"""What a single file is called in the store and on a host that fetched it."""

_CONFIGURATION = ("*.json", "*.txt", "*.model", "*.jinja")
_WEIGHTS = ("diffusion_pytorch_model*.safetensors*", "model*.safetensors*")


@dataclass(frozen=True, slots=True)
class ModelPart:
    """One place that a model is loaded from: what it is to the model, and what of it is loaded.

    `files` lists the paths in a folder, in the fingerprint's order; `patterns` are the files of a
    hub id.
    """

    role: str
    source: Source
    files: Callable[[Path], list[str]]
    patterns: tuple[str, ...] = ()
    variant: str = ""


@dataclass(frozen=True, slots=True)
class Places:
    """Where the parts of a model are on this host, in the order of the model's lists.

    `model` is a folder or a checkpoint, `config` the folder that describes a checkpoint; adapters
    and embeddings are files, components folders by their names.
    """

    model: Path
    config: Path | None = None
    adapters: tuple[Path, ...] = ()
    embeddings: tuple[Path, ...] = ()
    components: Mapping[str, Path] = field(default_factory=dict)


def base_part(model: Model) -> ModelPart:
    """The folder or checkpoint that a model names as its `path`."""
    source = Source(path=model.path, revision=model.revision, fingerprint=model.fingerprint)
    return ModelPart(
        "model", source, partial(loaded_files, variant=model.variant), (), model.variant
    )


def config_part(model: Model) -> ModelPart | None:
    """What describes a checkpoint, if the model is one that names it."""
    if not model.config:
        return None
    source = Source(path=model.config, fingerprint=model.config_fingerprint)
    return ModelPart("config", source, config_files, _CONFIGURATION)


def weights_parts(sources: Sequence[Adapter | Embedding]) -> list[ModelPart]:
    """A model's adapters or embeddings, which are files, numbered from 1."""
    return [
        ModelPart(
            f"{'adapter' if isinstance(source, Adapter) else 'embedding'} {number}",
            source,
            _no_folder,
            (source.file or "*.safetensors",),
        )
        for number, source in enumerate(sources, 1)
    ]


def component_part(source: Component, variant: str) -> ModelPart:
    """A component that takes the place of the model's own."""
    patterns = tuple(
        f"{folder}{name}"
        for folder in ("", f"{source.name}/")
        for name in ("config.json", *_WEIGHTS)
    )
    return ModelPart(source.name, source, partial(component_files, variant=variant), patterns)


def model_parts(model: Model) -> list[ModelPart]:
    """All parts of a diffusers model, its own first; of any other model there is one."""
    config = config_part(model)
    return [
        base_part(model),
        *([config] if config else []),
        *weights_parts(model.adapters),
        *weights_parts(model.embeddings),
        *(component_part(one, model.variant) for one in model.components),
    ]


def is_of_hub(part: ModelPart) -> bool:
    """Whether a part that was submitted is fetched from the hub."""
    return part.source.fingerprint.startswith("commit:")


def weights_file(source: Source, folder: Path) -> Path:
    """The file in a folder that an adapter or embedding names; of any other part the folder."""
    return folder / source.file if isinstance(source, Adapter | Embedding) else folder


def component_folder(place: Path, name: str) -> Path:
    """The folder of a component: the place itself, or its folder in a pipeline's."""
    return place if (place / "config.json").is_file() else place / name


def _no_folder(folder: Path) -> list[str]:
    return []
