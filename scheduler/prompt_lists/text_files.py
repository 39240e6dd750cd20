"""Text files as tables and lists are kept in: UTF-8, packed with gzip or not, read piece by piece.

What is too large for reason is refused before it fills the memory: a file, unpacked, of more than
`FILE_BYTES`, a line, a cell or a value of more than `FIELD_CHARACTERS`.
"""

import gzip
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from seedsweep.storage.errors import ConfigError

FILE_BYTES = 10_000_000_000
FIELD_CHARACTERS = 10_000_000

PACKED = ".gz"


def file_kind(path: Path) -> str:
    """The end of a file's name in small letters, as `.csv` or `.csv.gz`."""
    name = path.name.lower()
    return Path(name.removesuffix(PACKED)).suffix + (PACKED if name.endswith(PACKED) else "")


def check_is_file(path: Path) -> None:
    """Raise `OSError` for what is not there, and for a folder, a pipe or a device."""
    if not path.is_file():
        raise OSError("it is no file" if path.exists() else "it is not there")


def open_text(path: Path, newline: str | None = None) -> IO[str]:
    """Open a file, unpacked if its name ends in .gz, without the byte order mark.

    Raises `OSError` if it is no file, `ConfigError` if it is too large.
    """
    check_is_file(path)
    if path.stat().st_size > FILE_BYTES:
        raise too_large(path)
    if path.name.lower().endswith(PACKED):
        return gzip.open(path, "rt", encoding="utf-8-sig", newline=newline)
    return path.open(encoding="utf-8-sig", newline=newline)


def read_lines(path: Path, newline: str | None = None) -> Iterator[str]:
    """Yield the file's lines with their ends.

    Raises `ConfigError` for a line that holds a NUL, and for what is too large.
    """
    with open_text(path, newline) as file:
        size = number = 0
        while line := file.readline(FIELD_CHARACTERS + 1):
            number += 1
            size += len(line)
            if "\0" in line:
                raise ConfigError(
                    f"Line {number} of {path} holds a NUL, which no text does; save the file as "
                    "UTF-8, or remove it."
                )
            if len(line) > FIELD_CHARACTERS:
                raise too_long(f"Line {number} of {path}")
            if size > FILE_BYTES:
                raise too_large(path)
            yield line


def too_large(path: Path) -> ConfigError:
    """What refuses a file of too many bytes."""
    return ConfigError(
        f"The file {path} holds more than {FILE_BYTES / 1e9:g} GB of text; cut it into several."
    )


def too_long(where: str) -> ConfigError:
    """What refuses a line or a value of too many characters."""
    return ConfigError(f"{where} holds more than {FIELD_CHARACTERS:,} characters; shorten it.")
