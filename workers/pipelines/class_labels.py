"""Prompts of class-conditional models: each is the number or the name of a class."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from seedsweep.storage.errors import ConfigError
from seedsweep.storage.settings.model import Model
from seedsweep.storage.settings.sampling import Sampling
from seedsweep.workers.models.folder import read_index, read_json
from seedsweep.workers.models.local_folder import component_place, folder_here
from seedsweep.workers.models.picture_size import native_side
from seedsweep.workers.pipelines.diffusers_class import class_of, is_installed, takes_classes

NO_CLASS = 1000
"""What diffusers takes for no class at all, however many there are."""


@dataclass(frozen=True, slots=True)
class Classes:
    """The classes of a model: how many there are, and by name, as its index has them, which."""

    count: int
    numbers: Mapping[str, tuple[int, ...]]

    @classmethod
    def of(cls, index: Mapping[str, Any], count: int) -> Self:
        """Those that a pipeline's index names: one class may have several names with commas."""
        numbers: dict[str, list[int]] = defaultdict(list)
        named = index.get("id2label")
        for key, names in (named if isinstance(named, dict) else {}).items():
            if str(key).isdecimal() and isinstance(names, str):
                for name in {names.strip(), *(part.strip() for part in names.split(","))}:
                    numbers[name].append(int(key))
        return cls(count, {name: tuple(sorted(known)) for name, known in numbers.items()})

    def number_of(self, text: str) -> int:
        """The class that a prompt names. Raises `ConfigError` if it names none, or several."""
        if text.isascii() and text.isdecimal() and int(text) < self.count:
            return int(text)
        numbers = self.numbers.get(text, ())
        if len(numbers) == 1 and numbers[0] < self.count:
            return numbers[0]
        if len(numbers) > 1:
            which = " and ".join(map(str, numbers))
            raise ConfigError(
                f"The prompt {text[:80]!r} is the name of the classes {which}; write the number of "
                "the one that is meant."
            )
        names = ", or one of the names in its model_index.json" if self.numbers else ""
        raise ConfigError(
            f"The prompt {text[:80]!r} is no class of the model; write a number from 0 to "
            f"{self.count - 1}{names}."
        )


def classes_of(pipeline: Any, folder: Path) -> Classes | None:
    """The classes of a pipeline, loaded from a folder; None if it is not class-conditional."""
    if not takes_classes(type(pipeline)):
        return None
    return Classes.of(
        read_index(folder) or {}, int(pipeline.transformer.config.num_embeds_ada_norm)
    )


def check_classes(model: Model, samplings: Iterable[Sampling], prompts: Sequence[str]) -> bool:
    """Refuse prompts that name no class, or one again, and sizes that the model does not make, if
    it is class-conditional; returns False if it is not.

    Looked at is what the model's folder, or the hub's cache, says, on a machine that has diffusers.
    Raises `ConfigError`.
    """
    folder = folder_here(model)
    index = read_index(folder) if folder else None
    kind = class_of(index.get("_class_name")) if index and is_installed() else None
    if folder is None or index is None or kind is None or not takes_classes(kind):
        return False
    classes = Classes.of(index, _count(component_place(model, folder, "transformer")))
    side = native_side(folder)
    for sampling in samplings:
        if sampling.guidance_scale > 1 and classes.count != NO_CLASS:
            raise ConfigError(
                f"The model {model.path} has {classes.count} classes, and diffusers takes class "
                f"{NO_CLASS} for none if there is guidance; set sampling.guidance_scale to 1."
            )
        if side and (sampling.width, sampling.height) != (side, side):
            raise ConfigError(
                f"The pictures of the model {model.path} have one size; set sampling.width and "
                f"sampling.height to {side}."
            )
    first: dict[int, str] = {}
    for prompt in prompts:
        number = classes.number_of(prompt)
        if number in first:
            raise ConfigError(
                f"The prompts {first[number][:80]!r} and {prompt[:80]!r} are the same class, "
                f"{number}; leave one out."
            )
        first[number] = prompt
    return True


def _count(transformer: Path) -> int:
    count = (read_json(transformer / "config.json") or {}).get("num_embeds_ada_norm")
    if isinstance(count, int) and count > 0:
        return count
    raise ConfigError(
        f"{transformer / 'config.json'} does not say how many classes there are "
        "(num_embeds_ada_norm); fetch or save the model again."
    )
