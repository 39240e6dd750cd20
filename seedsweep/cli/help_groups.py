"""`--help`: the commands in groups, and a command's options in words that people know."""

import re
from typing import Any, TextIO

import typer
from typer.core import TyperCommand, TyperGroup

from seedsweep.cli.streams import columns_of

SENTENCE = 200
"""No command's first sentence is longer; click would cut it to what is left of the line."""


LEAST_HELP, MOST_HELP = 20, 78


def help_width(stream: TextIO) -> int:
    """How wide help is there; without it click breaks words of terminals below 50 columns."""
    return max(LEAST_HELP, min(columns_of(stream) - 2, MOST_HELP))


_VALUES = {
    **{"str": "TEXT", "path": "PATH", "list[path]": "PATH", "int": "N", "int range": "N"},
    **{"list[int]": "N", "float": "X", "float range": "X"},
}
"""What stands for a value that has no name, by its type."""

_PLAIN = (
    (re.compile(r"\[default: \((.*?)\)(?=[;\]])"), r"[default: \1"),
    (re.compile(r"(?<=[ \[])([^ \[]+)<=x<=([^ \]]+)"), r"\1 to \2"),
    (re.compile(r"(?<=[ \[])x>=([^ \]]+)"), r"at least \1"),
    (re.compile(r"(?<=[ \[])x<=([^ \]]+)"), r"at most \1"),
)


def plain_record(name: str, meaning: str) -> tuple[str, str]:
    """How help names an argument or option, and what it says of it, without the words of code."""
    is_option = name.startswith("-")
    name = re.sub(
        r" <([^>]*)>",
        lambda kind: f" {_VALUES.get(kind[1], kind[1])}" if is_option else "",
        name,
    )
    for pattern, words in _PLAIN:
        meaning = pattern.sub(words, meaning)
    return name, meaning


class Documented(TyperCommand):
    """A command whose help says `at least 1`, not `x>=1`, and `N`, not `<int range>`."""

    def collect_usage_pieces(self, ctx: typer.Context) -> list[str]:  # type: ignore[override]
        pieces = super().collect_usage_pieces(ctx)
        return [re.sub(r"^(?:\{(.*)\}|\[(\[.*\])\])$", r"\1\2", piece) for piece in pieces]

    def format_options(self, ctx: typer.Context, formatter: Any) -> None:  # type: ignore[override]
        rows: dict[str, list[tuple[str, str]]] = {"Arguments": [], "Options": []}
        for param in self.get_params(ctx):
            if record := param.get_help_record(ctx):
                is_argument = param.param_type_name == "argument"
                rows["Arguments" if is_argument else "Options"].append(plain_record(*record))
        for title, each in rows.items():
            if each:
                with formatter.section(title):
                    formatter.write_dl(each)


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
