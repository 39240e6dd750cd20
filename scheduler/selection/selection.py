"""A training set → the prompts to attack a model with.

Most duplicated pictures, as of Carlini et al. 2023 (arXiv 2301.13188, section 4.2), outliers, which
are memorised without copies too (Feldman 2020, arXiv 1906.05271), and prompts drawn at random to
compare with.
"""

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from threadpoolctl import threadpool_limits

from seedsweep.scheduler.selection.choice import (
    Groups,
    Places,
    Why,
    captioned_groups,
    choices,
    drawn,
    most_duplicated,
    outliers,
)
from seedsweep.scheduler.selection.prompt_table import ChosenPrompt
from seedsweep.storage.errors import ConfigError
from seedsweep.storage.path_text import path_text
from seedsweep.storage.settings.analysis import Verification
from seedsweep.workers.cluster.ray_cluster import Actors
from seedsweep.workers.training.array_file import ARRAYS
from seedsweep.workers.training.copies import DescribedSet, TrainingCopies
from seedsweep.workers.training.describers import Describers, describers
from seedsweep.workers.training.embedding_file import embedding_file
from seedsweep.workers.training.embedding_model import EmbeddingModel, open_embedding
from seedsweep.workers.training.file_kinds import kind_of
from seedsweep.workers.training.picture_set import PictureSet, open_set
from seedsweep.workers.training.pictures import in_words
from seedsweep.workers.training.slice_description import NO_CAPTION
from seedsweep.workers.training.slices import PictureColumn

Progress = Callable[[str, int, int], None]

NEIGHBOURS = 50
"""So many nearest pictures tell an outlier, as many as the adaptive score compares with."""


@dataclass(frozen=True, slots=True)
class SelectionOptions:
    """What to choose from the set at `training_set`, None for nothing of a kind. `column`: which
    holds the pictures, "" for the usual one. `flip`: whether mirror images are copies. `seed`:
    another one draws other prompts at random. `embedding`: a model that tells likeness better than
    the pictures' own forms; None for these."""

    training_set: Path
    most_duplicated: int | None = None
    outliers: int | None = None
    random: int | None = None
    seed: int = 0
    column: str = ""
    flip: bool = False
    embedding: Path | None = None


@dataclass(frozen=True, slots=True)
class Chosen:
    """So many prompts were `asked` for by a reason, and so many there were."""

    why: Why
    asked: int
    prompts: int


@dataclass(frozen=True, slots=True)
class SelectionSummary:
    """What came of it.

    `pictures` that could be read; the `unreadable` ones; `distinct` ones, near-copies counted once;
    `copied`: how many of these have copies; `without_caption` pictures that have none, and
    `unfit` ones whose caption cannot be a prompt. `prompts`: how many were written.
    """

    pictures: int
    unreadable: int
    distinct: int
    copied: int
    without_caption: int
    unfit: int
    prompts: int
    chosen: tuple[Chosen, ...]
    notes: tuple[str, ...]


def select_prompts(
    options: SelectionOptions, actors: Actors, progress: Progress
) -> tuple[list[ChosenPrompt], SelectionSummary]:
    """As `choose_prompts`, on so many actors; raises what `describers` does as well."""
    refuse_nothing(options)
    model = open_embedding(options.embedding) if options.embedding else None
    # Actors have a thread each; more of them here, beside these, take many times as long as one.
    with describers(actors) as crew, threadpool_limits(1):
        return choose_prompts(options, crew, progress, model)


def refuse_nothing(options: SelectionOptions) -> None:
    """Raise `ConfigError` unless something is asked for and there may be a training set."""
    if options.most_duplicated is options.outliers is options.random is None:
        raise ConfigError(
            "Nothing is to be chosen; say how many prompts with --most-duplicated N, --outliers N "
            "or --random N."
        )
    open_set(options.training_set)


def choose_prompts(
    options: SelectionOptions,
    crew: Describers,
    progress: Progress,
    model: EmbeddingModel | None = None,
) -> tuple[list[ChosenPrompt], SelectionSummary]:
    """Choose prompts: the most duplicated first, then outliers, then those drawn, each once, with
    all its reasons.

    Equal sets and options give equal prompts, whatever the crew. Raises `ConfigError` if there is
    no training set or no caption in it, and as `TrainingCopies` does.
    """
    path = options.training_set.absolute()  # actors run in another folder
    training = open_set(path, column=PictureColumn(options.column))
    place = path_text(path, "the training set")
    settings = Verification(training_set=place, column=options.column, flip=options.flip)
    _refuse_arrays(training)
    with contextlib.ExitStack() as stack:
        vectors = stack.enter_context(embedding_file(model, options.flip)) if model else None
        copies = TrainingCopies(crew, training, settings, progress, vectors)
        return _choose_of(options, copies, progress)


