"""What a model is, without loading it: its fingerprint, its weights' format, its sizes.

Imports no torch, so that a campaign is checked in a moment on a machine without a device.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

from storage.errors import ConfigError
from storage.records import Model, Sampling

_FINGERPRINTED = {".json", ".txt", ".model", ".safetensors"}
_UNSAFE = {".bin", ".ckpt", ".pt", ".pth", ".pkl"}


def fingerprint_model(model: Model) -> str:
    """Name what the model is: the hub commit, or the hash of the folder's files.

    Raises `ConfigError` where there is no such model.
    """
    if model.pipeline == "noise":
        return f"noise:{model.path}"
    folder = Path(model.path)
    if folder.is_dir():
        return _hash_folder(folder)
    return _hub_commit(model)


def check_model(model: Model, sampling: Sampling) -> None:
    """Refuse what the model's own files show to be impossible.

    A folder must be a diffusers pipeline with safetensors weights, and the size of the pictures a
    multiple of what its autoencoder reduces by. Raises `ConfigError`.
    """
    folder = Path(model.path)
    if model.pipeline == "noise" or not folder.is_dir():
        return
    index = _read_json(folder / "model_index.json")
    if index is None:
        raise ConfigError(
            f"The folder {folder} holds no diffusers pipeline (no model_index.json); "
            "name the folder that save_pretrained wrote."
        )
    for name, component in index.items():
        if isinstance(component, list) and any(component):
            _check_weights(folder / name)
    _check_size(folder, sampling)


def _check_weights(component: Path) -> None:
    suffixes = {file.suffix for file in component.glob("*")}
    if suffixes & _UNSAFE and ".safetensors" not in suffixes:
        raise ConfigError(
            f"The weights in {component} are not safetensors; convert them with "
            "save_pretrained(..., safe_serialization=True)."
        )


def _check_size(folder: Path, sampling: Sampling) -> None:
    vae = _read_json(folder / "vae" / "config.json") or {}
    factor = 2 ** (len(vae.get("block_out_channels", [0])) - 1)
    if sampling.width % factor or sampling.height % factor:
        raise ConfigError(
            f"The model {folder} cannot make {sampling.width} x {sampling.height} pictures; "
            f"set width and height to multiples of {factor}."
        )


def _read_json(path: Path) -> dict[str, Any] | None:
    try:
        value = json.loads(path.read_text())
    except (OSError, ValueError):
        return None
    return value if isinstance(value, dict) else None


def _hash_folder(folder: Path) -> str:
    total = hashlib.sha256()
    for file in sorted(folder.rglob("*")):
        if file.suffix in _FINGERPRINTED and file.is_file():
            with file.open("rb") as opened:
                digest = hashlib.file_digest(opened, "sha256").hexdigest()
            total.update(f"{file.relative_to(folder).as_posix()} {digest}\n".encode())
    return f"sha256:{total.hexdigest()}"


def _hub_commit(model: Model) -> str:
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HFValidationError

    try:
        info = HfApi().model_info(model.path, revision=model.revision, timeout=20)
    except HFValidationError as error:
        raise ConfigError(
            f"The model {model.path!r} is neither a folder nor a hub id; correct model.path."
        ) from error
    except Exception as error:  # the errors of its HTTP client differ between its versions
        raise ConfigError(
            f"The model {model.path!r} is no folder here, and the hub does not give it at "
            f"revision {model.revision!r} ({type(error).__name__}); correct model.path, "
            "or fetch the model and name its folder."
        ) from error
    if not info.sha:
        raise ConfigError(f"The hub names no commit of {model.path!r}; set model.revision to one.")
    return f"commit:{info.sha}"
