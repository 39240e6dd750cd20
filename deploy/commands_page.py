"""The page of all commands, made from what their `--help` says."""

import inspect
from collections.abc import Iterator
from typing import Any

from typer.main import get_command

from seedsweep.cli.help_groups import plain_record
from seedsweep.cli.main import app

HEAD = """\
# Commands

Made from each command's `--help` by `python -m deploy.generate`; do not edit it.

Every command ends with one of these codes: 0 fine · 1 some units failed for good, nothing that was
generated is evidence, replayed pixels differ though nothing recorded does, or a worker took itself
out · 2 your file, flag or environment is wrong (one sentence says what and how to mend it) · 3 a
service cannot be reached · 130 you stopped it with Ctrl-C · 143 SIGTERM did, but
services end on that with 0.
`--json` is for scripts. `run` and `submit` print the campaign's id alone on the last line.
"""


def commands_page() -> str:
    """docs/commands.md, in Markdown."""
    commands = get_command(app).commands  # type: ignore[attr-defined]
    sections = (_section(name, command) for name, command in commands.items())
    return "\n".join([HEAD, *(line for section in sections for line in section)])


def _section(name: str, command: Any) -> Iterator[str]:
    yield from (f"## `seedsweep {name}`", "")
    for paragraph in inspect.cleandoc(command.help or "").split("\n\n"):
        example = paragraph.removeprefix("Example: ")
        if example != paragraph:
            yield from ("```bash", " ".join(example.split()), "```", "")
        else:
            yield from (" ".join(paragraph.split()), "")
    yield from ("| argument | meaning |", "|---|---|")
    records = (each.get_help_record(command.context_class(command)) for each in command.params)
    for named, meaning in (plain_record(*record) for record in records if record):
        named = named.replace("|", r"\|")
        yield f"| `{named}` | {' '.join(meaning.split())} |"
    yield ""
