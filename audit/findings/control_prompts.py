"""Which prompts are controls and which are known positives, as files say."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from seedsweep.scheduler.prompt_lists.prompt_columns import find_prompts
from seedsweep.scheduler.prompt_lists.prompt_files import TEXTS, read_prompts
from seedsweep.scheduler.prompt_lists.tables import (
    TABLES,
    UNREADABLE,
    Form,
    NoColumnError,
    is_cells,
    read_table,
)
from seedsweep.scheduler.prompt_lists.text_files import file_kind
from seedsweep.scheduler.quantities import count_words
from seedsweep.storage.errors import ConfigError
from seedsweep.storage.settings.analysis import Verification
from seedsweep.storage.settings.sampling import PromptList
from seedsweep.workers.training.captions import training_captions


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

    A positive is a group of its own unless `group_column`, which needs a table, names its group.
    Raises `ConfigError` if a file cannot be read, there is no control, or a prompt is in both.
    """
    unknown = list(read_prompts(_list(controls, column)))
    positive_list = _list(positives, column) if positives else None
    known = list(read_prompts(positive_list)) if positive_list else []
    if not unknown:
        raise ConfigError(f"The file {controls} holds no control; name one that does.")
    both = set(unknown) & set(known)
    if both:
        raise ConfigError(
            f"Both {controls} and {positives} have {count_words(len(both), 'prompt')}, such as "
            f"{min(both)[:80]!r}; leave each in one of them."
        )
    groups: dict[str, str] = {}
    if positives and positive_list and group_column:
        form = Form(positive_list.delimiter)
        groups = dict(_labels(positives, (column, group_column), form))
    grouped = tuple(Positive(prompt, groups.get(prompt, prompt)) for prompt in known)
    return Marks(tuple(unknown), grouped)


def among(marks: Marks, prompts: Sequence[str]) -> Marks:
    """The marks of these prompts alone."""
    wanted = set(prompts)
    return Marks(
        tuple(prompt for prompt in marks.controls if prompt in wanted),
        tuple(positive for positive in marks.positives if positive.prompt in wanted),
    )


def without_captions(
    marks: Marks, verification: Verification | None
) -> tuple[Marks, tuple[str, ...]]:
    """The marks without controls that are captions of the training set, in any case and spacing:
    the model may have been trained on them. With a sentence that says how many, if there are any,
    or that the set cannot be read.

    Raises `ConfigError` if all controls are captions.
    """
    if verification is None:
        return marks, ()
    where = verification.training_set
    try:
        captions = {_folded(caption) for caption in training_captions(verification)}
    except ConfigError:
        return marks, (
            f"The training set {where} cannot be read here, so the controls were not compared with "
            "its captions.",
        )
    trained = [control for control in marks.controls if _folded(control) in captions]
    if not trained:
        return marks, ()
    if len(trained) == len(marks.controls):
        raise ConfigError(
            f"Each of {count_words(len(trained), 'control')} is a caption of the training set "
            f"{where}, such as {trained[0][:80]!r}, so that the model may have been trained on it; "
            "name prompts that it was not trained on."
        )
    left = tuple(control for control in marks.controls if _folded(control) not in captions)
    return Marks(left, marks.positives), (
        f"Left out: {len(trained):,} of {count_words(len(marks.controls), 'control')}, such as "
        f"{trained[0][:80]!r}. They are captions of the training set {where}, so the model may "
        "repeat their pictures.",
    )


def without_repeats(marks: Marks, same_as: Mapping[str, str]) -> tuple[Marks, tuple[str, ...]]:
    """The marks without controls that are the same to the model as another marked prompt: their
    pictures are the same, so each counts once. Positives that are the same are one group. With a
    sentence that says how many are left out, if any are.

    `same_as`: by text the first one that is the same to the model.
    """
    groups: dict[str, str] = {}
    for positive in marks.positives:
        groups.setdefault(same_as.get(positive.prompt, positive.prompt), positive.group)
    first = {same_as.get(control, control): control for control in reversed(marks.controls)}
    left = tuple(first[text] for text in reversed(first) if text not in groups)
    kept = set(left)
    again = [control for control in marks.controls if control not in kept]
    positives = tuple(
        Positive(positive.prompt, groups[same_as.get(positive.prompt, positive.prompt)])
        for positive in marks.positives
    )
    if not again:
        return Marks(left, positives), ()
    return Marks(left, positives), (
        f"Left out: {len(again):,} of {count_words(len(marks.controls), 'control')}, such as "
        f"{again[0][:80]!r}. To the model they are the same as another prompt of these files, so "
        "their pictures are the same, and they show nothing of their own.",
    )


def _folded(text: str) -> str:
    return " ".join(text.split()).casefold()


def _list(path: Path, column: str) -> PromptList:
    """How a file of prompts is read, whatever stands between its cells."""
    return find_prompts(path, None if file_kind(path) in TEXTS else column)


def read_labels(
    path: Path, column: str, label_column: str, delimiter: str | None = None
) -> dict[str, str]:
    """The label of each prompt of a table that has one; `delimiter` is what stands between cells,
    None is what usually does.

    Raises `ConfigError` if the file cannot be read, lacks a column, or labels a prompt twice
    and differently.
    """
    between = PromptList(file=str(path)).delimiter if delimiter is None else delimiter
    if len(between) != 1:
        raise ConfigError(f"One character stands between cells, and not {between!r}.")
    labels: dict[str, str] = {}
    try:
        for prompt, label in _labels(path, (column, label_column), Form(between)):
            if labels.setdefault(prompt, label) != label:
                raise ConfigError(
                    f"The prompt {prompt[:80]!r} has the labels {labels[prompt]!r} and {label!r} "
                    f"in {path}; leave it one."
                )
        return labels
    except UNREADABLE as error:
        reason = " ".join((getattr(error, "strerror", None) or str(error)).split())
        raise ConfigError(
            f"The labels {path} cannot be read ({reason}); name another file."
        ) from error


def _labels(path: Path, columns: tuple[str, str], form: Form) -> Iterator[tuple[str, str]]:
    if file_kind(path) not in TABLES:
        raise ConfigError(
            f"Labels are read from tables, such as .csv and .parquet, and {path} is none; save it "
            "as one."
        )
    try:
        for _, _, (prompt, label) in read_table(path, columns, form):
            if label := str(label or "").strip():
                yield str(prompt or "").strip(), label
    except NoColumnError as error:
        cut = f", cut into cells at each {form.delimiter!r}," if is_cells(path) else ""
        raise ConfigError(
            f"The file {path}{cut} has no column {error.wanted!r}; name one of "
            f"{list(error.names)[:12]}."
        ) from error
