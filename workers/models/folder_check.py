"""What a diffusers model's files alone show to be impossible, found before anything is loaded."""

import contextlib
import json
import re
from pathlib import Path

from seedsweep.storage.errors import ConfigError
from seedsweep.storage.records import Model, Sampling
from seedsweep.workers.models.fingerprint import hub_snapshot
from seedsweep.workers.models.folder import (
    INDEX,
    Component,
    components,
    loaded_files,
    read_index,
    read_json,
    variant_of,
)

_UNSAFE = {".bin", ".ckpt", ".pt", ".pth", ".pkl"}
_ADAPTERS = re.compile(r"lora|lycoris|adapter|embed|textual.?inversion|hypernetwork", re.IGNORECASE)
_ADAPTER_TENSORS = re.compile(r"lora|hada_|lokr_|^ip_adapter\.", re.IGNORECASE)


def check_model(model: Model, sampling: Sampling) -> None:
    """Refuse what the model's own files show to be impossible.

    A folder must be a diffusers pipeline whose parts are all there, with whole safetensors weights
    and nothing that would have to be loaded besides (LoRA, adapters, embeddings); the size of the
    pictures must be a multiple of what its autoencoder reduces by. Of a hub model the size alone is
    checked, and only if the hub's cache holds it. Raises `ConfigError`.
    """
    folder = folder_here(model)
    if folder is None:
        return
    try:
        if Path(model.path).is_dir():
            _check_index(folder)
            for part in components(folder):
                _check_part(part, variant_of(folder))
            _refuse_adapters(folder)
        _check_size(model, folder, sampling)
    except OSError as error:
        raise ConfigError(
            f"The model {model.path} cannot be read ({error}); correct who may read its files."
        ) from error


def folder_here(model: Model) -> Path | None:
    """The folder with a diffusers model's files, if this host has them: nothing is fetched."""
    if model.pipeline != "diffusers":
        return None
    if Path(model.path).is_dir():
        return Path(model.path)
    if model.fingerprint:
        from huggingface_hub.errors import LocalEntryNotFoundError

        with contextlib.suppress(LocalEntryNotFoundError):
            commit = model.fingerprint.removeprefix("commit:")
            return hub_snapshot(model.path, commit, cached=True)
    return None


def _check_index(folder: Path) -> None:
    index = read_index(folder)
    if index is None:
        adapters = next((path for path in _weight_files(folder) if _is_adapter(folder, path)), None)
        raise ConfigError(
            f"The folder {folder} holds no diffusers pipeline (no {INDEX})"
            + (f", only an adapter or embeddings ({adapters})" if adapters else "")
            + "; name the folder that save_pretrained wrote."
        )
    name = index.get("_class_name")
    if not isinstance(name, str):
        raise ConfigError(
            f"The {INDEX} of {folder} names no pipeline of diffusers as _class_name, but {name!r}; "
            "code of a model's own is not run: name a folder that save_pretrained wrote."
        )


def _check_part(part: Component, variant: str | None) -> None:
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
        _check_weights(part, variant)


def _require_json(part: Component, name: str) -> None:
    if read_json(part.folder / name) is None:
        raise _incomplete(part, f"has no {name} that can be read")


def _check_weights(part: Component, variant: str | None) -> None:
    files = part.weights(variant) or part.weights()
    suffixes = {file.suffix for file in part.folder.glob("*")}
    if not files and suffixes & _UNSAFE:
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


def _check_safetensors(part: Component, file: Path) -> None:
    if _tensors(file) is not None:
        return
    with file.open("rb") as opened:
        is_pointer = opened.read(40).startswith(b"version https://git-lfs")
    if is_pointer:
        raise ConfigError(
            f"The file {file} only points to weights in Git LFS; fetch them with `git lfs pull`."
        )
    raise _incomplete(part, f"has a file that is cut short or no safetensors ({file.name})")


