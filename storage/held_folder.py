"""Temporary folders that go with the process that holds them; if killed, at the next start."""

import contextlib
import fcntl
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path


def hold_folder(place: Path, prefix: str) -> tuple[Path, int]:
    """Make a folder in the place that only this user may enter; returns it, and the descriptor that
    holds it until that is closed. Its name begins with `prefix`.

    Folders of that name there whose process was killed are removed first. All processes that use
    the prefix must hold their folders so. Raises `OSError` if the place cannot be written, or knows
    no locks.
    """
    _remove_dead(place, prefix)
    while True:
        folder = Path(tempfile.mkdtemp(prefix=prefix, dir=place))
        try:
            lock = _lock(folder)
        except OSError:
            folder.rmdir()
            raise
        if lock is not None:
            return folder, lock


@contextlib.contextmanager
def held_folder(prefix: str) -> Iterator[Path]:
    """A folder as of `hold_folder`, in the usual place, for the time of the block.

    If that place knows no locks, as some cluster file systems do not, a killed process leaves it.
    Raises `OSError` if the place cannot be written.
    """
    try:
        folder, lock = hold_folder(Path(tempfile.gettempdir()), prefix)
    except OSError:
        with tempfile.TemporaryDirectory() as unlocked:
            yield Path(unlocked)
        return
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)


def _remove_dead(place: Path, prefix: str) -> None:
    """Remove our folders there that no living process holds."""
    for folder in place.glob(f"{prefix}*"):
        with contextlib.suppress(OSError):
            found = folder.lstat()
            if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
                continue
            lock = _lock(folder)
            if lock is not None:
                shutil.rmtree(folder, ignore_errors=True)
                os.close(lock)


def _lock(folder: Path) -> int | None:
    """Hold the folder until the descriptor is closed; None if somebody has it, or removed it."""
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if folder.exists():
            return descriptor
    except BlockingIOError:
        pass
    except OSError:
        os.close(descriptor)
        raise
    os.close(descriptor)
    return None
