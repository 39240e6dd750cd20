"""Where a model's files are on this host: its own place, the store's copy, or the hub's cache.

A staged part of a model lies in the store below `model/<fingerprint>/`, and is fetched once per
host. Its manifest is believed in nothing: paths, hashes and the fingerprint are all checked.
"""

import contextlib
import hashlib
import logging
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Annotated

from pydantic import AfterValidator, Field, ValidationError

from seedsweep.storage import keys
from seedsweep.storage.errors import ConfigError, ModelLoadError, TransientError
from seedsweep.storage.records import Model, Record
from seedsweep.storage.store import Store
from seedsweep.workers.host_cache import cache_folder, make_once
from seedsweep.workers.models.fingerprint import fingerprint_digests, hash_part, hub_part
from seedsweep.workers.models.folder import FINGERPRINTED
from seedsweep.workers.models.parts import (
    CHECKPOINT,
    Part,
    Places,
    base_part,
    component_folder,
    component_part,
    config_part,
    is_of_hub,
    model_parts,
    weights_file,
    weights_parts,
)

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
    """Copy the files of a model's parts that are here into the store; returns the bytes sent.

    Each part's manifest is written last, so a part that has one is whole; objects that are there
    already are not sent again. Raises `ConfigError` where no part is here, one is not what the
    fingerprint names, or has a file that no key can name.
    """
    parts = model_parts(model) if model.pipeline == "diffusers" else []
    here = [part for part in parts if part.source.fingerprint.startswith("sha256:")]
    if not here:
        raise ConfigError(
            f"The model {model.path!r} is no folder, so it cannot be staged and needs no staging; "
            "leave --stage-model out."
        )
    return sum(_stage(store, part) for part in here)


def model_places(store: Store, model: Model) -> Places:
    """Where all parts of the campaign's model are on this host, fetched where need be.

    Each is brought as `part_place` says. Raises what it raises.
    """
    config = config_part(model)
    components = {one.name: component_part(one, model.variant) for one in model.components}
    return Places(
        model=part_place(store, base_part(model)),
        config=part_place(store, config) if config else None,
        adapters=tuple(part_place(store, part) for part in weights_parts(model.adapters)),
        embeddings=tuple(part_place(store, part) for part in weights_parts(model.embeddings)),
        components={
            name: component_folder(part_place(store, part), name)
            for name, part in components.items()
        },
    )


def part_place(store: Store, part: Part) -> Path:
    """The folder or file on this host to load a part from; fetched first where need be.

    It is the part's own place where that is still what was submitted (its files are hashed each
    time); else the copy of a staged part, which is verified when it is fetched and trusted
    afterwards; of a hub id it is the hub's cache, and the commit is its name. Fetching happens
    once per host, however many processes ask, and what was fetched once needs no network again.

    Raises `ModelLoadError` where there is no such part or it is not the one that was submitted,
    and `TransientError` where the store or the hub does not answer.
    """
    if is_of_hub(part):
        return _hub_place(part)
    source = part.source
    try:
        cached = cache_folder() / "models" / keys.model_digits(source.fingerprint)
        fingerprint = _fingerprint_here(part)
        if fingerprint == source.fingerprint:
            return Path(source.path)
        if not cached.is_dir():
            _fetch(store, part, _manifest_or_refusal(store, part, fingerprint), cached)
    except ConfigError as error:
        raise ModelLoadError(str(error)) from error
    except OSError as error:
        raise ModelLoadError(
            f"The {part.role} {source.path} could not be brought to this host ({error}); set "
            "SEEDSWEEP_CACHE_DIR to a folder that can be written and has room for it."
        ) from error
    return _copied(cached)


def _stage(store: Store, part: Part) -> int:
    if _is_staged(store, part):
        return 0
    with _readable(part):
        files = tuple(_describe(part, path, digest) for path, digest in _digests(part).items())
        sent = sum(_send(store, part, file) for file in files)
    manifest = Manifest(files=files).model_dump_json().encode()
    store.replace(keys.model_manifest(part.source.fingerprint), manifest)
    return sent


def _digests(part: Part) -> dict[str, str]:
    digests = hash_part(part)
    if fingerprint_digests(digests) != part.source.fingerprint:
        raise ConfigError(
            f"The {part.role} {part.source.path} is no longer the one that was submitted "
            f"({part.source.fingerprint}); submit the campaign again."
        )
    return digests


def _file(part: Part, path: str) -> Path:
    """Where a file of a part that is here lies: a part may be a file itself."""
    place = Path(part.source.path)
    return place if place.is_file() else place / path


