"""Text that a terminal, a browser or a spreadsheet would obey, and how to see that none does."""

import unicodedata

HOSTILE = "\x1b[31mred\x1b]0;title\x07 \u202egnp.exe\u2066 [red]:cat:[/red] \x9b2J\x85 \r\n=1 <b>&"
"""Colours, a window's title, bidi marks, markup, C1 controls, line ends, a formula, HTML."""


def obeyed(text):
    """The characters of a text that a terminal would obey, or that hide something."""
    joiners = "\u200c\u200d"
    kinds = ("Cc", "Cf", "Cs", "Zl", "Zp")
    return [c for c in text if unicodedata.category(c) in kinds and c not in joiners]
