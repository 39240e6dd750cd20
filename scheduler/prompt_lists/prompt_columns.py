"""Where the prompts of a file are of which nothing is said: their column, and what parts cells."""

from collections.abc import Sequence
from pathlib import Path

from seedsweep.scheduler.prompt_lists.prompt_files import read_prompts, shown_names
from seedsweep.scheduler.prompt_lists.tables import NoColumnError, is_cells
from seedsweep.storage.errors import ConfigError
from seedsweep.storage.settings.sampling import PromptList

COLUMNS = ("prompt", "caption", "text")
"""What a column of prompts is called, in whatever letters; the first that is there is taken."""

DELIMITERS = (",", ";", "\t", "|")
"""What may stand between cells if the usual letter does not."""

_COLUMN_NAMES = (
    None,
    *(name for column in COLUMNS for name in (column, column.title(), column.upper())),
)


def find_prompts(path: Path, column: str | None) -> PromptList:
    """How a file of prompts is read of which nothing else is said: which column holds them, if not
    `column`, and what stands between cells.

    Raises `ConfigError` if it cannot be read, or that cannot be told.
    """
    usual = PromptList(file=str(path))
    first: ConfigError | None = None
    names: Sequence[str] = ()
    forms = [usual, *(usual.model_copy(update={"delimiter": each}) for each in DELIMITERS)]
    for prompts in forms if is_cells(path) else [usual]:
        for name in [column] if column else _COLUMN_NAMES:
            tried = prompts.model_copy(update={"column": name})
            try:
                next(read_prompts(tried), None)
            except ConfigError as error:
                first = first or error
                if isinstance(error.__cause__, NoColumnError):
                    names = max(names, error.__cause__.names, key=len)
            else:
                return tried
    assert first is not None  # noqa: S101  # otherwise it has returned
    if not isinstance(first.__cause__, NoColumnError):
        raise first
    what = f"{path} has no column {column!r}, or more than one"
    raise ConfigError(
        f"{what if column else f'Which column of {path} holds the prompts cannot be told'}; name "
        f"one of {shown_names(names)} with --column."
    ) from first
