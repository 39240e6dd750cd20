"""Where tables are printed, and how prompts fit into them."""

import sys

from rich.console import Console
from rich.markup import escape


def console() -> Console:
    """Tables go to stdout, `:words:` as they are; in a log they get the width they need."""
    return Console(emoji=False, width=None if sys.stdout.isatty() else 160)


def prompt_cell(prompt: str, length: int) -> str:
    """A prompt as a table shows it: at most `length` characters, no markup in it obeyed."""
    return escape(prompt if len(prompt) <= length else prompt[: length - 1] + "…")
