"""What a model is, without loading it: its fingerprint.

Imports no torch, so that a campaign is checked in a moment on a machine without a device.
"""

import contextlib
import hashlib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from seedsweep.storage.errors import ConfigError
from seedsweep.storage.settings.model import Model
from seedsweep.workers.models.folder import (
    FINGERPRINTED,
    all_files,
    components,
    loaded_files,
    only_variant,
    variants,
)
from seedsweep.workers.models.parts import CHECKPOINT, ModelPart, base_part
from seedsweep.workers.models.plugins import find_function, find_plugin, name_distribution

_COMMIT = re.compile(r"[0-9a-f]{40}")

# Weights outside a component's folder and variants are never loaded, and are most of some models.
_HUB_FILES = [f"*{suffix}" for suffix in sorted(FINGERPRINTED - {".safetensors"})]
_HUB_WEIGHTS = "*/*.safetensors"
_HUB_VARIANTS = ["*.fp16*", "*.bf16*", "*.non_ema*"]


def fingerprint_model(model: Model) -> str:
    """Name what the model is: the hub commit, or the hash of the folder's files.

    Of a function it is its name and the hash of its module's file; of a plug-in its distribution
    and version, with the hash of the file or folder at an absolute `path`, or `path` as it stands.

    A revision that is a whole commit is taken at its word. With `HF_HUB_OFFLINE` set, the hub's
    cache says which commit a revision is; otherwise only the hub does, since what a cache last saw
    may be old. Raises `ConfigError` if there is no such model.
    """
    if model.pipeline == "noise":
        return f"noise:{model.path}"
    if model.pipeline == "python":
        return find_function(model.path).fingerprint
    if model.pipeline != "diffusers":
        provider = name_distribution(find_plugin(model.pipeline))
        try:
            return f"plugin:{model.pipeline} {provider} {_fingerprint_path(model.path)}".rstrip()
        except OSError as error:
            raise ConfigError(
                f"The model {model.path} cannot be read ({error}); correct who may read it."
            ) from error
    return fingerprint_part(base_part(model))


def fingerprint_part(part: ModelPart) -> str:
    """Name what one part of a model is: the hub commit, the hash of its folder's files, or of a
    file alone its sha256.

    Of the model's own part it is what `fingerprint_model` says. Raises `ConfigError`.
    """
    place = Path(part.source.path)
    try:
        if place.is_file():
            return f"sha256:{_hash_file(place)}"
        if place.is_dir():
            return fingerprint_files(hash_files(place, part.files))
    except (OSError, UnicodeError) as error:
        raise ConfigError(
            f"The {part.role} {place} cannot be read ({error}); correct its files and who may read "
            "them."
        ) from error
    return _hub_commit(part)


def hash_part(part: ModelPart) -> dict[str, str]:
    """The sha256 of each file of a part that is here, by path, in the fingerprint's order.

    A file alone is called `CHECKPOINT`. Raises `OSError`.
    """
    place = Path(part.source.path)
    if place.is_file():
        return {CHECKPOINT: _hash_file(place)}
    return hash_files(place, part.files, part.source.fingerprint)


def fingerprint_digests(digests: Mapping[str, str]) -> str:
    """The fingerprint of what `hash_part` found."""
    alone = digests.get(CHECKPOINT)
    return f"sha256:{alone}" if alone and len(digests) == 1 else fingerprint_files(digests)


def hash_files(
    folder: Path, files: Callable[[Path], list[str]] = loaded_files, fingerprint: str = ""
) -> dict[str, str]:
    """The sha256 of each file that is loaded from a folder, by path, in the fingerprint's order.

    A campaign that an earlier version submitted has the fingerprint of all files, loaded or not: if
    all make up this `fingerprint`, all are returned. Links to files count as what they name.
    """
    loaded, every = files(folder), all_files(folder)
    digests = _hash(folder, loaded)
    if not fingerprint or loaded == every or fingerprint_files(digests) == fingerprint:
        return digests
    more = digests | _hash(folder, set(every) - set(loaded))
    more = {path: more[path] for path in every}
    return more if fingerprint_files(more) == fingerprint else digests


def fingerprint_files(digests: Mapping[str, str]) -> str:
    """The fingerprint of a folder with these files, in this order."""
    listed = "".join(f"{path} {digest}\n" for path, digest in digests.items())
    return f"sha256:{hashlib.sha256(listed.encode()).hexdigest()}"