def _choose_of(
    options: SelectionOptions, copies: TrainingCopies, progress: Progress
) -> tuple[list[ChosenPrompt], SelectionSummary]:
    path = options.training_set.absolute()
    described = copies.describe()
    if not described.captions.any():
        raise ConfigError(_no_captions(path, f"None of the {described.coverage.read:,} pictures"))
    firsts = copies.group(described)
    groups = captioned_groups(firsts, described.captions)
    chosen = _choose(options, described, firsts, groups, progress)
    picked = choices(groups, chosen)
    named = copies.name([int(described.positions[choice.picture]) for choice in picked])
    prompts = [
        ChosenPrompt(each.caption, choice.copies, each.name, "+".join(choice.why))
        for choice, each in zip(picked, named, strict=True)
    ]
    return prompts, _summary(options, described, firsts, chosen, len(prompts))


def _choose(
    options: SelectionOptions,
    described: DescribedSet,
    firsts: Places,
    groups: Groups,
    progress: Progress,
) -> dict[Why, Places]:
    chosen: dict[Why, Places] = {}
    if options.most_duplicated is not None:
        chosen["most-duplicated"] = most_duplicated(groups, options.most_duplicated)
    if options.outliers is not None:
        chosen["outlier"] = outliers(
            groups,
            distinct := np.unique(firsts),
            described.space(distinct),
            NEIGHBOURS,
            options.outliers,
            lambda done, total: progress("neighbours looked up", done, total),
        )
    if options.random is not None:
        chosen["random"] = drawn(groups, options.seed, options.random)
    return chosen


def _summary(
    options: SelectionOptions,
    described: DescribedSet,
    firsts: Places,
    chosen: dict[Why, Places],
    prompts: int,
) -> SelectionSummary:
    asked: dict[Why, int | None] = {
        "most-duplicated": options.most_duplicated,
        "outlier": options.outliers,
        "random": options.random,
    }
    counted = tuple(Chosen(why, asked[why] or 0, len(places)) for why, places in chosen.items())
    copies = np.bincount(firsts)
    without = int((described.captions == NO_CAPTION).sum()) - described.unfit
    return SelectionSummary(
        pictures=described.coverage.read,
        unreadable=described.coverage.unreadable,
        distinct=int((copies > 0).sum()),
        copied=int((copies > 1).sum()),
        without_caption=without,
        unfit=described.unfit,
        prompts=prompts,
        chosen=counted,
        notes=(
            in_words(described.coverage),
            *_notes(counted, without, described.unfit, prompts, described.without_vector),
        ),
    )


def _notes(
    chosen: tuple[Chosen, ...], without: int, unfit: int, prompts: int, no_vector: int
) -> tuple[str, ...]:
    notes = []
    if no_vector:
        notes.append(
            "Pictures that the model gave no finite numbers for, which are no outliers: "
            f"{no_vector:,}."
        )
    if without:
        notes.append(
            "Pictures without a caption that can be read, which cannot become prompts: "
            f"{without:,}."
        )
    if unfit:
        notes.append(
            "Pictures whose caption is no prompt, since it has half a character, a NUL or over a "
            f"million characters: {unfit:,}."
        )
    for each in (each for each in chosen if each.prompts < each.asked):
        what = "captions of pictures with copies" if each.why == "most-duplicated" else "captions"
        notes.append(
            f"Asked for {each.asked:,} {each.why} prompts; there are no more {what} than "
            f"{each.prompts:,}."
        )
    if (several := sum(each.prompts for each in chosen) - prompts) > 0:
        notes.append(f"Chosen for several reasons, and written once: {several:,}.")
    return tuple(notes)


def _refuse_arrays(training: PictureSet) -> None:
    """Raise if all of the set is of a kind that holds no captions, before it is read."""
    if all(kind_of(part.path) in ARRAYS for part in training.slices):
        raise ConfigError(_no_captions(training.path, "No picture in an array"))


def _no_captions(path: Path, none: str) -> str:
    return (
        f"{none} of {path} has a caption, so none can become a prompt; give a Parquet column "
        "`caption`, `txt` or `text`, a .txt beside each picture, or a metadata.csv or "
        "metadata.jsonl in its folder."
    )
