"""The folder of this host that keeps what was fetched or computed once for all its processes."""

import contextlib
import fcntl
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

from seedsweep.storage.errors import ConfigError


def cache_folder() -> Path:
    """`SEEDSWEEP_CACHE_DIR`, else seedsweep's folder in the user's cache."""
    if given := os.environ.get("SEEDSWEEP_CACHE_DIR"):
        return Path(given).absolute()
    try:
        base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    except RuntimeError as error:
        raise ConfigError("This user has no home folder; set SEEDSWEEP_CACHE_DIR.") from error
    return Path(base).absolute() / "seedsweep"


def make_room(target: Path) -> None:
    """Make the folder that a file or folder of the cache is to lie in.

    The cache's own is made for this user alone; one that is there already keeps its mode, so that
    several users may share one that was made for them.
    """
    cache_folder().mkdir(mode=0o700, parents=True, exist_ok=True)
    target.parent.mkdir(parents=True, exist_ok=True)


def make_once(
    target: Path, make: Callable[[Path], None], is_whole: Callable[[Path], bool] = Path.is_dir
) -> None:
    """Have `make` fill a folder that appears at `target` whole, or not at all.

    One process of the host makes it while the others wait; what `is_whole` already is left alone,
    and what is not, like what a killed process left, is replaced.
    """
    make_room(target)
    with _alone(target.with_name(f"{target.name}.lock")):
        if is_whole(target):
            return
        unfinished = target.with_name(f"{target.name}.unfinished")
        _remove(unfinished)
        try:
            unfinished.mkdir()
            make(unfinished)
            _remove(target)
            unfinished.rename(target)
        finally:
            _remove(unfinished)


@contextlib.contextmanager
def _alone(lock: Path) -> Iterator[None]:
    """One process of the host at a time; the kernel lets go of it for a process that dies."""
    with lock.open("a") as opened:
        fcntl.flock(opened, fcntl.LOCK_EX)
        yield


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
