"""A store from a URL: objects by key, each written whole or not at all.

`file:` is a folder, `s3:` a bucket. Every implementation keeps the same promises, and one contract
suite in the tests is run on each.
"""

import contextlib
import os
import re
import time
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol
from urllib.parse import quote, unquote, urlsplit

from storage.errors import ConfigError, StoreUnavailableError

_KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*)*")
_STALE_AFTER = 24 * 3600.0


@dataclass(frozen=True, slots=True)
class StoreFacts:
    """What a store was found to be.

    `conditional_create`: exactly one of several racing writers wins a key; without it the last one
    does. `clock_skew_seconds`: the store's clock minus ours, to about a second.
    """

    conditional_create: bool
    clock_skew_seconds: float


class Store(Protocol):
    """Objects by key.

    No reader ever observes a partially written object. A key is segments of letters, digits, `.`,
    `_` and `-` joined by `/`, each of which begins with a letter or
    digit; any other key raises `ValueError`.
    Every method raises `StoreUnavailableError` where the store itself fails, and `ConfigError`
    where it refuses the user's settings.
    """

    url: str

    def create(self, key: str, data: bytes) -> bool:
        """Store `data` unless the key exists: exactly one of several racing writers gets True."""

    def replace(self, key: str, data: bytes) -> None:
        """Store `data` whether or not the key exists."""

    def read(self, key: str) -> bytes | None:
        """Return the whole object, or None where there is none."""

    def read_range(self, key: str, start: int, length: int) -> bytes | None:
        """Return what `object[start:][:length]` is, or None where there is no object.

        So a negative `start` counts from the end, and the result is short at the object's end.
        """

    def exists(self, key: str) -> bool:
        """Tell whether the object is there, whole."""

    def list(self, prefix: str) -> Iterator[str]:
        """Yield every key below `prefix` (empty, or ending in `/`), ascending in each folder."""

    def folders(self, prefix: str) -> Iterator[str]:
        """Yield the names of the folders right below `prefix` (as in `list`), ascending.

        A folder whose last object was deleted may still be named.
        """

    def delete(self, key: str) -> None:
        """Remove the object; fine where there is none."""

    def inspect(self) -> StoreFacts:
        """Write and remove something that no listing shows, and tell what that taught."""


def check_key(key: str) -> str:
    """Return the key; raises `ValueError` where it is none."""
    if not _KEY.fullmatch(key):
        raise ValueError(f"{key!r} is not a key.")
    return key


def check_prefix(prefix: str) -> str:
    """Return the prefix, empty or a key and `/`; raises `ValueError` where it is neither."""
    if prefix and not (prefix.endswith("/") and _KEY.fullmatch(prefix[:-1])):
        raise ValueError(f"{prefix!r} is not a key and a slash.")
    return prefix


def open_store(url: str) -> Store:
    """Open the store that a URL names: `file:PATH`, a bare path, or `s3:` as `S3Store` has it.

    Raises `ConfigError` for a URL that names no store. Opening neither reads nor writes.
    """
    scheme = url.partition(":")[0] if ":" in url else "file"
    if scheme == "file":
        parts = urlsplit(url)
        path = unquote(parts.path) if parts.scheme == "file" else url
        if not path or parts.netloc not in ("", "localhost"):
            raise ConfigError(f"The store URL {url!r} names no folder; write file:FOLDER.")
        return FolderStore(Path(path))
    if scheme == "s3":
        from storage.s3 import S3Store

        return S3Store(url)
    raise ConfigError(
        f"No store can be opened from a URL of kind {scheme!r}; write file:FOLDER or "
        "s3://BUCKET/PREFIX?endpoint=URL."
    )


