"""A set of pictures on disk: where it lies, what it holds, and what names it."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from seedsweep.storage.errors import TrainingSetError
from seedsweep.storage.record import digest
from seedsweep.workers.training.file_kinds import not_readable, refuse_other_kinds
from seedsweep.workers.training.fingerprint import size_of
from seedsweep.workers.training.slices import (
    UNREADABLE,
    USUAL,
    PictureColumn,
    SetContents,
    Slice,
    look_into,
)


@dataclass(frozen=True)
class PictureSet:
    """A set of pictures on disk, which is looked into when it is first asked what it holds; that
    raises `ConfigError` where there is no picture."""

    path: Path
    what: str
    column: PictureColumn

    @property
    def slices(self) -> list[Slice]:
        """Its parts."""
        return self.contents.slices

    @cached_property
    def contents(self) -> SetContents:
        """What it is made of."""
        try:
            return look_into(self.path, self.column)
        except (TrainingSetError, *UNREADABLE) as error:
            raise not_readable(self.what, self.path, error) from error

    @cached_property
    def listing(self) -> str:
        """What names its files, by name and size."""
        return digest([f"{name} {size_of(file)}" for name, file in self.contents.all_files()])


def open_set(path: Path, what: str = "training set", column: PictureColumn = USUAL) -> PictureSet:
    """The set of pictures at `path`, which `what` says the use of; raises `ConfigError` where there
    is nothing, or a file of another kind."""
    try:
        if not path.is_dir():
            refuse_other_kinds(path)
    except (TrainingSetError, *UNREADABLE) as error:
        raise not_readable(what, path, error) from error
    return PictureSet(path, what, column)
