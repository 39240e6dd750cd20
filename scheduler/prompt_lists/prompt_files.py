"""Read prompts from files, folders and globs of them, streamed.

The rules, the same for every kind of file: white space around a prompt is removed, rows without a
text and blank ones are skipped, a text that was seen before is the same prompt and is skipped, and
nothing else is changed: quotes, HTML and accents go to the model as they stand. Files are UTF-8.
What was skipped is counted. A text that comes again with other settings of its own is refused: a
prompt is named by its text, and its pictures are compared with each other. If prompts list seeds,
those of all rows of a text are one list.
"""

import itertools
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from seedsweep.scheduler.prompt_lists.prompt_settings import difference, settings_of
from seedsweep.scheduler.prompt_lists.row_counts import RowCounts, is_called_like_a_setting
from seedsweep.scheduler.prompt_lists.tables import (
    TABLES,
    UNREADABLE,
    Form,
    NoColumnError,
    Row,
    is_cells,
    read_table,
)
from seedsweep.scheduler.prompt_lists.text_files import PACKED, file_kind, read_lines
from seedsweep.scheduler.prompt_lists.texts import NUL, flaw_of
from seedsweep.storage.errors import ConfigError
from seedsweep.storage.settings.sampling import PromptList, PromptSettings

TEXTS = (".txt", f".txt{PACKED}")
KINDS = (*TEXTS, *TABLES)
"""The ends of names of files that prompts are read from."""

_NAMES_SHOWN, _NAME_LENGTH = 12, 60
_REPEATS_SHOWN = 3


class ListedPrompt(NamedTuple):
    """A prompt of a list, the settings that it has of its own, if any, and where it stands."""

    text: str
    settings: PromptSettings | None
    where: str


def read_prompts(settings: PromptList, rows: RowCounts | None = None) -> Iterator[str]:
    """Yield the texts of `list_prompts`."""
    return (prompt.text for prompt in list_prompts(settings, rows))


def list_prompts(settings: PromptList, rows: RowCounts | None = None) -> Iterator[ListedPrompt]:
    """Yield the distinct prompts of the file in its order, `limit` of them at most.

    `rows` counts on as they are read. Files of a folder or a glob come in the order of their names.
    If prompts list seeds, all rows are read first, whatever the limit.
    Raises `ConfigError` where a file, its column, its text or its settings cannot be read, or a
    text comes again with other settings.
    """
    rows = RowCounts() if rows is None else rows
    listed = _listed(settings, rows)
    if settings.settings.seeds:
        listed = _with_all_seeds(listed, rows)
    yield from islice(_distinct(listed, rows), settings.limit)


def prompt_files(file: str) -> Sequence[Path]:
    """The files that a file, a folder or a glob names, in the order of their names.

    Names that begin with a dot or an underscore are passed over, as `_SUCCESS` is. Raises
    `ConfigError` if there is none, or one of another kind.
    """
    path = Path(file)
    try:
        files = [path] if path.is_file() else sorted(filter(_is_meant, _inside(path)))
    except (OSError, ValueError, NotImplementedError) as error:
        raise _unreadable(path, error) from error
    if not files:
        missing = "it is a folder without files" if path.is_dir() else "there is no such file"
        raise _unreadable(path, OSError(missing))
    for each in files:
        if file_kind(each) not in KINDS:
            glob = "" if each == path else ", or name those of a folder as folder/*.csv"
            raise ConfigError(
                f"The prompts file {each} is of no known kind; give one of "
                f"{', '.join(kind for kind in KINDS if not kind.endswith(PACKED))}, all but the "
                f"last also as {PACKED}{glob}."
            )
    return files


def _inside(path: Path) -> Iterator[Path]:
    """What a folder holds, or the files that a glob matches below the folder that is there."""
    if path.is_dir():
        return path.iterdir()
    there = next(parent for parent in path.parents if parent.is_dir())
    matching = there.glob(str(path.relative_to(there)))
    return (each for each in matching if each.is_file())


