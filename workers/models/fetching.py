"""Where a model's files are on this host: its own place, the store's copy, or the hub's cache.

A staged part of a model is fetched once per host. Its manifest is believed in nothing: paths,
hashes and the fingerprint are all checked.
"""

import contextlib
import hashlib
import logging
import os
from dataclasses import replace
from pathlib import Path

from seedsweep.storage import keys
from seedsweep.storage.errors import ConfigError, ModelLoadError, TransientError
from seedsweep.storage.settings.model import Model
from seedsweep.storage.store import Store
from seedsweep.workers.host_cache import cache_folder, make_once
from seedsweep.workers.models.fingerprint import fingerprint_digests, hash_part, hub_part
from seedsweep.workers.models.parts import (
    CHECKPOINT,
    ModelPart,
    Places,
    base_part,
    component_folder,
    component_part,
    config_part,
    is_of_hub,
    weights_file,
    weights_parts,
)
from seedsweep.workers.models.staging import (
    Manifest,
    StagedFile,
    objects_of,
    read_manifest,
    stage_again,
)

log = logging.getLogger(__name__)


def model_places(store: Store, model: Model) -> Places:
    """Where all parts of the campaign's model are on this host, fetched if need be.

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


def part_place(store: Store, part: ModelPart) -> Path:
    """The folder or file on this host to load a part from; fetched first if need be.

    It is the part's own place if that is still what was submitted (its files are hashed each
    time); else the copy of a staged part, which is verified when it is fetched and trusted
    afterwards; of a hub id it is the hub's cache, and the commit is its name. Fetching happens
    once per host, however many processes ask, and what was fetched once needs no network again.

    Raises `ModelLoadError` if there is no such part or it is not the one that was submitted,
    and `TransientError` if the store or the hub does not answer.
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


def _manifest_or_refusal(store: Store, part: ModelPart, fingerprint: str | None) -> Manifest:
    manifest = read_manifest(store, part)
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


def _fingerprint_here(part: ModelPart) -> str | None:
    with contextlib.suppress(OSError, UnicodeError):
        if Path(part.source.path).exists():
            return fingerprint_digests(hash_part(part))
    return None


def _fetch(store: Store, part: ModelPart, manifest: Manifest, target: Path) -> None:
    """Fetch a staged model to a folder that appears whole and verified, or not at all."""

    def fetch(folder: Path) -> None:
        log.info("Fetching the model %s from the store to %s.", part.source.path, target)
        for file in manifest.files:
            _receive(store, part, file, folder / file.path)
        _check(part, manifest, folder)

    make_once(target, fetch)


def _receive(store: Store, part: ModelPart, file: StagedFile, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    total = hashlib.sha256()
    with path.open("xb") as opened:
        for name in objects_of(part, file):
            data = store.read(name)
            if data is None:
                raise ModelLoadError(f"{name} is missing from the store; {stage_again(part)}.")
            total.update(data)
            opened.write(data)
        opened.flush()
        os.fsync(opened.fileno())
    if total.hexdigest() != file.sha256:
        raise ModelLoadError(
            f"The staged file {file.path!r} of the {part.role} {part.source.path} is not what was "
            f"staged; {stage_again(part)}."
        )


def _check(part: ModelPart, manifest: Manifest, folder: Path) -> None:
    digests = _digests_of_copy(part, folder)
    fingerprint = fingerprint_digests(digests)
    submitted = part.source.fingerprint
    if fingerprint != submitted or set(digests) != {file.path for file in manifest.files}:
        raise ModelLoadError(
            f"The staged copy of {part.source.path} is not the {part.role} that was submitted "
            f"({fingerprint}, not {submitted}); {stage_again(part)}."
        )


def _digests_of_copy(part: ModelPart, folder: Path) -> dict[str, str]:
    source = part.source.model_copy(update={"path": str(_copied(folder))})
    return hash_part(replace(part, source=source))


def _copied(folder: Path) -> Path:
    """What was fetched to a folder: the folder, or the one file that a part is."""
    alone = [file.name for file in folder.iterdir()] == [CHECKPOINT]
    return folder / CHECKPOINT if alone else folder


def _hub_place(part: ModelPart) -> Path:
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
