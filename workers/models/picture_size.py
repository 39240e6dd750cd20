"""Which sizes of pictures a model makes, and was trained for, as the files of its folder say."""

from pathlib import Path
from typing import TypeGuard

from seedsweep.storage.errors import ConfigError
from seedsweep.storage.settings.model import Model
from seedsweep.storage.settings.sampling import Sampling
from seedsweep.workers.models.folder import component_folder, read_json
from seedsweep.workers.models.local_folder import component_place, folder_here


def check_size(model: Model, sampling: Sampling) -> None:
    """Refuse a size that is no multiple of what the model's autoencoder reduces by, if the model is
    on this host. Raises `ConfigError`."""
    folder = folder_here(model)
    if folder is None:
        return
    own = autoencoder_of(folder)
    factor = _reduction(component_place(model, folder, own.name))
    if sampling.width % factor or sampling.height % factor:
        raise ConfigError(
            f"The model {model.path} cannot make {sampling.width} x {sampling.height} pictures; "
            f"set width and height to multiples of {factor}."
        )


def size_remark(model: Model, sampling: Sampling) -> str:
    """That other pictures are asked for than the model was trained for, if its folder says so."""
    side = native_side(Path(model.path))
    if side is None or side in (sampling.width, sampling.height):
        return ""
    return (
        f"The model's own size is {side} × {side} pixels; {sampling.width} × {sampling.height} is "  # noqa: RUF001
        "asked for, at which it may repeat other pictures, or none."
    )


def native_side(folder: Path) -> int | None:
    """The side in pixels of the square pictures that the model was trained for, if it says so."""
    size = native_size(folder)
    return size[0] if size and size[0] == size[1] else None


def native_size(folder: Path) -> tuple[int, int] | None:
    """Width and height of the pictures that the model was trained for, if it says so."""
    for name in ("unet", "transformer"):
        said = (read_json(component_folder(folder, name) / "config.json") or {}).get("sample_size")
        height, width = said if isinstance(said, list) and len(said) == 2 else (said, said)
        if _is_side(width) and _is_side(height):
            factor = _reduction(autoencoder_of(folder))
            return width * factor, height * factor
    return None


def autoencoder_of(folder: Path) -> Path:
    """Where the autoencoder of a model lies, whatever the pipeline calls it; it may have none."""
    return component_folder(folder, "vqvae" if (folder / "vqvae").is_dir() else "vae")


def _is_side(said: object) -> TypeGuard[int]:
    return isinstance(said, int) and not isinstance(said, bool) and 0 < said <= 8192


def _reduction(autoencoder: Path) -> int:
    """So many pixels of a picture's side are one of what the autoencoder there makes of it."""
    channels = (read_json(autoencoder / "config.json") or {}).get("block_out_channels")
    levels = len(channels) if isinstance(channels, list) else 1
    return 2 ** (levels - 1) if 1 <= levels <= 20 else 1
