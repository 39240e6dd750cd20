"""What lies in a diffusers model's folder: its components, and which files they are loaded from.

Imports no torch, and nothing of what it finds.
"""

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePath, PurePosixPath
from typing import Any, TypeGuard

FINGERPRINTED = frozenset({".jinja", ".json", ".model", ".safetensors", ".txt"})
"""The suffixes of the files that a pipeline is loaded from."""

INDEX = "model_index.json"

_WEIGHTS = re.compile(
    r"(?:diffusion_pytorch_)?model(?:\.(?P<variant>\w+))?(?:-\d+-of-\d+(?:\.(?P<older>\w+))?)?"
    r"\.safetensors"
)
_SHARDS = re.compile(
    r"(?:diffusion_pytorch_)?model\.safetensors(?:\.(?P<older>\w+))?\.index"
    r"(?:\.(?P<variant>\w+))?\.json"
)
_ANY_SHARDS = re.compile(r".*\.index(\.\w+)?\.json")


@dataclass(frozen=True, slots=True)
class IndexedPart:
    """A part of a pipeline that the index names: the folder it lies in, and its class."""

    name: str
    library: str
    class_name: str
    folder: Path

    @property
    def is_tokenizer(self) -> bool:
        return "Tokenizer" in self.class_name

    @property
    def has_weights(self) -> bool:
        """Whether it is a network, which is no more than its weights."""
        others = (
            *("Scheduler", "Guidance", "FeatureExtractor"),
            *("Processor", "ProcessorFast", "ProcessorPil"),
        )
        return not self.is_tokenizer and not self.class_name.endswith(others)

    def weights(self, variant: str | None = None) -> list[Path]:
        """Its safetensors of a variant, or the plain ones, and the lists of their shards."""
        return [file for file in _files(self.folder) if _variant_of(file) == (variant or "")]

    def variant(self, wanted: str = "") -> str:
        """The variant that is used if this one is wanted: it, or plain weights, else the only one
        that is there; "" is none."""
        there = self.variants()
        if wanted in there or self.weights() or len(there) != 1:
            return wanted if wanted in there else ""
        return there.pop()

    def variants(self) -> set[str]:
        """The variants that its weights are there as; the plain ones have none."""
        return {found for file in _files(self.folder) if (found := _variant_of(file))}


def read_index(folder: Path) -> dict[str, Any] | None:
    """What `model_index.json` holds; None if it is missing or no table."""
    return read_json(folder / INDEX)


def components(folder: Path) -> list[IndexedPart]:
    """The parts that the index names; those that it switches off (`[null, null]`) are none."""
    return [
        IndexedPart(name, entry[0], entry[1], component_folder(folder, name))
        for name, entry in (read_index(folder) or {}).items()
        if name.isidentifier() and not name.startswith("_") and _is_component(entry)
    ]


def component_folder(folder: Path, name: str) -> Path:
    """Where a component lies: in the folder of its name, or beside the index if there is none and
    what lies there is of its class. Early models of one network are kept so."""
    entry = (read_index(folder) or {}).get(name)
    if (folder / name).is_dir() or not _is_component(entry):
        return folder / name
    said = (read_json(folder / file) or {} for file in ("config.json", "scheduler_config.json"))
    beside = any(config.get("_class_name") == entry[1] for config in said)
    return folder if beside else folder / name


def variant_of(folder: Path) -> str | None:
    """The variant that must be asked for: the one that components without plain weights share."""
    parts = [part for part in components(folder) if part.has_weights and not part.weights()]
    return _shared([part.variants() for part in parts])


def variants(names: Iterable[str]) -> dict[str, set[str]]:
    """By component, the variants of its weights among files with these paths; "" are plain ones."""
    found: dict[str, set[str]] = {}
    for path in map(PurePosixPath, names):
        if (variant := _variant_of(path)) is not None and len(path.parts) == 2:
            found.setdefault(path.parts[0], set()).add(variant)
    return found


