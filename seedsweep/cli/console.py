"""Where tables are printed, and how prompts fit into them."""

import io
import shutil
import sys
from collections.abc import Callable

from rich.console import Console, JustifyMethod, OverflowMethod, RenderableType
from rich.style import Style
from rich.text import Text

from seedsweep.cli.streams import columns_of, write
from seedsweep.scheduler.printable import shown


class _PlainConsole(Console):
    """Shows all strings as they are: nothing in them is markup, an emoji's name or obeyed."""

    @property
    def encoding(self) -> str:
        return (sys.stdout.encoding or "utf-8").lower()

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
        # What the encoding lacks is an escape here already: its width counts.
        written = shown(text).encode(self.encoding, "backslashreplace").decode(self.encoding)
        return Text(written, style=style, justify=justify, overflow=overflow)


def console() -> Console:
    """Tables go to stdout, strings as they are; in a log they get the width they need."""
    return _PlainConsole(width=columns_of(sys.stdout), height=shutil.get_terminal_size().lines)


def prompt_cell(prompt: str, length: int) -> str:
    """A prompt as a table shows it: at most `length` columns of a terminal."""
    text = Text(shown(prompt))
    text.truncate(length, overflow="ellipsis")
    return text.plain


def coloured(text: str, colour: str) -> Text:
    """One of our own words in a colour, if the terminal has colours."""
    return Text(text, style=colour)


def print_table(table: RenderableType) -> bool:
    """Print a table on stdout, at once; False if nobody reads it any more."""
    where, text = console(), io.StringIO()
    where.file = text
    where.print(table)
    return write(text.getvalue(), sys.stdout)
