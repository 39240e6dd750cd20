"""A store from a URL: objects by key, each written whole or not at all.

`file:` is a folder; `s3:`, `gs:` and `az:` are buckets. Every implementation keeps the same
promises, and one contract suite in the tests is run on each.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

_KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*)*")


@dataclass(frozen=True, slots=True)
class StoreFacts:
    """What a store was found to be.

    `conditional_create`: exactly one of several racing writers wins a key; without it the last one
    does. `clock_skew_seconds`: the store's clock minus ours, to about a second. `checked_by`: by
    what the store checks an object that is written, if it refuses its CRC-32. `credentials`:
    where those that it is used with came from, in words.
    """

    conditional_create: bool
    clock_skew_seconds: float
    checked_by: str | None = None
    credentials: str | None = None


class Store(Protocol):
    """Objects by key.

    No reader ever observes a partially written object. A key is segments of letters, digits, `.`,
    `_` and `-` joined by `/`, each of which begins with a letter or
    digit; any other key raises `ValueError`.
    Every method raises `StoreUnavailableError` if the store itself fails, and `ConfigError`
    if it refuses the user's settings.
    """

    url: str

    def create(self, key: str, data: bytes) -> bool:
        """Store `data` unless the key exists: exactly one of several racing writers gets True."""

    def replace(self, key: str, data: bytes) -> None:
        """Store `data` whether or not the key exists."""

    def read(self, key: str) -> bytes | None:
        """Return the whole object, or None if there is none."""

    def read_range(self, key: str, start: int, length: int) -> bytes | None:
        """Return what `object[start:][:length]` is, or None if there is no object.

        So a negative `start` counts from the end, and the result is short at the object's end.
        """

    def exists(self, key: str) -> bool:
        """Tell whether the object is there, whole."""

    def list(self, prefix: str) -> Iterator[str]:
        """Yield every key below `prefix` (empty, or ending in `/`), ascending in each folder.

        What lies there under another name than a key's, such as a folder's marker, is left out.
        """

    def folders(self, prefix: str) -> Iterator[str]:
        """Yield the names of the folders right below `prefix` (as in `list`), ascending.

        Names that no key can hold are left out. A folder whose last object was deleted may still be
        named.
        """

    def delete(self, key: str) -> None:
        """Remove the object; fine if there is none."""

    def inspect(self) -> StoreFacts:
        """Write and remove an object that no listing shows, and tell what that showed of the
        store."""


def is_key(key: str) -> bool:
    """Whether an object can have this key."""
    return _KEY.fullmatch(key) is not None


def check_key(key: str) -> str:
    """Return the key; raises `ValueError` if it is none."""
    if not is_key(key):
        raise ValueError(f"{key!r} is not a key.")
    return key


def check_prefix(prefix: str) -> str:
    """Return the prefix, empty or a key and `/`; raises `ValueError` if it is neither."""
    if prefix and not (prefix.endswith("/") and _KEY.fullmatch(prefix[:-1])):
        raise ValueError(f"{prefix!r} is not a key and a slash.")
    return prefix
