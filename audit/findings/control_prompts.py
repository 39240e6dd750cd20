"""Which prompts are controls and which are known positives, as files say."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from seedsweep.scheduler.campaign.prompt_files import TEXTS, read_prompts
from seedsweep.scheduler.campaign.tables import Form, NoColumnError, is_cells, read_table
from seedsweep.scheduler.campaign.text_files import file_kind
from seedsweep.storage.errors import ConfigError
from seedsweep.storage.records import PromptList


@dataclass(frozen=True, slots=True)
class Positive:
    """A prompt whose training picture the model is known to repeat; `group` names that picture."""

    prompt: str
    group: str


@dataclass(frozen=True, slots=True)
class Marks:
    """Prompts that the model was never trained on, and prompts that are known to be repeated; none
    is both, and none is there twice."""

    controls: tuple[str, ...]
    positives: tuple[Positive, ...]

    @property
    def prompts(self) -> list[str]:
        """All of them, controls first."""
        return [*self.controls, *(positive.prompt for positive in self.positives)]


def read_marks(
    controls: Path, positives: Path | None, column: str, group_column: str | None
) -> Marks:
    """Read the files, of any kind that campaigns read; `column` holds the prompts but in .txt.

    A positive is a group of its own unless `group_column`, which needs a .csv, names its group.
    Raises `ConfigError` where a file cannot be read, or a prompt is in both.
    """
    unknown = list(read_prompts(_list(controls, column)))
    known = list(read_prompts(_list(positives, column))) if positives else []
    both = set(unknown) & set(known)
    if both:
        raise ConfigError(
            f"{len(both)} prompts, such as {min(both)[:80]!r}, are in both {controls} and "
            f"{positives}; leave each in one of them."
        )
    groups = dict(_groups(positives, column, group_column)) if positives and group_column else {}
    grouped = tuple(Positive(prompt, groups.get(prompt, prompt)) for prompt in known)
    return Marks(tuple(unknown), grouped)


def among(marks: Marks, prompts: Sequence[str]) -> Marks:
    """The marks of these prompts alone."""
    wanted = set(prompts)
    return Marks(
        tuple(prompt for prompt in marks.controls if prompt in wanted),
        tuple(positive for positive in marks.positives if positive.prompt in wanted),
    )


def _list(path: Path, column: str) -> PromptList:
    return PromptList(file=str(path), column=None if file_kind(path) in TEXTS else column)


def _groups(path: Path, column: str, group_column: str) -> Iterator[tuple[str, str]]:
    """The group of each prompt that names one; the file was read for its prompts before."""
    if not is_cells(path):
        raise ConfigError(f"Groups are read from .csv files, and {path} is none; save it as one.")
    try:
        form = Form(_list(path, column).delimiter)
        for _, _, (prompt, group) in read_table(path, (column, group_column), form):
            if group := str(group or "").strip():
                yield str(prompt or "").strip(), group
    except NoColumnError as error:
        raise ConfigError(
            f"The file {path} has no column {error.wanted!r}; name one of {list(error.names)[:12]}."
        ) from error
