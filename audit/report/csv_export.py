"""Results as CSV, for spreadsheets.

Text is shown and not obeyed: control characters and bidi marks are written as `\\x1b` or `\\u202e`,
and a text that a spreadsheet would take for a formula begins with an apostrophe.
"""

import csv
from pathlib import Path

from seedsweep.audit.findings.counts import has_evidence
from seedsweep.audit.findings.present import Found
from seedsweep.audit.findings.rate_words import NOT_EXAMINED
from seedsweep.scheduler.printable import shown
from seedsweep.storage.errors import ConfigError
from seedsweep.storage.prompt_results import Drop, Match, PromptResult

LAST_COLUMNS = ("evidence", "cut", "same_as")
"""Whether the prompt could have been flagged, and rates are of those that could; whether the model
does not read its end (empty: nobody looked); which earlier prompt is the same to the model."""

_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")
"""What begins a formula, in full width too, as spreadsheets of East Asia take it."""


def write_csv(found: Found, path: Path) -> None:
    """Write one row per prompt.

    Each field of the largest clique's match is a column. Of further cliques and of parts a row has
    the number, of a drop the stage, and of a prompt's own settings each with its name. Without a
    clique the match's fields are empty; if a clique was compared with nothing, `extracted` says so.

    Numbers are numbers. Raises `ConfigError` if the file cannot be written.
    """
    names = [name for name in PromptResult.model_fields if name != "match"]
    matched = [name for name in Match.model_fields if name != "transform"]
    try:
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow([*names, *matched, *LAST_COLUMNS])
            for result in found.results:
                row = result.model_dump(mode="json")
                nothing = {"extracted": NOT_EXAMINED} if result.flagged else {}
                match = row.pop("match") or nothing
                row["further_cliques"] = len(result.further_cliques)
                row["parts"] = len(result.parts)
                row["drop"] = _drop_words(result.drop)
                row["settings"] = str(result.settings) if result.settings else None
                row["clique_seeds"] = " ".join(map(str, row["clique_seeds"]))
                cells = [*(row[n] for n in names), *(match.get(n) for n in matched)]
                evidence = has_evidence(result, found.min_clique_size)
                cut = None if found.cut is None else result.prompt in found.cut
                same_as = found.same_as.get(result.prompt)
                writer.writerow([*map(_cell, [*cells, evidence, cut, same_as])])
    except OSError as error:
        raise ConfigError(
            f"The file {path} cannot be written ({error.strerror}); choose another for --csv."
        ) from error


def _drop_words(drop: Drop | None) -> str | None:
    """The number of the stage, and whether the prompt got all its pictures all the same."""
    return f"stage {drop.stage}{', sampled' if drop.sampled else ''}" if drop else None


def _cell(value: object) -> object:
    if not isinstance(value, str):
        return value
    return f"'{shown(value)}" if value.startswith(_FORMULA) else shown(value)
