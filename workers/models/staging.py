"""Where a model's files are on this host: its folder, the store's copy of it, or the hub's cache.

A staged model lies in the store below `model/<fingerprint>/`, and is fetched once per host. Its
manifest is believed in nothing: paths, hashes and the fingerprint are all checked.
"""

import contextlib
import hashlib
import logging
import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Annotated

from pydantic import AfterValidator, Field, ValidationError

from seedsweep.storage import keys
from seedsweep.storage.errors import ConfigError, ModelLoadError, TransientError
from seedsweep.storage.records import Model, Record
from seedsweep.storage.store import Store
from seedsweep.workers.host_cache import cache_folder, make_once
from seedsweep.workers.models.fingerprint import fingerprint_files, hash_files, hub_snapshot
from seedsweep.workers.models.folder import FINGERPRINTED

log = logging.getLogger(__name__)

PART = 256 * 2**20
"""Bytes in one object: fixed, since a staging that was cut short is taken up where it ended."""


def _is_loaded_from(path: str) -> str:
    if PurePosixPath(path).suffix not in FINGERPRINTED:
        raise ValueError("no pipeline is loaded from such a file")
    return path


class StagedFile(Record):
    """One staged file: its path in the model's folder, and the objects that make it up."""

    path: Annotated[str, Field(pattern=keys.RELATIVE_PATH), AfterValidator(_is_loaded_from)]
    size: Annotated[int, Field(ge=0)]
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    parts: Annotated[int, Field(ge=1, le=99_999)]


class Manifest(Record):
    """Every file of a staged model."""

    files: tuple[StagedFile, ...]


def stage_model(store: Store, model: Model) -> int:
    """Copy a folder model's files into the store; returns the bytes that were sent.

    The manifest is written last, so a model that has one is whole; objects that are there already
    are not sent again. Raises `ConfigError` where the model is no folder here, is not the one that
    the fingerprint names, or has a file that no key can name.
    """
    if not model.fingerprint.startswith("sha256:"):
        raise ConfigError(
            f"The model {model.path!r} is no folder, so it cannot be staged and needs no staging; "
            "leave --stage-model out."
        )
    if _is_staged(store, model):
        return 0
    with _readable(model):
        files = tuple(_describe(model, path, digest) for path, digest in _digests(model).items())
        sent = sum(_send(store, model, file) for file in files)
    manifest = Manifest(files=files).model_dump_json().encode()
    store.replace(keys.model_manifest(model.fingerprint), manifest)
    return sent


def model_folder(store: Store, model: Model) -> Path:
    """The folder on this host to load the campaign's model from; fetched first where need be.

    It is the model's own folder where that is still what was submitted (its files are hashed each
    time); else the copy of a staged model, which is verified when it is fetched and trusted
    afterwards; for a hub model it is the hub's cache, and the commit is its name. Fetching happens
    once per host, however many processes ask, and what was fetched once needs no network again.

    Raises `ModelLoadError` where there is no such model or it is not the one that was submitted,
    and `TransientError` where the store or the hub does not answer.
    """
    if model.fingerprint.startswith("commit:"):
        return _hub_folder(model)
    try:
        cached = cache_folder() / "models" / keys.model_digits(model.fingerprint)
        fingerprint = _fingerprint_here(model)
        if fingerprint == model.fingerprint:
            return Path(model.path)
        if not cached.is_dir():
            _fetch(store, model, _manifest_or_refusal(store, model, fingerprint), cached)
    except ConfigError as error:
        raise ModelLoadError(str(error)) from error
    except OSError as error:
        raise ModelLoadError(
            f"The model {model.path} could not be brought to this host ({error}); set "
            "SEEDSWEEP_CACHE_DIR to a folder that can be written and has room for it."
        ) from error
    return cached


def _digests(model: Model) -> dict[str, str]:
    digests = hash_files(Path(model.path), model.fingerprint)
    if fingerprint_files(digests) != model.fingerprint:
        raise ConfigError(
            f"The model {model.path} is no longer the one that was submitted "
            f"({model.fingerprint}); submit the campaign again."
        )
    return digests