def _is_meant(path: Path) -> bool:
    return not path.name.startswith((".", "_"))


def _listed(settings: PromptList, rows: RowCounts) -> Iterator[ListedPrompt]:
    """All rows that have a text, and the settings of those that are not blank."""
    most = 0
    for path in prompt_files(settings.file):
        is_quoted = settings.quoting == "csv" and is_cells(path)
        try:
            for row in _rows(path, settings, rows):
                rows.read += 1
                text = _text(path, row, rows)
                if text is None:
                    continue
                if is_quoted and (ends := text.strip().count("\n")) > most:
                    most = ends
                    rows.longest = f"{row.where} {row.number} of {path} begins a prompt of "
                    rows.longest += f"{ends + 1:,} lines"
                yield _prompt(path, row, text.strip(), settings)
        except NoColumnError as error:
            raise _no_column(path, error, settings) from error
        except UnicodeError as error:
            raise ConfigError(f"The prompts file {path} is not UTF-8; save it as UTF-8.") from error
        except UNREADABLE as error:
            raise _unreadable(path, error) from error


def _text(path: Path, row: Row, rows: RowCounts) -> str | None:
    """The row's text; None if it has none, which is counted."""
    text = row.cells[0]
    if text is None:
        rows.null += 1
        return None
    if not isinstance(text, str) or (flaw := flaw_of(text)) == NUL:
        held = (
            f"no text but {str(text)[:60]}" if not isinstance(text, str) else f"{NUL} in its text"
        )
        raise ConfigError(
            f"{row.where} {row.number} of the prompts file {path} holds {held}; correct it, or "
            "name a column of text."
        )
    if flaw:
        rows.broken += 1
        return None
    return text


def _prompt(path: Path, row: Row, text: str, settings: PromptList) -> ListedPrompt:
    columns = settings.settings
    if not text or not columns.named:
        return ListedPrompt(text, None, "")
    where = f"{row.where} {row.number} of the prompts file {path}"
    return ListedPrompt(text, settings_of(columns, row.cells[1:], where), where)


def _rows(path: Path, settings: PromptList, rows: RowCounts) -> Iterator[Row]:
    if file_kind(path) in TEXTS:
        if settings.settings.named:
            raise ConfigError(
                f"The prompts file {path} has no columns; leave [prompts.settings] out."
            )
        if settings.column is not None:
            raise ConfigError(f"The prompts file {path} has no columns; leave `column` out.")
        return (Row("Line", number, (line,)) for number, line in enumerate(read_lines(path), 1))
    own = [*settings.settings.named.values()]
    if own and settings.column is None:
        raise ConfigError(
            "[prompts.settings] names columns of settings, and which has the prompts is not said; "
            "set `column` in [prompts]."
        )
    wanted = None if settings.column is None else [settings.column, *own]

    def note(names: Iterable[str]) -> None:
        new = [name for name in names if is_called_like_a_setting(name) and name not in rows.unused]
        rows.unused += [name for name in new if name not in {settings.column, *own}]
        if is_cells(path) and settings.header and settings.column is None:
            rows.heading = next((name for name in names if " " in name.strip()), rows.heading)

    form = Form(settings.delimiter, settings.quoting, settings.header)
    return read_table(path, wanted, form, note)


def _with_all_seeds(prompts: Iterable[ListedPrompt], rows: RowCounts) -> Iterator[ListedPrompt]:
    """Each text once, with the seeds of all its rows; after them rows of other settings than the
    first one of their text, and rows that add no seed."""
    first: dict[str, ListedPrompt] = {}
    seeds: dict[str, set[int]] = {}
    others = []
    for prompt in prompts:
        if not prompt.settings or not prompt.settings.seeds:
            yield prompt
            continue
        before, listed = first.setdefault(prompt.text, prompt), set(prompt.settings.seeds)
        known = seeds.setdefault(prompt.text, listed)
        if before is prompt:
            continue
        if _other_settings(prompt, before) or listed <= known:
            others.append(prompt)
        else:
            known |= listed
            rows.joined += 1
    for text, prompt in first.items():
        own = PromptSettings.model_validate(
            {**dict(prompt.settings or ()), "seeds": tuple(sorted(seeds[text]))}
        )
        yield prompt._replace(settings=own)
    yield from others


