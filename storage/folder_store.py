"""A store in a folder, on any file system that has hard links."""

import contextlib
import os
import time
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path
from urllib.parse import quote

from seedsweep.storage.errors import StoreUnavailableError
from seedsweep.storage.store import StoreFacts, check_key, check_prefix, is_key

_STALE_AFTER = 24 * 3600.0


class FolderStore:
    """A store in a folder, on any file system that has hard links.

    Objects are written to a temporary file, flushed to the disk and then linked to their name,
    which fails if the name is taken: that is what makes `create` whole and create-only.
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
                seen = [entry for entry in entries if is_key(entry.name)]
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