def _describe(part: Part, path: str, digest: str) -> StagedFile:
    keys.model_file(part.source.fingerprint, path)
    size = _file(part, path).stat().st_size
    return StagedFile(path=path, size=size, sha256=digest, parts=max(1, -(-size // PART)))


def _objects(part: Part, file: StagedFile) -> list[str]:
    """The keys of the objects that make up a file, in order."""
    if file.parts == 1:
        return [keys.model_file(part.source.fingerprint, file.path)]
    return [keys.model_part(part.source.fingerprint, file.path, i) for i in range(file.parts)]


def _send(store: Store, part: Part, file: StagedFile) -> int:
    sent, total, names = 0, hashlib.sha256(), _objects(part, file)
    with _file(part, file.path).open("rb") as opened:
        for name in names:
            data = opened.read(PART)
            total.update(data)
            if not store.exists(name) and store.create(name, data):
                sent += len(data)
    if total.hexdigest() != file.sha256:
        for name in names:
            store.delete(name)
        raise ConfigError(
            f"The file {file.path!r} of the {part.role} changed while it was staged; let nothing "
            f"write to {part.source.path}, and submit the campaign again."
        )
    return sent


def _is_staged(store: Store, part: Part) -> bool:
    try:
        manifest = _read_manifest(store, part)
    except ModelLoadError:
        return False
    return manifest is not None and all(
        store.exists(name) for file in manifest.files for name in _objects(part, file)
    )


def _read_manifest(store: Store, part: Part) -> Manifest | None:
    key = keys.model_manifest(part.source.fingerprint)
    data = store.read(key)
    try:
        return None if data is None else Manifest.model_validate_json(data)
    except ValidationError as error:
        raise ModelLoadError(
            f"{key} does not list a staged model's files ({_first(error)}); {_stage_again(part)}."
        ) from error


def _first(error: ValidationError) -> str:
    first = error.errors()[0]
    return f"{first['input']!r}: {first['msg']}"[:200]


def _manifest_or_refusal(store: Store, part: Part, fingerprint: str | None) -> Manifest:
    manifest = _read_manifest(store, part)
    if manifest is not None:
        return manifest
    if fingerprint is None:
        raise ModelLoadError(
            f"The {part.role} {part.source.path} is nothing that this host can read, and the store "
            "holds no copy of it; mount it at the same path, or submit with --stage-model."
        )
    raise ModelLoadError(
        f"The {part.role} {part.source.path} is not the one that was submitted ({fingerprint}, not "
        f"{part.source.fingerprint}); restore it, or submit the campaign again."
    )


def _fingerprint_here(part: Part) -> str | None:
    with contextlib.suppress(OSError, UnicodeError):
        if Path(part.source.path).exists():
            return fingerprint_digests(hash_part(part))
    return None


def _fetch(store: Store, part: Part, manifest: Manifest, target: Path) -> None:
    """Fetch a staged model to a folder that appears whole and verified, or not at all."""

    def fetch(folder: Path) -> None:
        log.info("Fetching the model %s from the store to %s.", part.source.path, target)
        for file in manifest.files:
            _receive(store, part, file, folder / file.path)
        _check(part, manifest, folder)

    make_once(target, fetch)


def _receive(store: Store, part: Part, file: StagedFile, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    total = hashlib.sha256()
    with path.open("xb") as opened:
        for name in _objects(part, file):
            data = store.read(name)
            if data is None:
                raise ModelLoadError(f"{name} is missing from the store; {_stage_again(part)}.")
            total.update(data)
            opened.write(data)
        opened.flush()
        os.fsync(opened.fileno())
    if total.hexdigest() != file.sha256:
        raise ModelLoadError(
            f"The staged file {file.path!r} of the {part.role} {part.source.path} is not what was "
            f"staged; {_stage_again(part)}."
        )


def _check(part: Part, manifest: Manifest, folder: Path) -> None:
    digests = _digests_of_copy(part, folder)
    fingerprint = fingerprint_digests(digests)
    submitted = part.source.fingerprint
    if fingerprint != submitted or set(digests) != {file.path for file in manifest.files}:
        raise ModelLoadError(
            f"The staged copy of {part.source.path} is not the {part.role} that was submitted "
            f"({fingerprint}, not {submitted}); {_stage_again(part)}."
        )


def _digests_of_copy(part: Part, folder: Path) -> dict[str, str]:
    source = part.source.model_copy(update={"path": str(_copied(folder))})
    return hash_part(replace(part, source=source))


def _copied(folder: Path) -> Path:
    """What was fetched to a folder: the folder, or the one file that a part is."""
    alone = [file.name for file in folder.iterdir()] == [CHECKPOINT]
    return folder / CHECKPOINT if alone else folder


def _stage_again(part: Part) -> str:
    prefix = keys.model_prefix(part.source.fingerprint)
    return f"delete {prefix} from the store, and submit with --stage-model again"


def _hub_place(part: Part) -> Path:
    commit = part.source.fingerprint.removeprefix("commit:")
    try:
        folder = hub_part(part, commit)
    except Exception as error:  # the errors of its HTTP client differ between its versions
        raise _hub_refusal(error)(
            f"The {part.role} {part.source.path} at commit {commit} is not whole in this host's "
            f"hub cache, and the hub does not give it ({type(error.__cause__ or error).__name__}); "
            f"check the network and HF_TOKEN, or fetch the {part.role} and name its folder."
        ) from error
    return weights_file(part.source, folder)


def _hub_refusal(error: Exception) -> type[ModelLoadError | TransientError]:
    """A no of the hub stands, and so does not asking it; silence may end."""
    from huggingface_hub import constants, errors

    no = errors.RepositoryNotFoundError, errors.RevisionNotFoundError, errors.HFValidationError
    return ModelLoadError if constants.HF_HUB_OFFLINE or isinstance(error, no) else TransientError


@contextlib.contextmanager
def _readable(part: Part) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ConfigError(
            f"The {part.role} {part.source.path} cannot be read ({error}); name one that is here."
        ) from error
