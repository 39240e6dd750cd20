"""Weights that a model's files lack, or have beside those that are used: the libraries log it.

diffusers and transformers draw by lot what is lacking.
"""

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_LIBRARIES = ("diffusers", "transformers")
_NEW = "newly initialized"
_UNUSED = "were not used when initializing"
_FIRST = re.compile(r"were not used when initializing[^\[]*\['([^',]+)")
_WHERE = re.compile(r"(?:from: |checkpoint at )(.+?)(?: and are newly| were not used|\n|$)")
_NAMES = re.compile(r"([\w.]+)\s*\| MISSING|newly initialized: \['([\w.]+)'")


class _Said(logging.Handler):
    """Keeps what the libraries say with certain words."""

    def __init__(self, words: str) -> None:
        super().__init__(logging.WARNING)
        self._words = words
        self.said: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage()
        if self._words in text:
            self.said.append(text)


@contextmanager
def drawn_by_lot() -> Iterator[list[str]]:
    """A list to which each part is added that is loaded meanwhile and lacks weights: its folder's
    name, with one of them."""
    parts = list[str]()
    with _heard(_NEW) as said:
        yield parts
    parts += map(_describe, said)


@contextmanager
def unused_weights() -> Iterator[list[str]]:
    """A list to which the first weight is added of each part of a checkpoint that has more than its
    configuration says, once all is loaded."""
    first = list[str]()
    with _heard(_UNUSED) as said:
        yield first
    first += (match[1] for text in said if (match := _FIRST.search(text)))


@contextmanager
def _heard(words: str) -> Iterator[list[str]]:
    """What is said with these words, once all is loaded. Nothing less than an error is printed
    meanwhile: both libraries warn of what they would need for parts that are not asked for."""
    watch = _Said(words)
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
        yield watch.said
    finally:
        for logger in loggers:
            logger.removeHandler(watch)
        for each, level in zip(muted, levels, strict=True):
            each.setLevel(level)


def _describe(text: str) -> str:
    where, name = _WHERE.search(text), _NAMES.search(text)
    part = Path(where[1]).name if where else "a part"
    return f"{part}: {name[1] or name[2]}" if name else part
