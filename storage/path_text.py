"""Places of files as text: what is stored of them is UTF-8, and a name on a disk need not be."""

from pathlib import Path

from seedsweep.storage.errors import ConfigError


def path_text(path: Path, what: str) -> str:
    """The path as text. Raises `ConfigError` if it is not UTF-8; `what` says whose it is."""
    text = str(path)
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ConfigError(
            f"The path of {what}, {text!r}, is not UTF-8; rename what is odd in it, or set "
            "LC_ALL=C.UTF-8 if nothing is."
        ) from error
    return text
