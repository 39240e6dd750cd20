"""What a diffusers model's files alone show to be impossible, found before anything is loaded."""

import re
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from seedsweep.storage.errors import ConfigError
from seedsweep.storage.settings.model import Model
from seedsweep.storage.settings.sampling import Sampling
from seedsweep.workers.models.folder import (
    INDEX,
    IndexedPart,
    component_of,
    components,
    loaded_files,
    read_index,
    read_json,
    variant_of,
)
from seedsweep.workers.models.local_folder import component_place, folder_here
from seedsweep.workers.models.picture_size import check_size
from seedsweep.workers.models.resolution import PICKLES
from seedsweep.workers.models.safetensors_file import is_pointer, read_header
from seedsweep.workers.models.weights_check import check_weights

_ADAPTERS = re.compile(r"lora|lycoris|adapter|embed|textual.?inversion|hypernetwork", re.IGNORECASE)
_ADAPTER_TENSORS = re.compile(r"lora|hada_|lokr_|^ip_adapter\.", re.IGNORECASE)

_LIBRARIES = {
    "bitsandbytes": "bitsandbytes",
    "torchao": "torchao",
    "quanto": "optimum.quanto",
    "gguf": "gguf",
}
"""By the method that a quantised component names, what loads it."""


def check_model(model: Model, sampling: Sampling) -> None:
    """Refuse what the files of the model's parts show to be impossible.

    A folder must be a diffusers pipeline whose parts are all there, with whole safetensors weights
    of the variant, and nothing that would have to be loaded besides (LoRA, adapters, embeddings)
    but is not named; so must the folder that describes a checkpoint, which needs no weights. What
    is named besides must be what it is named as. The size of the pictures must be a multiple of
    what the autoencoder reduces by, and its unet may take no more than that makes. Of a hub model
    these two alone are checked, and only if the hub's cache holds it. Raises `ConfigError`.
    """
    folder = folder_here(model)
    try:
        check_weights(model)
        if folder is None:
            return
        if Path(model.config or model.path).is_dir():
            _check_folder(model, folder)
        check_size(model, sampling)
        _check_channels(model, folder)
    except OSError as error:
        raise ConfigError(
            f"The model {model.path} cannot be read ({error}); correct who may read its files."
        ) from error


def _check_folder(model: Model, folder: Path) -> None:
    _check_index(folder)
    replaced, variant = {one.name for one in model.components}, model.variant or variant_of(folder)
    parts = components(folder)
    _check_components(model, parts)
    if model.variant and not any(model.variant in part.variants() for part in parts):
        there = sorted(set().union(*(part.variants() for part in parts)))
        raise ConfigError(
            f"The model {folder} has no weights of the variant {model.variant!r}"
            f"{', only of ' + ' and '.join(there) if there else ''}; correct model.variant, or "
            "leave it out."
        )
    for part in parts:
        if part.name not in replaced:
            _check_part(part, variant, needs_weights=not model.is_single_file)
    if not model.is_single_file:
        _refuse_adapters(model, folder)


def _check_components(model: Model, parts: Sequence[IndexedPart]) -> None:
    """A component that takes another's place is one of the pipeline, and whole."""
    networks = [part.name for part in parts if part.has_weights]
    for one in model.components:
        if one.name not in networks:
            raise ConfigError(
                f"The model {model.path} has no network called {one.name!r}, only "
                f"{', '.join(networks)}; correct the name under [[model.components]]."
            )
        if Path(one.path).is_dir():
            part = component_of(Path(one.path), one.name)
            _check_part(part, part.variant(model.variant))


def _check_index(folder: Path) -> None:
    index = read_index(folder)
    if index is None:
        raise ConfigError(
            f"The folder {folder} holds no diffusers pipeline (no {INDEX}){_held_instead(folder)}."
        )
    name = index.get("_class_name")
    if not isinstance(name, str):
        raise ConfigError(
            f"The {INDEX} of {folder} names no pipeline of diffusers as _class_name, but {name!r}; "
            "code of a model's own is not run: name a folder that save_pretrained wrote."
        )


def _held_instead(folder: Path) -> str:
    """What a folder without an index holds as far as that is known, and what to name."""
    inside = sorted(path.parent for path in folder.glob(f"snapshots/*/{INDEX}"))
    if inside:
        return f", but the hub's cache of one; name its folder {inside[-1]}"
    network = (read_json(folder / "config.json") or {}).get("_class_name")
    if isinstance(network, str) and network.isidentifier():
        return (
            f", only one network ({network}); name the folder of the pipeline that it is a part "
            "of, and this one under [[model.components]] if it takes the place of that one's own"
        )
    adapters = next((path for path in _weight_files(folder) if _is_adapter(folder, path)), None)
    only = f", only an adapter or embeddings ({adapters})" if adapters else ""
    return f"{only}; name the folder that save_pretrained wrote"


def _refuse_dangling(part: IndexedPart) -> None:
    """A link that was copied without what it names is said to be one."""
    for place in (part.folder, *part.folder.glob("*")):
        if place.is_symlink() and not place.exists():
            raise ConfigError(
                f"The {part.name} of the model {part.folder.parent} is not there: {place} is a "
                f"link to {place.readlink()}, which leads nowhere; copy the model again with "
                "`cp -rL`, which copies what links name."
            )