def only_variant(names: Iterable[str]) -> str | None:
    """`variant_of` a folder with files of these paths."""
    return _shared([there for there in variants(names).values() if "" not in there])


def _shared(variants: list[set[str]]) -> str | None:
    shared = set.intersection(*variants) if variants else set[str]()
    return shared.pop() if len(shared) == 1 else None


def loaded_files(folder: Path, variant: str = "") -> list[str]:
    """The files that a pipeline is loaded from, in the fingerprint's order.

    The index, and of each component all but weights that another file stands for: other variants,
    and what is not safetensors. `variant` is the one that is asked for, if any. Without components
    it is whatever may be loaded.
    """
    parts, wanted = components(folder), variant or variant_of(folder)
    if not parts:
        return all_files(folder)
    unused = {
        file
        for part in parts
        for file in _files(part.folder)
        if _is_weights(file) and file not in (part.weights(wanted) or part.weights())
    }
    return [
        path
        for path in all_files(folder)
        if path == INDEX or (_is_of(parts, folder, path) and folder / path not in unused)
    ]


def component_files(folder: Path, variant: str = "") -> list[str]:
    """The files that one component is loaded from: its configuration, and weights of the variant,
    else plain ones, else those of its only variant."""
    part = component_of(folder, folder.name)
    used = part.weights(part.variant(variant))
    return [
        path
        for path in all_files(folder)
        if "/" not in path and (folder / path in used or not _is_weights(folder / path))
    ]


def component_of(folder: Path, name: str) -> IndexedPart:
    """The component that lies in a folder of its own, by the class that its configuration names."""
    config = read_json(folder / "config.json") or {}
    if isinstance(config.get("_class_name"), str):
        return IndexedPart(name, "diffusers", config["_class_name"], folder)
    said = config.get("architectures")
    kind = said[0] if isinstance(said, list) and said and isinstance(said[0], str) else ""
    return IndexedPart(name, "transformers", kind, folder)


def config_files(folder: Path) -> list[str]:
    """What a pipeline's folder says beside its weights: the index, and each component's files."""
    parts = components(folder)
    return [
        path
        for path in all_files(folder)
        if path == INDEX or (_is_of(parts, folder, path) and not _is_weights(folder / path))
    ]


def all_files(folder: Path) -> list[str]:
    """Every file that some pipeline may be loaded from; what is hidden is no part of a model."""
    files = [
        file.relative_to(folder)
        for file in sorted(folder.rglob("*"))
        if file.suffix in FINGERPRINTED and file.is_file()
    ]
    return [p.as_posix() for p in files if not any(part.startswith(".") for part in p.parts)]


def read_json(path: Path) -> dict[str, Any] | None:
    """The table that a file holds; None if there is none."""
    try:
        value = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _is_of(parts: Iterable[IndexedPart], folder: Path, path: str) -> bool:
    """Whether a file of the folder is one of the components' own."""
    first, _, rest = path.partition("/")
    return any(part.folder == (folder / first if rest else folder) for part in parts)


def _is_component(entry: object) -> TypeGuard[list[str]]:
    return isinstance(entry, list) and len(entry) == 2 and all(isinstance(e, str) for e in entry)


def _files(folder: Path) -> Iterator[Path]:
    return (file for file in sorted(folder.glob("*")) if file.is_file())


def _variant_of(weights: PurePath) -> str | None:
    """The variant that a file of weights, or a list of shards, is of; None for any other file."""
    match = _WEIGHTS.fullmatch(weights.name) or _SHARDS.fullmatch(weights.name)
    # Before its version 0.30 diffusers named the variant of shards elsewhere.
    return None if match is None else match["variant"] or match["older"] or ""


def _is_weights(file: Path) -> bool:
    return file.suffix == ".safetensors" or _ANY_SHARDS.fullmatch(file.name) is not None
