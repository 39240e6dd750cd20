"""Results as CSV, for spreadsheets.

Text is shown and not obeyed: control characters and bidi marks are written as `\\x1b` or `\\u202e`,
and a text that a spreadsheet would take for a formula begins with an apostrophe.
"""

import csv
from collections.abc import Iterable
from pathlib import Path

from seedsweep.scheduler.printable import shown
from seedsweep.storage.errors import ConfigError
from seedsweep.storage.prompt_results import Match, PromptResult

_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")
"""What begins a formula, in full width too, as spreadsheets of East Asia take it."""


def write_csv(results: Iterable[PromptResult], path: Path) -> None:
    """Write one row per prompt; the fields of the largest clique's match are columns, empty where
    there is none, and of further cliques their number is told.

    Numbers are numbers. Raises `ConfigError` where the file cannot be written.
    """
    names = [name for name in PromptResult.model_fields if name != "match"]
    matched = [name for name in Match.model_fields if name != "transform"]
    try:
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(names + matched)
            for result in results:
                row = result.model_dump(mode="json")
                match = row.pop("match") or {}
                row["further_cliques"] = len(result.further_cliques)
                row["clique_seeds"] = " ".join(map(str, row["clique_seeds"]))
                cells = [row[n] for n in names] + [match.get(n) for n in matched]
                writer.writerow(map(_cell, cells))
    except OSError as error:
        raise ConfigError(
            f"The file {path} cannot be written ({error.strerror}); choose another for --csv."
        ) from error


def _cell(value: object) -> object:
    if not isinstance(value, str):
        return value
    return f"'{shown(value)}" if value.startswith(_FORMULA) else shown(value)
