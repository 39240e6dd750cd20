"""Text of others, made safe to look at in terminals, logs, CSVs and pages: it is shown, not obeyed.
Prompts, captions, file names, keys of a store and of a campaign file can hold commands to a
terminal or a browser. JSON and what is stored stay as they are.
"""

import logging
import unicodedata
from types import TracebackType

_OBEYED = {"Cc", "Cf", "Cs", "Zl", "Zp"}
"""Unicode's categories: control, format (bidi marks among them), surrogate, line and paragraph."""

_PARTS_OF_WORDS = "\u200c\u200d"
"""Format characters that Persian, Indic scripts and emoji are written with; they hide nothing."""


class _Escapes(dict[int, str]):
    def __missing__(self, code: int) -> str:
        character = chr(code)
        obeyed = unicodedata.category(character) in _OBEYED and character not in _PARTS_OF_WORDS
        self[code] = character.encode("unicode_escape").decode() if obeyed else character
        return self[code]


_ESCAPES = _Escapes()


def shown(text: str) -> str:
    """The text on one line; what would be obeyed is written as in Python, `\\x1b`, `\\u202e`.

    It can be printed in any encoding of Unicode, and holds no line break; all else is as it was.
    """
    return text.translate(_ESCAPES)


def shown_lines(text: str) -> str:
    """As `shown`, line by line."""
    return "\n".join(map(shown, text.split("\n")))


class ShownFormatter(logging.Formatter):
    """Formats a log's records so that no text in them ends a line or is obeyed."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        return shown(super().formatMessage(record))

    def formatException(
        self,
        ei: tuple[type[BaseException], BaseException, TracebackType | None]
        | tuple[None, None, None],
    ) -> str:
        return shown_lines(super().formatException(ei))
