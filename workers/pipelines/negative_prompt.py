"""Which pipelines of diffusers cannot be given a negative prompt, read from what a model's folder
says: nothing is loaded."""

from pathlib import Path
from typing import Any

from seedsweep.storage.settings.model import Model
from seedsweep.workers.models.folder import read_index, read_json
from seedsweep.workers.models.local_folder import component_place, folder_here
from seedsweep.workers.pipelines.diffusers_class import (
    call_parameters,
    class_of,
    guidance_of,
    is_installed,
)

_FAIL = ("KandinskyCombinedPipeline", "KandinskyV22CombinedPipeline")
_MAY_BE_DISTILLED = (
    *("AltDiffusionPipeline", "KolorsPAGPipeline", "KolorsPipeline"),
    *("StableDiffusionLDM3DPipeline", "StableDiffusionPAGPipeline"),
    *("StableDiffusionPanoramaPipeline", "StableDiffusionPipeline"),
    *("StableDiffusionXLPAGPipeline", "StableDiffusionXLPipeline"),
)
"""The classes that leave guidance out if their unet was distilled with it."""


def why_no_negative_prompt(model: Model) -> str:
    """Why the model's pipeline cannot be given a negative prompt, or does not use one, in a clause;
    empty if it may.

    Looked at is what the model's folder, or the hub's cache, says, on a machine that has diffusers.
    """
    folder = folder_here(model)
    index = read_index(folder) if folder else None
    if folder is None or index is None or not is_installed():
        return ""
    kind = class_of(index.get("_class_name"))
    if kind is None:
        return ""
    reason = why_class_takes_none(kind)
    if not reason and kind.__name__ in _MAY_BE_DISTILLED and _is_distilled(model, folder):
        return "its unet has distilled guidance (time_cond_proj_dim), which uses none"
    return reason


def why_class_takes_none(kind: Any) -> str:
    """Why all pipelines of the class take or use none, in a clause; empty if they may."""
    known = call_parameters(kind)
    if "negative_prompt" not in known:
        return f"{kind.__name__} takes none"
    if kind.__name__ in _FAIL:
        return f"{kind.__name__} fails on one if each picture has a seed of its own"
    true_scale = known.get("true_cfg_scale")
    if true_scale and true_scale.default == 1 and guidance_of(kind) != "true_cfg_scale":
        return f"{kind.__name__} does not use one, as its guidance is distilled"
    return ""


def _is_distilled(model: Model, folder: Path) -> bool:
    config = read_json(component_place(model, folder, "unet") / "config.json") or {}
    return config.get("time_cond_proj_dim") is not None