def _describe(model: Model, path: str, digest: str) -> StagedFile:
    keys.model_file(model.fingerprint, path)
    size = (Path(model.path) / path).stat().st_size
    return StagedFile(path=path, size=size, sha256=digest, parts=max(1, -(-size // PART)))


def _objects(model: Model, file: StagedFile) -> list[str]:
    """The keys of the objects that make up a file, in order."""
    if file.parts == 1:
        return [keys.model_file(model.fingerprint, file.path)]
    return [keys.model_part(model.fingerprint, file.path, i) for i in range(file.parts)]


def _send(store: Store, model: Model, file: StagedFile) -> int:
    sent, total, names = 0, hashlib.sha256(), _objects(model, file)
    with (Path(model.path) / file.path).open("rb") as opened:
        for name in names:
            data = opened.read(PART)
            total.update(data)
            if not store.exists(name) and store.create(name, data):
                sent += len(data)
    if total.hexdigest() != file.sha256:
        for name in names:
            store.delete(name)
        raise ConfigError(
            f"The model's file {file.path!r} changed while it was staged; let nothing write to "
            f"{model.path}, and submit the campaign again."
        )
    return sent


def _is_staged(store: Store, model: Model) -> bool:
    try:
        manifest = _read_manifest(store, model)
    except ModelLoadError:
        return False
    return manifest is not None and all(
        store.exists(name) for file in manifest.files for name in _objects(model, file)
    )


def _read_manifest(store: Store, model: Model) -> Manifest | None:
    key = keys.model_manifest(model.fingerprint)
    data = store.read(key)
    try:
        return None if data is None else Manifest.model_validate_json(data)
    except ValidationError as error:
        raise ModelLoadError(
            f"{key} does not list a staged model's files ({_first(error)}); {_stage_again(model)}."
        ) from error


def _first(error: ValidationError) -> str:
    first = error.errors()[0]
    return f"{first['input']!r}: {first['msg']}"[:200]


def _manifest_or_refusal(store: Store, model: Model, fingerprint: str | None) -> Manifest:
    manifest = _read_manifest(store, model)
    if manifest is not None:
        return manifest
    if fingerprint is None:
        raise ModelLoadError(
            f"The model {model.path} is no folder that this host can read, and the store holds no "
            "copy of it; mount it at the same path, or submit with --stage-model."
        )
    raise ModelLoadError(
        f"The model {model.path} is not the one that was submitted ({fingerprint}, not "
        f"{model.fingerprint}); restore it, or submit the campaign again."
    )


def _fingerprint_here(model: Model) -> str | None:
    folder = Path(model.path)
    with contextlib.suppress(OSError, UnicodeError):
        if folder.is_dir():
            return fingerprint_files(hash_files(folder, model.fingerprint))
    return None


def _fetch(store: Store, model: Model, manifest: Manifest, target: Path) -> None:
    """Fetch a staged model to a folder that appears whole and verified, or not at all."""

    def fetch(folder: Path) -> None:
        log.info("Fetching the model %s from the store to %s.", model.path, target)
        for file in manifest.files:
            _receive(store, model, file, folder / file.path)
        _check(model, manifest, folder)

    make_once(target, fetch)


def _receive(store: Store, model: Model, file: StagedFile, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    total = hashlib.sha256()
    with path.open("xb") as opened:
        for name in _objects(model, file):
            data = store.read(name)
            if data is None:
                raise ModelLoadError(f"{name} is missing from the store; {_stage_again(model)}.")
            total.update(data)
            opened.write(data)
        opened.flush()
        os.fsync(opened.fileno())
    if total.hexdigest() != file.sha256:
        raise ModelLoadError(
            f"The staged file {file.path!r} of the model {model.path} is not what was staged; "
            f"{_stage_again(model)}."
        )


def _check(model: Model, manifest: Manifest, folder: Path) -> None:
    digests = hash_files(folder, model.fingerprint)
    fingerprint = fingerprint_files(digests)
    if fingerprint != model.fingerprint or set(digests) != {file.path for file in manifest.files}:
        raise ModelLoadError(
            f"The staged copy of {model.path} is not the model that was submitted ({fingerprint}, "
            f"not {model.fingerprint}); {_stage_again(model)}."
        )


def _stage_again(model: Model) -> str:
    prefix = keys.model_prefix(model.fingerprint)
    return f"delete {prefix} from the store, and submit with --stage-model again"


def _hub_folder(model: Model) -> Path:
    commit = model.fingerprint.removeprefix("commit:")
    try:
        return hub_snapshot(model.path, commit)
    except Exception as error:  # the errors of its HTTP client differ between its versions
        raise _hub_refusal(error)(
            f"The model {model.path} at commit {commit} is not whole in this host's hub cache, and "
            f"the hub does not give it ({type(error.__cause__ or error).__name__}); check the "
            "network and HF_TOKEN, or fetch the model and name its folder."
        ) from error


def _hub_refusal(error: Exception) -> type[ModelLoadError | TransientError]:
    """A no of the hub stands, and so does not asking it; silence may end."""
    from huggingface_hub import constants, errors

    no = errors.RepositoryNotFoundError, errors.RevisionNotFoundError, errors.HFValidationError
    return ModelLoadError if constants.HF_HUB_OFFLINE or isinstance(error, no) else TransientError


@contextlib.contextmanager
def _readable(model: Model) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ConfigError(
            f"The model {model.path} cannot be read ({error}); name a folder that is here."
        ) from error
