"""Read an array of JSON item by item, however long it is."""

import json
import re
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import IO

from seedsweep.scheduler.prompt_lists.text_files import (
    FIELD_CHARACTERS,
    FILE_BYTES,
    open_text,
    too_large,
    too_long,
)
from seedsweep.storage.errors import ConfigError

NO_JSON = (ValueError, RecursionError)
"""What `json` raises: a number of too many digits is a `ValueError`, too deep a value the other."""

_CHUNK = 1 << 16
_WHITE = re.compile(r"[ \t\n\r]*")


def read_array(path: Path) -> Iterator[tuple[int, object]]:
    """Yield the items of the array that the file holds, with their numbers from 1.

    Raises `ConfigError` if it holds anything else, `OSError` and `ValueError` if it cannot be read.
    """
    with open_text(path) as file:
        yield from _items(path, _Text(path, file))


def no_json(where: str, error: Exception) -> ConfigError:
    """What refuses a text that raised `NO_JSON`."""
    reason = error.msg if isinstance(error, json.JSONDecodeError) else str(error)
    return ConfigError(f"{where} is not JSON ({reason}); correct it.")


def _items(path: Path, text: "_Text") -> Iterator[tuple[int, object]]:
    if text.take() != "[":
        raise ConfigError(
            f"The file {path} holds no array of JSON; write one, or call it .jsonl if each of its "
            "lines is an object."
        )
    if text.peek() == "]":
        text.take()
    else:
        for number in count(1):
            yield number, text.value(number)
            end = text.take()
            if end == "]":
                break
            if end != ",":
                raise ConfigError(
                    f"After item {number} of {path} comes neither a comma nor the array's end; "
                    "correct it."
                )
    if text.peek():
        raise ConfigError(f"More than an array stands in {path}; remove what follows it.")


class _Text:
    """A JSON text that is read as far as it is wanted."""

    def __init__(self, path: Path, file: IO[str]) -> None:
        self._path, self._file = path, file
        self._text, self._at, self._size = "", 0, 0

    def peek(self) -> str:
        """The next character that is no white space, empty at the end."""
        while True:
            white = _WHITE.match(self._text, self._at)
            self._at = white.end() if white else self._at
            if self._at < len(self._text) or not self._read_on():
                return self._text[self._at : self._at + 1]

    def take(self) -> str:
        """As `peek`, and go on after it."""
        character = self.peek()
        self._at += len(character)
        return character

    def value(self, number: int) -> object:
        """The next value, a text or an object."""
        where = f"Item {number} of {self._path}"
        self.peek()
        while True:
            try:
                value, self._at = json.JSONDecoder().raw_decode(self._text, self._at)
            except NO_JSON as error:
                # It may go on in what was not read yet.
                if len(self._text) - self._at > FIELD_CHARACTERS:
                    raise too_long(where) from error
                if not self._read_on():
                    raise no_json(where, error) from error
            else:
                return value

    def _read_on(self) -> bool:
        """Read on, as much again as is left, so that a long value takes few tries."""
        left = self._text[self._at :]
        more = self._file.read(max(_CHUNK, len(left)))
        self._text, self._at = left + more, 0
        self._size += len(more)
        if self._size > FILE_BYTES:
            raise too_large(self._path)
        return bool(more)
