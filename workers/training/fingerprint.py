"""What names a training set's content, and a cheap way to tell that it is the same as before."""

import contextlib
import hashlib
import os
import re
import stat
import time
from collections.abc import Sequence
from pathlib import Path

from seedsweep.storage.errors import ConfigError, TrainingSetError
from seedsweep.workers.host_cache import cache_folder, make_room
from seedsweep.workers.training.file_kinds import not_readable
from seedsweep.workers.training.slices import (
    UNREADABLE,
    USUAL,
    PictureColumn,
    SetContents,
    look_into,
)

SETTLED_SECONDS = 2.0
"""A file that was changed within these may be changed again without another time."""

_FINGERPRINT = re.compile("sha256:[0-9a-f]{64}")
_ABSENT = "-"

NamedFile = tuple[str, Path]


def fingerprint_training_set(path: Path, column: PictureColumn = USUAL) -> str:
    """Name the training set's content: a hash of its files, and of their names in a folder.

    What was hashed on this host is not read again while names, sizes, times and inodes of all files
    are the same. Raises `ConfigError` where there is no training set to read.
    """
    try:
        files = _files(look_into(path, column))
        state, is_settled = _state(files)
        if known := _recall(state):
            return known
        fingerprint = _hash(files)
        if is_settled and _state(files)[0] == state:
            _keep(state, fingerprint)
    except (TrainingSetError, *UNREADABLE) as error:
        raise not_readable("training set", path, error) from error
    return fingerprint


def state_of(contents: SetContents) -> str:
    """What is another one if any file of the training set has changed."""
    return _state(_files(contents))[0]


def size_of(file: Path) -> str:
    """A file's size, of what is no file none."""
    about = _about(file)
    return str(about.st_size) if about else _ABSENT


def _files(contents: SetContents) -> list[NamedFile]:
    whole = contents.path
    return [(whole.name if file == whole else name, file) for name, file in contents.all_files()]


def _hash(files: Sequence[NamedFile]) -> str:
    total = hashlib.sha256()
    for name, file in files:
        content = _ABSENT
        if _about(file):
            with file.open("rb") as opened:
                content = hashlib.file_digest(opened, "sha256").hexdigest()
        total.update(f"{name} {content}\n".encode())
    return f"sha256:{total.hexdigest()}"


def _state(files: Sequence[NamedFile]) -> tuple[str, bool]:
    """What is another one if a file is, and whether none was changed just now."""
    told, newest = hashlib.sha256(), 0
    for name, file in files:
        about = _about(file)
        facts = (
            (about.st_size, about.st_mtime_ns, about.st_ctime_ns, about.st_ino, about.st_dev)
            if about
            else ()
        )
        told.update(f"{name} {facts}\n".encode())
        newest = max(newest, *facts[1:3], 0)
    return told.hexdigest(), time.time_ns() - newest > SETTLED_SECONDS * 1e9


def _about(file: Path) -> os.stat_result | None:
    try:
        about = file.stat()
    except (OSError, ValueError):
        return None
    return about if stat.S_ISREG(about.st_mode) else None


def _kept(state: str) -> Path:
    return cache_folder() / "training" / "fingerprints" / state


def _recall(state: str) -> str | None:
    with contextlib.suppress(OSError, ValueError, ConfigError):
        if _FINGERPRINT.fullmatch(kept := _kept(state).read_text()):
            return kept
    return None


def _keep(state: str, fingerprint: str) -> None:
    with contextlib.suppress(OSError, ConfigError):
        file = _kept(state)
        make_room(file)
        unfinished = file.with_name(f"{file.name}.{os.getpid()}.unfinished")
        unfinished.write_text(fingerprint)
        unfinished.replace(file)