class FolderStore:
    """A store in a folder, on any file system that has hard links.

    Objects are written to a temporary file, flushed to the disk and then linked to their name,
    which fails where the name is taken: that is what makes `create` whole and create-only.
    """

    def __init__(self, root: Path) -> None:
        self.root = root.absolute()
        self.url = f"file:{quote(str(self.root))}"
        self._scratch = self.root / ".writing"
        self._swept = False

    def create(self, key: str, data: bytes) -> bool:
        target = self._path(key)
        with self._translated("write", key), self._written(data) as temporary:
            target.parent.mkdir(parents=True, exist_ok=True)
            try:
                target.hardlink_to(temporary)
            except FileExistsError:
                return False
            self._flush_folder(target.parent)
            return True

    def replace(self, key: str, data: bytes) -> None:
        target = self._path(key)
        with self._translated("write", key), self._written(data) as temporary:
            target.parent.mkdir(parents=True, exist_ok=True)
            temporary.replace(target)
            self._flush_folder(target.parent)

    def read(self, key: str) -> bytes | None:
        with self._translated("read", key):
            try:
                return self._path(key).read_bytes()
            except (FileNotFoundError, IsADirectoryError):
                return None

    def read_range(self, key: str, start: int, length: int) -> bytes | None:
        with self._translated("read", key):
            try:
                with self._path(key).open("rb") as file:
                    size = file.seek(0, os.SEEK_END)
                    file.seek(start if start >= 0 else max(0, size + start))
                    return file.read(length)
            except (FileNotFoundError, IsADirectoryError):
                return None

    def exists(self, key: str) -> bool:
        with self._translated("read", key):
            return self._path(key).is_file()

    def list(self, prefix: str) -> Iterator[str]:
        folder = self.root / check_prefix(prefix)
        with self._translated("list", prefix):
            yield from self._walk(folder)

    def folders(self, prefix: str) -> Iterator[str]:
        folder = self.root / check_prefix(prefix)
        with self._translated("list", prefix):
            yield from (entry.name for entry in self._entries(folder) if entry.is_dir())

    def delete(self, key: str) -> None:
        with self._translated("delete", key):
            self._path(key).unlink(missing_ok=True)

    def inspect(self) -> StoreFacts:
        with self._translated("write", "a probe"), self._written(b"") as temporary:
            skew = temporary.stat().st_mtime - time.time()
            return StoreFacts(conditional_create=True, clock_skew_seconds=skew)

    def _path(self, key: str) -> Path:
        return self.root / check_key(key)

    @staticmethod
    def _entries(folder: Path) -> Sequence[os.DirEntry[str]]:
        try:
            with os.scandir(folder) as entries:
                seen = [entry for entry in entries if not entry.name.startswith(".")]
        except FileNotFoundError:
            return []
        return sorted(seen, key=lambda entry: entry.name)

    def _walk(self, folder: Path) -> Iterator[str]:
        for entry in self._entries(folder):
            if entry.is_dir():
                yield from self._walk(Path(entry.path))
            else:
                yield Path(entry.path).relative_to(self.root).as_posix()

    @contextlib.contextmanager
    def _written(self, data: bytes) -> Iterator[Path]:
        self._scratch.mkdir(parents=True, exist_ok=True)
        self._sweep_once()
        temporary = self._scratch / uuid.uuid4().hex
        try:
            with temporary.open("xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            yield temporary
        finally:
            temporary.unlink(missing_ok=True)

    def _sweep_once(self) -> None:
        """Remove what killed writers left behind, once per process."""
        if self._swept:
            return
        self._swept = True
        for leftover in self._scratch.iterdir():
            with contextlib.suppress(FileNotFoundError):
                if time.time() - leftover.stat().st_mtime > _STALE_AFTER:
                    leftover.unlink()

    @staticmethod
    def _flush_folder(folder: Path) -> None:
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    @contextlib.contextmanager
    def _translated(self, action: str, key: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise StoreUnavailableError(
                f"The store {self.url} could not {action} {key or 'its keys'} "
                f"({error.strerror or error}); check the folder's permissions and free space."
            ) from error
