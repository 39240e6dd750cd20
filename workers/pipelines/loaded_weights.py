"""Weights that a model's files lack: diffusers and transformers draw them by lot and log it."""

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_LIBRARIES = ("diffusers", "transformers")
_NEW = "newly initialized"
_WHERE = re.compile(r"(?:from: |checkpoint at )(.+?)(?: and are newly| were not used|\n|$)")
_NAMES = re.compile(r"([\w.]+)\s*\| MISSING|newly initialized: \['([\w.]+)'")


class _Drawn(logging.Handler):
    """Keeps what the libraries say of weights that no file had."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.said: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage()
        if _NEW in text:
            self.said.append(text)


@contextmanager
def drawn_by_lot() -> Iterator[list[str]]:
    """A list to which each part is added that is loaded meanwhile and lacks weights: its folder's
    name, with one of them. Nothing less than an error is printed meanwhile: both libraries warn of
    what they would need for parts that are not asked for."""
    watch, parts = _Drawn(), list[str]()
    loggers = [logging.getLogger(library) for library in _LIBRARIES]
    printing = [handler for logger in loggers for handler in logger.handlers]
    muted: list[logging.Logger | logging.Handler] = [*loggers, *printing]
    levels = [each.level for each in muted]
    for logger in loggers:
        logger.addHandler(watch)
        logger.setLevel(logging.WARNING)
    for handler in printing:
        handler.setLevel(logging.ERROR)
    try:
        yield parts
    finally:
        for logger in loggers:
            logger.removeHandler(watch)
        for each, level in zip(muted, levels, strict=True):
            each.setLevel(level)
        parts += map(_describe, watch.said)


def _describe(text: str) -> str:
    where, name = _WHERE.search(text), _NAMES.search(text)
    part = Path(where[1]).name if where else "a part"
    return f"{part}: {name[1] or name[2]}" if name else part
