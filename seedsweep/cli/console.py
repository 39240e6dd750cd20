"""Where tables are printed."""

import sys

from rich.console import Console


def console() -> Console:
    """Tables go to stdout, `:words:` as they are; in a log they get the width they need."""
    return Console(emoji=False, width=None if sys.stdout.isatty() else 160)
