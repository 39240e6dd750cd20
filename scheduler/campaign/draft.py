"""A model and what else there is → a campaign file that runs, with a comment for each key in it."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from os.path import relpath
from pathlib import Path
from textwrap import wrap

from seedsweep.scheduler.campaign.reference import Key, tables
from seedsweep.scheduler.prompt_lists.prompt_columns import find_prompts
from seedsweep.storage.errors import ConfigError
from seedsweep.storage.settings.sampling import PromptList
from seedsweep.workers.models.picture_size import native_size
from seedsweep.workers.pipelines.unconditional import is_of_seeds
from seedsweep.workers.training.picture_file import METADATA

OFFERED = {
    "": ("name",),
    "model": ("path", "dtype"),
    "prompts": ("file", "column"),
    "sampling": ("seeds", "steps", "guidance_scale", "width", "height", "batch_size"),
    "analysis": ("edge_threshold", "min_clique_size"),
    "verification": ("training_set", "threshold"),
}
"""By table, the keys that are always written: those that most campaigns set."""

_OFFERED_OF_SEEDS = {
    "prompts": (),
    "sampling": tuple(key for key in OFFERED["sampling"] if key != "guidance_scale"),
}

WIDTH = 96

Values = Mapping[tuple[str, str], str | int]
"""By table and key."""


FIRST_TRY = {
    ("sampling", "seeds"): "For a first try: 32.",
    ("analysis", "min_clique_size"): "For a first try, with 32 seeds: 4.",
}
"""By table and key, what is offered beside the default for a look at a model."""

_OF_SEEDS: Values = {("sampling", "seeds"): 10_000}
"""Of what makes no pictures of prompts, many are needed: each repeats another picture."""


@dataclass(frozen=True, slots=True)
class Ingredients:
    """What a campaign file is to be written for: `model` is a folder or a hub id."""

    model: str
    prompts: Path | None = None
    training_set: Path | None = None
    column: str | None = None
    """The prompts' column, if it is not one of `COLUMNS`."""


def draft(ingredients: Ingredients, file: Path) -> str:
    """The text of a campaign file that lies at `file`.

    It has what the ingredients tell, and the defaults of the other keys that most campaigns set.
    Without prompts they are the captions of the training set, but for a model that makes pictures
    of seeds alone. Raises `ConfigError` if there are no prompts, or nothing says which column holds
    them.
    """
    values = {**_of_model(ingredients.model, file)}
    of_seeds = is_of_seeds(Path(ingredients.model))
    if of_seeds and ingredients.prompts:
        raise ConfigError(
            f"The model {ingredients.model} makes pictures of seeds alone; leave --prompts out."
        )
    values |= _OF_SEEDS if of_seeds else _of_prompts(ingredients, file)
    if ingredients.training_set:
        values["verification", "training_set"] = _from(file, ingredients.training_set)
    offered = {**OFFERED, **(_OFFERED_OF_SEEDS if of_seeds else {})}
    return "\n".join(["# All keys: docs/campaign-file.md", *_tables(values, offered), ""])


def _of_model(model: str, file: Path) -> Values:
    folder = Path(model)
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", folder.resolve().name if folder.exists() else model)
    values: dict[tuple[str, str], str | int] = {
        ("", "name"): name.strip("-._")[:64] or "campaign",
        ("model", "path"): _from(file, folder) if folder.exists() else model,
    }
    if size := native_size(folder):
        values |= {("sampling", "width"): size[0], ("sampling", "height"): size[1]}
    return values


def _of_prompts(ingredients: Ingredients, file: Path) -> Values:
    path = ingredients.prompts or _captions(ingredients.training_set)
    prompts = find_prompts(path, ingredients.column)
    values = {("prompts", "file"): _from(file, path)}
    if prompts.column:
        values["prompts", "column"] = prompts.column
    if prompts.delimiter != PromptList(file=str(path)).delimiter:
        values["prompts", "delimiter"] = prompts.delimiter
    return values


def _captions(training_set: Path | None) -> Path:
    """The file that holds the captions of a training set: a Parquet set itself, or the metadata of
    an image folder as Hugging Face has it."""
    if training_set is None:
        raise ConfigError("There are no prompts; name a file of them with --prompts.")
    beside = [training_set / name for name in METADATA]
    if training_set.suffix == ".parquet":
        return training_set
    if found := next((file for file in beside if file.is_file()), None):
        return found
    raise ConfigError(
        f"The captions of the training set {training_set} are neither in one Parquet file nor in a "
        f"{' or '.join(METADATA)}; name a file of prompts with --prompts."
    )


def _from(file: Path, path: Path) -> str:
    """The path as it is written in the campaign file: relative to it."""
    return relpath(path.resolve(), file.resolve().parent)


def _tables(values: Values, offered: Mapping[str, tuple[str, ...]]) -> Iterator[str]:
    for table in (table for table in tables() if offered.get(table.name)):
        given = {key: value for (name, key), value in values.items() if name == table.name}
        # A table lacks what it has to have: all of it is a comment.
        mark = (
            "" if all(key.default is not None or key.name in given for key in table.keys) else "# "
        )
        if table.name:
            yield from ("", *_comment(table.meaning), f"{mark}[{table.name}]")
        names = {*offered[table.name], *given}
        for key in (key for key in table.keys if key.name in names):
            first = "" if key.name in given else FIRST_TRY.get((table.name, key.name), "")
            yield from _comment(f"{key.meaning} {first}".rstrip())
            line = _line(key, given.get(key.name))
            yield line if line.startswith("#") else mark + line


def _comment(text: str) -> Iterator[str]:
    yield from (f"# {line}" for line in wrap(text, WIDTH))


def _line(key: Key, value: str | int | None) -> str:
    if value is None:
        return f"{key.name} = {key.default}" if key.default else f"# {key.name} = ..."
    # A JSON text is a TOML one, but for this letter.
    return f"{key.name} = {json.dumps(value, ensure_ascii=False)}".replace("\x7f", r"\u007f")