def _distinct(prompts: Iterable[ListedPrompt], rows: RowCounts) -> Iterator[ListedPrompt]:
    seen: dict[str, ListedPrompt | None] = {}
    composed: set[str] = set()
    """What is not as Unicode composes it, composed."""
    prompts = iter(prompts)
    for prompt in prompts:
        text = prompt.text
        if not text:
            rows.blank += 1
        elif text in seen:
            if _other_settings(prompt, seen[text]):
                raise _several_settings(prompt, prompts, seen)
            rows.repeated += 1
        else:
            same = unicodedata.normalize("NFC", text)
            rows.alike += same in composed or (same != text and same in seen)
            if same != text:
                composed.add(same)
            own = prompt.settings
            seen[text] = prompt if own else None
            rows.numbers += text.isdecimal()
            rows.count_controls(text, own)
            yield prompt


def _other_settings(prompt: ListedPrompt, before: ListedPrompt | None) -> str:
    """In which settings a text that comes again differs from before; empty if in none."""
    if before is None or not prompt.settings or not before.settings:
        return ""
    return difference(prompt.settings, before.settings)


def _several_settings(
    first: ListedPrompt, others: Iterable[ListedPrompt], seen: dict[str, ListedPrompt | None]
) -> ConfigError:
    """That this prompt and how many of the others come again with other settings."""
    told = []
    for prompt in itertools.chain([first], others):
        before = seen.setdefault(prompt.text, prompt if prompt.settings else None)
        if before is None or not (other := _other_settings(prompt, before)):
            continue
        place = f"{before.where[:1].lower()}{before.where[1:]}"
        told.append(f"{prompt.where} has the text of {place} with other settings ({other})")
    count, shown = len(told), "; ".join(told[:_REPEATS_SHOWN])
    many = f"{count:,} rows repeat a text with other settings. The first: " if count > 1 else ""
    them = "one of each, or move them" if count > 1 else "one of them, or move it"
    listing = (
        "; or name the column of seeds as prompts.settings.seeds, which makes those of all rows of "
        "a text one list"
    )
    by_seed = _other_settings(first, seen[first.text]).startswith("first_seed")
    return ConfigError(
        f"{many}{shown}. A campaign has each text once, with one recipe: remove {them} to a "
        f"campaign of its own{listing if by_seed else ''}."
    )


def _no_column(path: Path, error: NoColumnError, settings: PromptList) -> ConfigError:
    if error.wanted is None:
        missing = "no `column` is set"
    elif error.names.count(error.wanted) > 1:
        missing = f"several columns are called {error.wanted!r}"
    else:
        missing = f"there is no column {error.wanted!r}"
    hint = ""
    if is_cells(path):
        hint = (
            f", and `delimiter` if {settings.delimiter!r} is not what stands between the columns; "
            "if the first line holds no names, set `header = false` and `column` to a number"
        )
    return ConfigError(
        f"In the prompts file {path} {missing}; set it to one of {shown_names(error.names)}{hint}."
    )


def shown_names(names: Sequence[str]) -> str:
    """The names of columns for a message: the first, shortened, and how many more there are."""
    first = ", ".join(repr(name[:_NAME_LENGTH]) for name in names[:_NAMES_SHOWN])
    more = len(names) - _NAMES_SHOWN
    return f"[{first}{f', … {more:,} more' if more > 0 else ''}]"


def _unreadable(path: Path, error: Exception) -> ConfigError:
    reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return ConfigError(
        f"The prompts file {path} cannot be read ({' '.join(reason.split())}); name another file."
    )
