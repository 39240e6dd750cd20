"""Campaigns without prompts: what the model's files alone show of its pictures."""

from pathlib import Path

from seedsweep.storage.errors import ConfigError
from seedsweep.storage.settings.campaign import Campaign
from seedsweep.workers.models.folder import read_index, read_json
from seedsweep.workers.models.local_folder import component_place, folder_here
from seedsweep.workers.models.picture_size import autoencoder_of, native_size
from seedsweep.workers.pipelines.diffusers_class import class_of, is_installed, is_unconditional


def is_of_seeds(folder: Path) -> bool:
    """Whether a folder holds a diffusers pipeline that makes pictures of seeds alone, as far as a
    machine with diffusers can tell."""
    index = read_index(folder)
    kind = class_of(index.get("_class_name")) if index and is_installed() else None
    return kind is not None and is_unconditional(kind)


def check_unconditional(campaign: Campaign) -> None:
    """Refuse what a diffusers model without prompts cannot make: pictures of another size than its
    own, of more than three colours, or of classes.

    Looked at is what the model's folder, or the hub's cache, says. Raises `ConfigError`.
    """
    model, sampling = campaign.model, campaign.sampling
    folder = folder_here(model) if campaign.is_unconditional else None
    if folder is None:
        return
    size = native_size(folder)
    if size and (sampling.width, sampling.height) != size:
        raise ConfigError(
            f"The pictures of the model {model.path} have one size; set sampling.width to "
            f"{size[0]} and sampling.height to {size[1]}."
        )
    unet = read_json(component_place(model, folder, "unet") / "config.json") or {}
    if unet.get("num_class_embeds") or unet.get("class_embed_type"):
        raise ConfigError(
            f"The unet of the model {model.path} is given a class, and its pipeline passes none "
            "that a campaign could name; use a model without classes, or a plug-in."
        )
    channels = _channels(unet, autoencoder_of(folder))
    if channels not in (None, 1, 3):
        raise ConfigError(
            f"The model {model.path} makes pictures of {channels} channels, and 1 (grey) or 3 "
            "(RGB) can be audited; use another."
        )


def _channels(unet: dict[str, object], autoencoder: Path) -> int | None:
    """How many channels the pictures have, if the model says so."""
    decoded = (read_json(autoencoder / "config.json") or {}).get("out_channels")
    channels = decoded if autoencoder.is_dir() else unet.get("in_channels")
    return channels if isinstance(channels, int) else None
