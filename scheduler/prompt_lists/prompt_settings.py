"""The cells of a prompts file that hold settings → the settings that a prompt has of its own.

A number may be a number or its text, as tables have it: 50, "50", " 50.0 ". Nothing is rounded.
"""

import re
from collections.abc import Callable, Sequence
from decimal import Decimal
from itertools import pairwise
from numbers import Number

from pydantic import ValidationError

from seedsweep.scheduler.prompt_lists.texts import flaw_of
from seedsweep.storage.errors import ConfigError
from seedsweep.storage.settings.sampling import PromptSettings, SettingColumns

_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)(e[+-]?\d{1,3})?", re.ASCII | re.IGNORECASE)
_BETWEEN = re.compile(r"[\s,;|]+")
_SHOWN, _MOST_DIGITS = 60, 30


def settings_of(columns: SettingColumns, cells: Sequence[object], where: str) -> PromptSettings:
    """What the cells say, one for each of `columns.named`, in their order.

    Raises `ConfigError`, which begins with `where` and names the column, for a cell that is empty
    (that of a negative prompt may be), of another kind, or out of range.
    """
    values: dict[str, object] = {}
    for (setting, column), cell in zip(columns.named.items(), cells, strict=True):
        read = _READERS.get(setting, _number)
        try:
            values[setting] = read(setting, cell)
            PromptSettings.model_validate({setting: values[setting]})
        except ValidationError as error:
            reason = error.errors()[0]["msg"].removeprefix("Input ")
            reason = reason.removeprefix("Value error, ")
            raise _wrong(where, column, f"{setting} = {_shown(cell)} {reason}") from error
        except ValueError as error:
            raise _wrong(where, column, str(error)) from error
    return PromptSettings.model_validate(values)


def difference(one: PromptSettings, other: PromptSettings) -> str:
    """In which settings the first is another than the second, in words; listed seeds aside, since
    all of a text's are one list."""
    return ", ".join(
        f"{name} {value!r} and not {other.given[name]!r}"
        for name, value in one.given.items()
        if name != "seeds" and value != other.given[name]
    )


def _number(setting: str, cell: object) -> float:
    """The number, whole if it can be. Raises `ValueError` for anything else."""
    if cell is None or cell == "":
        raise ValueError(f"it is empty, and each prompt needs {setting} of its own")
    if setting == "first_seed" and _is_list(cell):
        raise ValueError(
            f"{_shown(cell)} is a list, and first_seed is one number, which the other seeds follow "
            "(prompts.settings.seeds is for lists)"
        )
    text = cell.strip() if isinstance(cell, str) else str(cell)
    is_number = isinstance(cell, str | Number) and not isinstance(cell, bool)
    if not is_number or not _NUMBER.fullmatch(text):
        raise ValueError(f"{_shown(cell)} is no number for {setting}")
    number = Decimal(text)
    if number.adjusted() > _MOST_DIGITS:
        raise ValueError(f"{_shown(cell)} is too large for {setting}")
    return int(number) if number == number.to_integral_value() else float(number)


def _seeds(setting: str, cell: object) -> list[float]:
    """The seeds of a list, ascending, each of them as `_number` reads it. A list is one, or a text
    with commas, semicolons, bars or spaces between. Raises `ValueError` for anything else."""
    listed = cell
    if isinstance(cell, str):
        listed = [part for part in _BETWEEN.split(cell.strip().strip("[]()")) if part]
    elif isinstance(cell, Number) and not isinstance(cell, bool):
        listed = [cell]
    if not listed:
        raise ValueError(f"it is empty, and each prompt needs {setting} of its own")
    if not isinstance(listed, list):
        raise ValueError(f"{_shown(cell)} is no list of seeds")
    seeds = sorted(_number(setting, each) for each in listed)
    again = next((a for a, b in pairwise(seeds) if a == b), None)
    if again is not None:
        raise ValueError(f"{_shown(cell)} has the seed {again} twice")
    return seeds


def _text(setting: str, cell: object) -> str:
    if setting == "negative_prompt" and cell is None:
        return ""
    if not isinstance(cell, str) or (setting == "sampler" and not cell.strip().isidentifier()):
        held = "it is empty" if cell is None else f"{_shown(cell)} is none"
        wanted = "the name of a scheduler class" if setting == "sampler" else "a text"
        raise ValueError(f"{setting} takes {wanted}, and {held}")
    if flaw := flaw_of(cell):
        raise ValueError(f"{setting} holds {flaw}, which no text does")
    return cell.strip() if setting == "sampler" else cell


_READERS: dict[str, Callable[[str, object], object]] = {
    "seeds": _seeds,
    **dict.fromkeys(("sampler", "negative_prompt"), _text),
}


def _is_list(cell: object) -> bool:
    if isinstance(cell, str):
        return len(re.findall(r"\d+", cell)) > 1 and not re.search(r"[^\d\s,;|()\[\]-]", cell)
    return isinstance(cell, list)


def _wrong(where: str, column: str, why: str) -> ConfigError:
    return ConfigError(
        f"{where} cannot be used, for its column {column!r}: {why}; correct it, or leave the "
        "column out of [prompts.settings]."
    )


def _shown(cell: object) -> str:
    text = repr(cell)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
