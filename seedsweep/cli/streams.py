"""Stdout and stderr: how wide they are, and what is done if one is closed, full or left."""

import contextlib
import os
import select
import sys
from typing import TextIO

from seedsweep.storage.errors import ConfigError

LEAST_COLUMNS, USUAL_COLUMNS, UNBOUNDED = 8, 80, 1_000_000
"""Of a terminal: no less is believed of one, so many has one that does not say, a file so many."""


def columns_of(stream: TextIO) -> int:
    """How many columns there are to print in: the terminal's, or fewer if COLUMNS says so; a pipe
    or a file has no end, whatever it says: children of an interactive Python inherit 80."""
    try:
        columns = os.get_terminal_size(stream.fileno()).columns or USUAL_COLUMNS
    except (OSError, ValueError):  # it is no terminal
        return UNBOUNDED
    with contextlib.suppress(ValueError):
        wanted = int(os.environ.get("COLUMNS", ""))
        columns = min(columns, wanted) if wanted > 0 else columns
    return max(columns, LEAST_COLUMNS)


def can_be_redrawn(stream: TextIO) -> bool:
    """Whether lines there can be drawn anew: on a terminal, unless it is a dumb one."""
    return stream.isatty() and os.environ.get("TERM", "").lower() not in ("dumb", "unknown")


def write(text: str, stream: TextIO) -> bool:
    """Write a text at once; False if nobody reads it any more, which ends nothing: what is under
    way goes on, and the exit code says what it says.

    Raises `ConfigError` if stdout fails otherwise, since not all that was asked for is there.
    """
    try:
        stream.write(text)
        stream.flush()
    except BrokenPipeError:
        _swallow(stream)
        return False
    except OSError as error:
        _swallow(stream)
        if stream is sys.stdout:
            raise ConfigError(
                f"Stdout cannot be written ({error.strerror}), so what was asked for is not whole; "
                "send it elsewhere."
            ) from error
        return False
    return True


def is_left(stream: TextIO, within: float) -> bool:
    """Wait so many seconds, or until whoever reads a pipe has gone; True if so."""
    watched = select.poll()
    watched.register(stream, 0)
    return bool(watched.poll(1000 * within))


def open_closed() -> None:
    """Have stdin, stdout and stderr where whoever started this closed one, so that no file of ours
    takes its place: nothing is read there, and what is written is gone."""
    while (number := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(number, True)
    os.close(number)
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w"))  # noqa: PTH123, SIM115


def _swallow(stream: TextIO) -> None:
    """Have what is still to be written be gone: Python would fail on it when it ends."""
    with contextlib.suppress(OSError):
        number = os.open(os.devnull, os.O_WRONLY)
        os.dup2(number, stream.fileno())
        os.close(number)
