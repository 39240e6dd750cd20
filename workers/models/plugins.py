"""Generators that are not ours, found on this machine without importing them.

`[model] pipeline` names a built-in pipeline, or an entry point of the group `seedsweep.pipelines`;
of the built-in `python`, `[model] path` names a function as `module:function`. Imports no torch.
"""

import hashlib
import importlib
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.machinery import ModuleSpec
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path

from seedsweep.storage.errors import ConfigError

GROUP = "seedsweep.pipelines"
BUILT_IN = ("diffusers", "noise", "python")

_FUNCTION = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*", re.ASCII)


def find_plugin(name: str) -> EntryPoint:
    """The one entry point that provides the pipeline `name`; raises `ConfigError` without one."""
    entries = entry_points(group=GROUP)
    provided = [entry for entry in entries if entry.name == name]
    if not provided:
        there = ", ".join(sorted({*BUILT_IN, *entries.names}))
        raise ConfigError(
            f"No pipeline is called {name!r} on this machine, where there are {there}; install the "
            "package that provides it, or correct model.pipeline."
        )
    if len(provided) > 1:
        rivals = " and ".join(sorted(name_distribution(entry) for entry in provided))
        raise ConfigError(
            f"The pipeline {name!r} is provided by {rivals}; uninstall all but the one you mean."
        )
    return provided[0]


def name_distribution(entry: EntryPoint) -> str:
    """The name and version of the distribution that an entry point belongs to."""
    return f"{entry.dist.name} {entry.dist.version}" if entry.dist else "an unknown package"


@dataclass(frozen=True, slots=True)
class FoundFunction:
    """A function `name` = `module:function` that is not imported: its module's spec and source."""

    name: str
    spec: ModuleSpec
    source: bytes

    @property
    def fingerprint(self) -> str:
        """Names the function and every byte of its module's file; what that imports is not seen."""
        return f"python:{self.name} sha256:{hashlib.sha256(self.source).hexdigest()}"


def find_function(name: str) -> FoundFunction:
    """Find a function's module as an import would, but run nothing of it, nor of its packages.

    Whether the module has the function shows only when it runs. Raises `ConfigError` if `name`
    is none of `module:function`, or the module has no source file (`.py`) on this machine.
    """
    if not _FUNCTION.fullmatch(name):
        raise ConfigError(
            f"model.path = {name!r} names no function; write it as module:function, for example "
            '"package.module:draw".'
        )
    module = name.partition(":")[0]
    # A worker may have listed the folder just before the file was put there.
    importlib.invalidate_caches()
    spec = _find_module(module)
    file = Path(spec.origin) if spec and spec.origin else None
    if spec is None or file is None or file.suffix != ".py" or not file.is_file():
        raise ConfigError(
            f"The module {module!r} of model.path has no source file on this machine; add the "
            "folder that holds it to PYTHONPATH, or install its package."
        )
    try:
        return FoundFunction(name, spec, file.read_bytes())
    except OSError as error:
        raise ConfigError(
            f"The source of the module {module!r} cannot be read ({error}); let it be readable."
        ) from error


def _find_module(module: str) -> ModuleSpec | None:
    """Walk down the packages; `importlib.util.find_spec` would import all but the last."""
    spec, folders, name = None, None, ""
    for part in module.split("."):
        name = f"{name}.{part}".lstrip(".")
        spec = _ask_finders(name, folders)
        folders = list(spec.submodule_search_locations or ()) if spec else []
        if spec is None:
            return None
    return spec


def _ask_finders(name: str, folders: Sequence[str] | None) -> ModuleSpec | None:
    for finder in sys.meta_path:
        if (spec := finder.find_spec(name, folders)) is not None:
            return spec
    return None
