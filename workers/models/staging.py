"""A model's files in the store, for hosts that have no copy of their own.

A staged part of a model lies below `model/<fingerprint>/`, with a manifest of its files.
"""

import contextlib
import hashlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Annotated

from pydantic import AfterValidator, Field, ValidationError

from seedsweep.storage import keys
from seedsweep.storage.errors import ConfigError, ModelLoadError
from seedsweep.storage.record import Record
from seedsweep.storage.settings.model import Model
from seedsweep.storage.store import Store
from seedsweep.workers.models.fingerprint import fingerprint_digests, hash_part
from seedsweep.workers.models.folder import FINGERPRINTED
from seedsweep.workers.models.parts import ModelPart, model_parts

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
    already are not sent again. Raises `ConfigError` if no part is here, one is not what the
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


def objects_of(part: ModelPart, file: StagedFile) -> list[str]:
    """The keys of the objects that make up a file, in order."""
    if file.parts == 1:
        return [keys.model_file(part.source.fingerprint, file.path)]
    return [keys.model_part(part.source.fingerprint, file.path, i) for i in range(file.parts)]


def read_manifest(store: Store, part: ModelPart) -> Manifest | None:
    key = keys.model_manifest(part.source.fingerprint)
    data = store.read(key)
    try:
        return None if data is None else Manifest.model_validate_json(data)
    except ValidationError as error:
        raise ModelLoadError(
            f"{key} does not list a staged model's files ({_first(error)}); {stage_again(part)}."
        ) from error


def stage_again(part: ModelPart) -> str:
    prefix = keys.model_prefix(part.source.fingerprint)
    return f"delete {prefix} from the store, and submit with --stage-model again"


def _stage(store: Store, part: ModelPart) -> int:
    if _is_staged(store, part):
        return 0
    with _readable(part):
        files = tuple(_describe(part, path, digest) for path, digest in _digests(part).items())
        sent = sum(_send(store, part, file) for file in files)
    manifest = Manifest(files=files).model_dump_json().encode()
    store.replace(keys.model_manifest(part.source.fingerprint), manifest)
    return sent


def _digests(part: ModelPart) -> dict[str, str]:
    digests = hash_part(part)
    if fingerprint_digests(digests) != part.source.fingerprint:
        raise ConfigError(
            f"The {part.role} {part.source.path} is no longer the one that was submitted "
            f"({part.source.fingerprint}); submit the campaign again."
        )
    return digests


def _file(part: ModelPart, path: str) -> Path:
    """Where a file of a part that is here lies: a part may be a file itself."""
    place = Path(part.source.path)
    return place if place.is_file() else place / path


def _describe(part: ModelPart, path: str, digest: str) -> StagedFile:
    keys.model_file(part.source.fingerprint, path)
    size = _file(part, path).stat().st_size
    return StagedFile(path=path, size=size, sha256=digest, parts=max(1, -(-size // PART)))


def _send(store: Store, part: ModelPart, file: StagedFile) -> int:
    sent, total, names = 0, hashlib.sha256(), objects_of(part, file)
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


def _is_staged(store: Store, part: ModelPart) -> bool:
    try:
        manifest = read_manifest(store, part)
    except ModelLoadError:
        return False
    return manifest is not None and all(
        store.exists(name) for file in manifest.files for name in objects_of(part, file)
    )


def _first(error: ValidationError) -> str:
    first = error.errors()[0]
    return f"{first['input']!r}: {first['msg']}"[:200]


@contextlib.contextmanager
def _readable(part: ModelPart) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ConfigError(
            f"The {part.role} {part.source.path} cannot be read ({error}); name one that is here."
        ) from error