def hub_snapshot(path: str, revision: str, cached: bool = False, variant: str = "") -> Path:
    """The folder in the hub's cache with a hub model's files; what it lacks is fetched first.

    Only what a pipeline is loaded from is ever fetched: no pickles, no code, and of the weights
    those of the variant, or plain ones of a component without. Nothing is asked of the hub where a
    commit is there whole, nor if it must be `cached`. Raises what huggingface_hub raises.
    """
    if not variant:
        return hub_files(path, revision, [*_HUB_FILES, _HUB_WEIGHTS], cached)
    weights = f"*/*.{variant}*.safetensors"
    others = [pattern for pattern in _HUB_VARIANTS if pattern != f"*.{variant}*"]
    folder = hub_files(path, revision, [*_HUB_FILES, weights], cached, others)
    plain = [
        f"{part.name}/*.safetensors"
        for part in components(folder)
        if part.has_weights and not part.weights(variant)
    ]
    return hub_files(path, revision, plain, cached) if plain else folder


def hub_part(part: ModelPart, revision: str, cached: bool = False) -> Path:
    """The folder in the hub's cache with the files of a part: see `hub_snapshot`."""
    if part.role == "model":
        return hub_snapshot(part.source.path, revision, cached, part.variant)
    return hub_files(part.source.path, revision, part.patterns, cached, ())


def hub_files(
    path: str,
    revision: str,
    patterns: Sequence[str],
    cached: bool = False,
    ignored: Sequence[str] = tuple(_HUB_VARIANTS),
) -> Path:
    """The folder in the hub's cache with the files of these patterns: see `hub_snapshot`."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.utils.tqdm import disable_progress_bars

    disable_progress_bars()
    folder = snapshot_download(
        path,
        revision=revision,
        allow_patterns=list(patterns),
        ignore_patterns=list(ignored),
        local_files_only=cached,
    )
    return Path(folder)


def _hash(folder: Path, paths: Iterable[str]) -> dict[str, str]:
    return {path: _hash_file(folder / path) for path in paths}


def _hash_file(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def _fingerprint_path(path: str) -> str:
    """The hash of a file or of all of a folder's; an absolute path alone means a file for sure."""
    place = Path(path)
    if not place.is_absolute() or not place.exists():
        return path
    if place.is_file():
        return f"sha256:{_hash_file(place)}"
    files = [(file, file.relative_to(place)) for file in sorted(place.rglob("*")) if file.is_file()]
    shown = [(f, p) for f, p in files if not any(part.startswith(".") for part in p.parts)]
    return fingerprint_files({p.as_posix(): _hash_file(f) for f, p in shown})


def _hub_commit(part: ModelPart) -> str:
    from huggingface_hub.errors import HFValidationError

    path, revision = part.source.path, part.source.revision
    key = "the model's path" if part.role == "model" else "its path"
    try:
        commit, names = _resolve(part)
    except HFValidationError as error:
        raise ConfigError(
            f"The {part.role} {path!r} is neither a folder here nor a hub id; correct {key}."
        ) from error
    except Exception as error:  # the errors of its HTTP client differ between its versions
        raise ConfigError(
            f"The {part.role} {path!r} is no folder here, and the hub does not give it at "
            f"revision {revision!r} ({type(error).__name__}); correct {key}, "
            f"or fetch the {part.role} and name its folder."
        ) from error
    if not commit or not _COMMIT.fullmatch(commit):
        raise ConfigError(f"The hub names no commit of {path!r}; set its revision to one.")
    if part.role == "model":
        _require_variant(part, names)
    return f"commit:{commit}"


def _require_variant(part: ModelPart, names: Sequence[str]) -> None:
    """Refuse a hub model whose weights, if the hub lists them, are other variants alone."""
    there = variants(names)
    if part.variant and there and part.variant not in set().union(*there.values()):
        raise ConfigError(
            f"The model {part.source.path!r} has no weights of the variant {part.variant!r} on the "
            "hub; correct model.variant, or leave it out."
        )
    only = only_variant(names)
    if only and not part.variant:
        raise ConfigError(
            f"The model {part.source.path!r} has weights of the variant {only} alone on the hub; "
            f'set model.variant = "{only}".'
        )


def _resolve(part: ModelPart) -> tuple[str | None, Sequence[str]]:
    """The commit of a hub id, and the names of its files if the hub was asked."""
    from huggingface_hub import HfApi, constants
    from huggingface_hub.errors import LocalEntryNotFoundError
    from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]

    path, revision = part.source.path, part.source.revision
    validate_repo_id(path)
    if _COMMIT.fullmatch(revision):
        return revision, ()
    if constants.HF_HUB_OFFLINE:
        with contextlib.suppress(LocalEntryNotFoundError):
            return hub_part(part, revision, cached=True).name, ()
    info = HfApi().model_info(path, revision=revision, timeout=20)
    return info.sha, [sibling.rfilename for sibling in info.siblings or ()]
