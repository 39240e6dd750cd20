"""A bundle while it is written: a folder of files with their hashes, whole or not there at all."""

import contextlib
import hashlib
import json
import re
import shutil
import uuid
from collections.abc import Iterator
from dataclasses import asdict, dataclass, is_dataclass
from pathlib import Path

from pydantic import BaseModel

from seedsweep.audit.evidence.signature import Signer
from seedsweep.audit.evidence.verify_bundle import MANIFEST, PUBLIC, SIGNATURE, SUMS
from seedsweep.storage.errors import ConfigError, ShardCorruptError
from seedsweep.storage.keys import RELATIVE_PATH


@dataclass(frozen=True, slots=True)
class Sealed:
    """A bundle that is written: its folder, the sha256 of its manifest, and in sentences what is in
    it and what people said."""

    folder: Path
    sha256: str
    in_words: str
    labels_in_words: tuple[str, ...]


class Bundle:
    """Files of a bundle; equal contents give equal bytes."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._files: dict[str, dict[str, str | int]] = {}

    @property
    def names(self) -> tuple[str, ...]:
        """The files added so far."""
        return tuple(self._files)

    def add(self, name: str, data: bytes) -> None:
        """Add a file; raises `ShardCorruptError` for a name that leads out of the bundle."""
        if not re.fullmatch(RELATIVE_PATH, name):
            raise ShardCorruptError(
                f"{name!r} cannot be the name of a file, so the results are not what was written; "
                "delete them and run `seedsweep analyse` again."
            )
        path = self._folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        self._files[name] = {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data)}

    def add_json(self, name: str, value: object) -> None:
        """Add a record, or what holds records, as JSON."""
        self.add(name, _to_json(value))

    def seal(self, manifest: dict[str, object], signer: Signer | None) -> str:
        """Write the manifest of all files added so far, sign it, and return its sha256."""
        if signer:
            self.add(PUBLIC, signer.public)
        signed_by = signer.fingerprint if signer else None
        data = _to_json({**manifest, "files": self._files, "signed_by": signed_by})
        (self._folder / MANIFEST).write_bytes(data)
        written = {MANIFEST: data}
        if signer:
            written[SIGNATURE] = signer.sign(self._folder / MANIFEST)
            (self._folder / SIGNATURE).write_bytes(written[SIGNATURE])
        digests = {name: hashlib.sha256(content).hexdigest() for name, content in written.items()}
        sums = "".join(f"{digest}  {name}\n" for name, digest in digests.items())
        (self._folder / SUMS).write_bytes(sums.encode())
        return digests[MANIFEST]


def refuse_taken(folder: Path) -> None:
    """Raise `ConfigError` unless the folder is free for a bundle: nothing is ever overwritten."""
    if folder.is_symlink() or folder.is_file() or (folder.is_dir() and any(folder.iterdir())):
        raise ConfigError(f"{folder} is there already; name a new folder for the bundle.")


@contextlib.contextmanager
def new_bundle(folder: Path) -> Iterator[Bundle]:
    """A bundle that is at `folder` once the block has ended, and nowhere if it raises.

    Raises `ConfigError` if the folder holds something or cannot be written.
    """
    unfinished = folder.absolute().parent / f".{folder.absolute().name}.{uuid.uuid4().hex}"
    try:
        refuse_taken(folder)
        unfinished.mkdir(parents=True)
        yield Bundle(unfinished)
        unfinished.replace(folder)
    except OSError as error:
        raise ConfigError(
            f"The bundle {folder} cannot be written ({error.strerror or error}); "
            "name a folder that can be."
        ) from error
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _to_json(value: object) -> bytes:
    text = json.dumps(value, sort_keys=True, indent=2, ensure_ascii=False, default=_plain)
    return (text + "\n").encode()


def _plain(value: object) -> object:
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    raise TypeError(f"{type(value).__name__} is no record.")
