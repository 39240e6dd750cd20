"""Where tables are printed, and how prompts fit into them."""

import sys
from collections.abc import Callable

from rich.console import Console, JustifyMethod, OverflowMethod
from rich.style import Style
from rich.text import Text

from seedsweep.scheduler.printable import shown


class _PlainConsole(Console):
    """Shows all strings as they are: nothing in them is markup, an emoji's name or obeyed."""

    def render_str(
        self,
        text: str,
        *,
        style: str | Style = "",
        justify: JustifyMethod | None = None,
        overflow: OverflowMethod | None = None,
        emoji: bool | None = None,
        markup: bool | None = None,
        highlight: bool | None = None,
        highlighter: Callable[[str | Text], Text] | None = None,
    ) -> Text:
        return Text(shown(text), style=style, justify=justify, overflow=overflow)


def console() -> Console:
    """Tables go to stdout, strings as they are; in a log they get the width they need."""
    return _PlainConsole(width=None if sys.stdout.isatty() else 160)


def prompt_cell(prompt: str, length: int) -> str:
    """A prompt as a table shows it: at most `length` characters."""
    text = shown(prompt)
    return text if len(text) <= length else text[: length - 1] + "…"
