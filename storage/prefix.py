"""The prefix in a bucket that a store's URL names: any characters that a key may have there."""

import re
from urllib.parse import quote, unquote

CONTROL = re.compile(r"[\x00-\x1f\x7f]")


def read_prefix(path: str) -> str:
    """What the path of a URL means: decoded, without `/` around it.

    Raises `ValueError` for what servers and clients disagree on: control characters, a segment that
    is empty, `.` or `..`, and what is not UTF-8.
    """
    prefix = unquote(path, errors="strict").strip("/")
    segments = prefix.split("/") if prefix else []
    if CONTROL.search(prefix) or not {"", ".", ".."}.isdisjoint(segments):
        raise ValueError(f"{path!r} is no prefix.")
    prefix.encode()
    return prefix


def write_prefix(prefix: str) -> str:
    """The path of a URL that means this prefix."""
    return quote(prefix, safe="/=+@:,;!$&'()*~")
