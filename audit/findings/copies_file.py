"""The file that says how many copies each prompt's training picture has."""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from seedsweep.scheduler.prompt_lists.tables import (
    TABLES,
    UNREADABLE,
    Form,
    NoColumnError,
    Row,
    read_table,
)
from seedsweep.scheduler.prompt_lists.text_files import file_kind
from seedsweep.storage.errors import ConfigError
from seedsweep.storage.settings.sampling import PromptList

COPIES = "copies"
SELECTED = "prompt"
"""What `select` calls its column of prompts."""
_FORM = Form()


def copies_beside(prompts: PromptList, file: Path, column: str | None) -> dict[str, int]:
    """Read each prompt's copies, as `read_copies`, from a file that is written as that of a
    campaign's prompts, or as `select` writes it; unless `column` is given, its prompts stand where
    the campaign's do, or where `select` writes them."""
    columns = [column] if column else [prompts.column or SELECTED, SELECTED]
    theirs, usual = _form(file, prompts), Form(PromptList(file=str(file)).delimiter)
    try:
        return read_copies(file, columns, theirs)
    except ConfigError:
        if theirs == usual:
            raise
        with suppress(ConfigError):
            return read_copies(file, columns, usual)
        raise


def read_copies(file: Path, columns: Sequence[str], form: Form = _FORM) -> dict[str, int]:
    """Read each prompt's copies from a table with a column `copies`; its prompts stand in the first
    of these columns that it has.

    White space around prompts is removed and blank ones are skipped, as of prompts files. If a
    prompt stands more than once, as the caption of several pictures, its most copied picture
    counts. Raises `ConfigError` for what cannot be read or is no count.
    """
    copies: dict[str, int] = {}
    for where, number, (text, value) in _rows(file, columns, form):
        prompt = str(text or "").strip()
        if not prompt:
            continue
        try:
            count = int(str(value))
        except ValueError:
            count = -1
        if count < 0:
            raise ConfigError(
                f"{where} {number} of {file} has {value!r} for `{COPIES}`; give a whole "
                "number, 0 at least."
            )
        copies[prompt] = max(count, copies.get(prompt, 0))
    return copies


def _form(file: Path, prompts: PromptList) -> Form:
    """How the file's cells stand: as those of the campaign's prompts, unless one is a .tsv."""
    own, theirs = PromptList(file=str(file)), PromptList(file=prompts.file)
    like = prompts if own.delimiter == theirs.delimiter else own
    return Form(like.delimiter, like.quoting)


def _rows(file: Path, columns: Sequence[str], form: Form) -> Iterator[Row]:
    if file_kind(file) not in TABLES:
        raise ConfigError(f"The file {file} is of no known kind; give a {', '.join(TABLES)} file.")
    column, *others = columns
    try:
        yield from read_table(file, (column, COPIES), form)
    except NoColumnError as error:
        if error.wanted == column and {*others} & {*error.names}:
            yield from _rows(file, others, form)
            return
        hint = "name it with --column" if error.wanted == column else "give a file that has one"
        raise ConfigError(
            f"{file} has no column {error.wanted!r}, or more than one; it has "
            f"{list(error.names)[:12]}: {hint}."
        ) from error
    except UNREADABLE as error:
        raise ConfigError(
            f"The file {file} cannot be read ({error}); give one that can with --copies."
        ) from error
