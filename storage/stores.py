"""Open the store that a URL names."""

import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

from seedsweep.storage.errors import ConfigError
from seedsweep.storage.folder_store import FolderStore
from seedsweep.storage.path_text import path_text
from seedsweep.storage.store import Store

_SCHEME = re.compile("([A-Za-z][A-Za-z0-9+.-]*):")


def open_store(url: str) -> Store:
    """Open the store that a URL names: `file:PATH`, a bare path, or a bucket's.

    `S3Store` says how an `s3:` URL is written, and `open_cloud_store` `gs:` and `az:`.

    Raises `ConfigError` for a URL that names no store. Opening neither reads nor writes.
    """
    named = _SCHEME.match(url)
    scheme = named[1] if named else "file"
    if scheme == "file":
        return _open_folder(url)
    if scheme == "s3":
        from seedsweep.storage.s3.store import S3Store

        return S3Store(url)
    if scheme in ("gs", "az"):
        try:
            from seedsweep.storage.cloud_store import open_cloud_store
        except ModuleNotFoundError as error:
            raise ConfigError(
                f"A store of kind {scheme!r} needs the package obstore, which is not installed "
                "here; run pip install 'seedsweep[cloud]'."
            ) from error
        return open_cloud_store(url)
    raise ConfigError(
        f"No store can be opened from a URL of kind {scheme!r}; write file:FOLDER, "
        "s3://BUCKET/PREFIX?endpoint=URL, gs://BUCKET/PREFIX or az://CONTAINER/PREFIX."
    )


def _open_folder(url: str) -> FolderStore:
    parts = urlsplit(url)
    path = unquote(parts.path) if parts.scheme == "file" else url
    if not path or parts.netloc not in ("", "localhost"):
        raise ConfigError(f"The store URL {url!r} names no folder; write file:FOLDER.")
    if parts.scheme == "file" and (parts.query or parts.fragment):
        raise ConfigError(
            f"In the store URL {url!r} a ? or # ends the folder's name; write %3F and %23 for "
            "those that belong to it."
        )
    if Path(path).parts[:1] == ("~",):
        raise ConfigError(
            f"The ~ in the store URL {url!r} was left as it is, since shells expand only words "
            "that begin with it; write file:$HOME/FOLDER."
        )
    folder = Path(path).absolute()
    path_text(folder, "the store")
    return FolderStore(folder)
