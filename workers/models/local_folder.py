"""Where the files of a diffusers model lie on this host, if it has them: nothing is fetched."""

import contextlib
from pathlib import Path

from seedsweep.storage.settings.model import Model
from seedsweep.workers.models.fingerprint import hub_part
from seedsweep.workers.models.folder import component_folder
from seedsweep.workers.models.parts import base_part, config_part


def folder_here(model: Model) -> Path | None:
    """The folder that describes a diffusers model, if this host has it: nothing is fetched.

    It is the model's own, or of a checkpoint that of its configuration.
    """
    if model.pipeline != "diffusers":
        return None
    part = config_part(model) or base_part(model)
    if Path(part.source.path).is_dir():
        return Path(part.source.path)
    if part.source.fingerprint:
        from huggingface_hub.errors import LocalEntryNotFoundError

        with contextlib.suppress(LocalEntryNotFoundError):
            return hub_part(part, part.source.fingerprint.removeprefix("commit:"), cached=True)
    return None


def component_place(model: Model, folder: Path, name: str) -> Path:
    """The folder of a component: that of the one that takes its place, if it is here, or its own
    in the model's folder."""
    for one in model.components:
        if one.name == name and Path(one.path).is_dir():
            return Path(one.path)
    return component_folder(folder, name)
