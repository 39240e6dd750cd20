"""`--help` of all: the commands in groups, each with the whole first sentence of its help."""

from typing import Any, TextIO

import typer
from typer.core import TyperGroup

from seedsweep.cli.streams import columns_of

SENTENCE = 200
"""No command's first sentence is longer; click would cut it to what is left of the line."""


LEAST_HELP, MOST_HELP = 20, 78


def help_width(stream: TextIO) -> int:
    """How wide help is there; without it click breaks words of terminals below 50 columns."""
    return max(LEAST_HELP, min(columns_of(stream) - 2, MOST_HELP))


class Grouped(TyperGroup):
    """Lists commands under their groups, in the order in which they were registered."""

    def format_commands(self, ctx: typer.Context, formatter: Any) -> None:  # type: ignore[override]
        groups: dict[str, list[tuple[str, str]]] = {}
        for name in self.list_commands(ctx):
            command = self.get_command(ctx, name)
            group = getattr(command, "rich_help_panel", None)
            if command is not None and isinstance(group, str):
                said = command.get_short_help_str(limit=SENTENCE)
                groups.setdefault(group, []).append((name, said))
        for group, rows in groups.items():
            with formatter.section(group):
                formatter.write_dl(rows)
