"""Open the store that a URL names."""

from pathlib import Path
from urllib.parse import unquote, urlsplit

from seedsweep.storage.errors import ConfigError
from seedsweep.storage.folder_store import FolderStore
from seedsweep.storage.store import Store


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
        from seedsweep.storage.s3.store import S3Store

        return S3Store(url)
    raise ConfigError(
        f"No store can be opened from a URL of kind {scheme!r}; write file:FOLDER or "
        "s3://BUCKET/PREFIX?endpoint=URL."
    )