def _check_part(part: IndexedPart, variant: str | None, needs_weights: bool = True) -> None:
    _refuse_dangling(part)
    if not part.folder.is_dir():
        raise _incomplete(part, "is missing")
    if (part.folder / f"{part.library}.py").exists():
        raise ConfigError(
            f"The {part.name} of the model {part.folder.parent} is code of its own "
            f"({part.library}.py), which is not run; name a folder whose parts are diffusers' or "
            "transformers'."
        )
    if part.class_name.endswith("Scheduler"):
        _require_json(part, "scheduler_config.json")
    if part.has_weights:
        _require_json(part, "config.json")
        _refuse_quantised(part)
        if needs_weights:
            _check_weights(part, variant)


def _refuse_quantised(part: IndexedPart) -> None:
    said = (read_json(part.folder / "config.json") or {}).get("quantization_config")
    if isinstance(said, dict):
        method = said.get("quant_method")
        library = _LIBRARIES.get(str(method))
        if library is None or find_spec(library.partition(".")[0]) is None:
            raise ConfigError(
                f"The {part.name} in {part.folder} is quantised ({method}), which needs "
                f"{library or 'a library that is not known here'}; install it, or name weights of "
                "16 or 32 bits."
            )


def _require_json(part: IndexedPart, name: str) -> None:
    if read_json(part.folder / name) is None:
        raise _incomplete(part, f"has no {name} that can be read")


def _check_weights(part: IndexedPart, variant: str | None) -> None:
    files = part.weights(variant) or part.weights()
    suffixes = {file.suffix for file in part.folder.glob("*")}
    if not files and suffixes & PICKLES:
        raise ConfigError(
            f"The weights in {part.folder} are not safetensors; convert them with "
            "save_pretrained(..., safe_serialization=True)."
        )
    if not files and part.variants():
        raise ConfigError(
            f"The weights in {part.folder} are there as {' and '.join(sorted(part.variants()))} "
            "alone, and no one variant is there for all parts; leave one, or save them plain."
        )
    if not files:
        raise _incomplete(part, "has no weights (model.safetensors)")
    for file in files:
        if file.suffix == ".safetensors":
            _check_safetensors(part, file)
        else:
            _check_shards(part, file)


def _check_safetensors(part: IndexedPart, file: Path) -> None:
    if read_header(file) is not None:
        return
    if is_pointer(file):
        raise ConfigError(
            f"The file {file} only points to weights in Git LFS; fetch them with `git lfs pull`."
        )
    raise _incomplete(part, f"has a file that is cut short or no safetensors ({file.name})")


def _check_shards(part: IndexedPart, listing: Path) -> None:
    shards = (read_json(listing) or {}).get("weight_map")
    named = shards.values() if isinstance(shards, dict) else ()
    names = {name for name in named if isinstance(name, str)}
    lacking = sorted(name for name in names if not (part.folder / name).is_file())
    if lacking or not names:
        what = f"lacks {lacking[0]}" if lacking else "names none"
        raise _incomplete(part, f"{what}, of the shards that {listing.name} names")


def _refuse_adapters(model: Model, folder: Path) -> None:
    used = set(loaded_files(folder, model.variant))
    named = {Path(one.path) for one in (*model.adapters, *model.embeddings, *model.components)}
    for path in _weight_files(folder):
        file = folder / path
        if path in used or named & {file, file.resolve(), *file.resolve().parents}:
            continue
        if _is_adapter(folder, path):
            raise ConfigError(
                f"The file {path} in the model {folder} is a LoRA, an adapter or an embedding, "
                "which the pipeline would not load; name it under [[model.adapters]] or "
                "[[model.embeddings]], or move it out of the folder."
            )


def _weight_files(folder: Path) -> list[str]:
    suffixes = {".safetensors", *PICKLES}
    files = (file for file in sorted(folder.rglob("*")) if file.suffix in suffixes)
    inside = (file.relative_to(folder) for file in files if file.is_file())
    return [p.as_posix() for p in inside if not any(part.startswith(".") for part in p.parts)]


def _is_adapter(folder: Path, path: str) -> bool:
    """By its name or its tensors' names; a few tensors of two axes at most are embeddings."""
    if _ADAPTERS.search(path):
        return True
    header = read_header(folder / path) if path.endswith(".safetensors") else None
    if header is None or not header.shapes:
        return False
    shapes = header.shapes
    if any(_ADAPTER_TENSORS.search(name) for name in shapes):
        return True
    return len(shapes) <= 4 and all(len(shape) <= 2 for shape in shapes.values())


def _check_channels(model: Model, folder: Path) -> None:
    """A UNet that takes more than what the autoencoder makes wants a picture or a mask as well."""
    unet, vae = (
        read_json(component_place(model, folder, name) / "config.json") or {}
        for name in ("unet", "vae")
    )
    takes, made = unet.get("in_channels"), vae.get("latent_channels")
    if isinstance(takes, int) and isinstance(made, int) and takes != made:
        raise ConfigError(
            f"The unet of the model {model.path} takes {takes} channels, and its vae has {made}, "
            "so it needs more than a prompt (9 are an inpainting model's); name one that makes "
            "pictures of prompts."
        )


def _incomplete(part: IndexedPart, what: str) -> ConfigError:
    return ConfigError(
        f"The model {part.folder.parent} is not whole: its {part.name} {what}; fetch or save the "
        "folder again."
    )