def _check_shards(part: Component, listing: Path) -> None:
    shards = (read_json(listing) or {}).get("weight_map")
    named = shards.values() if isinstance(shards, dict) else ()
    names = {name for name in named if isinstance(name, str)}
    lacking = sorted(name for name in names if not (part.folder / name).is_file())
    if lacking or not names:
        what = f"lacks {lacking[0]}" if lacking else "names none"
        raise _incomplete(part, f"{what}, of the shards that {listing.name} names")


def _refuse_adapters(folder: Path) -> None:
    used = set(loaded_files(folder))
    for path in _weight_files(folder):
        if path not in used and _is_adapter(folder, path):
            raise ConfigError(
                f"The file {path} in the model {folder} is a LoRA, an adapter or an embedding, "
                "which the pipeline would not load; merge it into the weights and save them, or "
                "move it out of the folder."
            )


def _weight_files(folder: Path) -> list[str]:
    suffixes = {".safetensors", *_UNSAFE}
    files = (file for file in sorted(folder.rglob("*")) if file.suffix in suffixes)
    inside = (file.relative_to(folder) for file in files if file.is_file())
    return [p.as_posix() for p in inside if not any(part.startswith(".") for part in p.parts)]


def _is_adapter(folder: Path, path: str) -> bool:
    """By its name or its tensors' names; a few tensors of two axes at most are embeddings."""
    if _ADAPTERS.search(path):
        return True
    tensors = _tensors(folder / path) if path.endswith(".safetensors") else None
    if not tensors:
        return False
    if any(_ADAPTER_TENSORS.search(name) for name in tensors):
        return True
    return len(tensors) <= 4 and all(len(shape) <= 2 for shape in tensors.values())


def _tensors(file: Path) -> dict[str, list[int]] | None:
    """The shapes of a safetensors file's tensors, by name; None if it is not whole, or is none."""
    size = file.stat().st_size
    with file.open("rb") as opened:
        length = int.from_bytes(opened.read(8), "little")
        header = opened.read(length) if length <= size - 8 else b""
    try:
        described = json.loads(header)
        described.pop("__metadata__", None)
        end = max((tensor["data_offsets"][1] for tensor in described.values()), default=0)
        shapes = {name: list(tensor["shape"]) for name, tensor in described.items()}
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError):
        return None
    return shapes if 8 + length + end == size else None


def native_side(folder: Path) -> int | None:
    """The side in pixels of the square pictures that the model was trained for, if it says so."""
    for name in ("unet", "transformer"):
        side = (read_json(folder / name / "config.json") or {}).get("sample_size")
        if isinstance(side, int) and not isinstance(side, bool) and 0 < side <= 8192:
            return side * _reduction(folder)
    return None


def size_remark(model: Model, sampling: Sampling) -> str:
    """That other pictures are asked for than the model was trained for, if its folder says so."""
    side = native_side(Path(model.path))
    if side is None or side in (sampling.width, sampling.height):
        return ""
    return (
        f"The model's own size is {side} × {side} pixels; {sampling.width} × {sampling.height} is "  # noqa: RUF001
        "asked for, at which it may repeat other pictures, or none."
    )


def _reduction(folder: Path) -> int:
    """So many pixels of a picture's side are one of what its autoencoder makes of it."""
    channels = (read_json(folder / "vae" / "config.json") or {}).get("block_out_channels")
    levels = len(channels) if isinstance(channels, list) else 1
    return 2 ** (levels - 1) if 1 <= levels <= 20 else 1


def _check_size(model: Model, folder: Path, sampling: Sampling) -> None:
    factor = _reduction(folder)
    if sampling.width % factor or sampling.height % factor:
        raise ConfigError(
            f"The model {model.path} cannot make {sampling.width} x {sampling.height} pictures; "
            f"set width and height to multiples of {factor}."
        )


def _incomplete(part: Component, what: str) -> ConfigError:
    return ConfigError(
        f"The model {part.folder.parent} is not whole: its {part.name} {what}; fetch or save the "
        "folder again."
    )
