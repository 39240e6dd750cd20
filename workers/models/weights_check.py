"""What a file of weights shows to be impossible: an adapter, an embedding or a checkpoint."""

import re
from pathlib import Path

from seedsweep.storage.errors import ConfigError
from seedsweep.storage.settings.model import Model
from seedsweep.workers.models.folder import read_json
from seedsweep.workers.models.parts import weights_parts
from seedsweep.workers.models.safetensors_file import Header, read_header, whole_header

PAIR = re.compile(r"[._](lora_A|lora_down|lora\.down|lora_linear_layer\.down)\.")
"""In the name of the first tensor of each pair that a LoRA adds to a layer."""

_PART = re.compile(
    r"[._](lora_A|lora_B|lora_down|lora_up|lora\.down|lora\.up|lora_linear_layer\.(down|up))"
    r"\.(\w+\.)?(weight|bias)$|\.alpha$"
)
_LORA = re.compile(r"lora", re.IGNORECASE)
_OTHERS = (
    (re.compile(r"dora_scale|lora_magnitude_vector"), "a DoRA, whose scales diffusers leaves out"),
    (re.compile(r"hada_w"), "a LoHa"),
    (re.compile(r"lokr_w"), "a LoKr"),
    (re.compile(r"oft_blocks|oft_R|boft"), "an OFT"),
    (re.compile(r"ip_adapter|^image_proj\."), "an IP-Adapter, which needs a picture"),
    (re.compile(r"lora_controlnet|input_hint_block"), "a ControlNet, which needs a picture"),
    (re.compile(r"lora_mid|tucker|lora_t2"), "a LoCon in Tucker form"),
)
_CHECKPOINT = re.compile(r"^(model\.diffusion_model|first_stage_model|cond_stage_model)\.")
_EMBEDDINGS = frozenset({"clip_l", "clip_g"})
_QUANTISED = re.compile(r"scaled_fp8|\.(scale_weight|weight_scale|absmax|quant_map|quant_state)\b")
_V_PREDICTION = frozenset({"v_pred", "ztsnr"})


def check_weights(model: Model) -> None:
    """Refuse an adapter, an embedding or a checkpoint that is here and is not what it is named as.

    Raises `ConfigError`, and `OSError` if a file cannot be read.
    """
    for check, sources in (
        (check_adapter, model.adapters),
        (check_embedding, model.embeddings),
    ):
        for part in weights_parts(sources):
            if Path(part.source.path).is_file():
                check(part.role, Path(part.source.path))
    if model.is_single_file and Path(model.config).is_dir():
        check_checkpoint(Path(model.path), Path(model.config))


def check_adapter(role: str, file: Path) -> None:
    """Refuse what is no LoRA of safetensors that diffusers loads whole. Raises `ConfigError`."""
    names = whole_header(role, file).shapes
    for pattern, kind in _OTHERS:
        if any(pattern.search(name) for name in names):
            raise ConfigError(
                f"The {role} {file} is {kind}, and only plain LoRA is added to a model; merge it "
                "into the model with the tool that trained it, and name the merged model."
            )
    if any(map(_CHECKPOINT.match, names)):
        raise ConfigError(
            f"The {role} {file} is a whole checkpoint; name it as model.path, with model.config."
        )
    if not any(map(_LORA.search, names)):
        raise ConfigError(
            f"The {role} {file} is no LoRA: none of its tensors is called so; name the file that "
            "a trainer of LoRA saved."
        )
    odd = next((name for name in sorted(names) if not _PART.search(name)), None)
    if odd:
        raise ConfigError(
            f"The {role} {file} has the tensor {odd}, which is no part of a LoRA and would be left "
            "out; merge it into the model with the tool that trained it."
        )


def check_embedding(role: str, file: Path) -> None:
    """Refuse what is no textual inversion for one text encoder, or SDXL's two."""
    shapes = whole_header(role, file).shapes
    flat = all(1 <= len(shape) <= 2 for shape in shapes.values())
    if not flat or not (len(shapes) == 1 or set(shapes) == _EMBEDDINGS):
        raise ConfigError(
            f"The {role} {file} is no embedding of one word: it has the tensors "
            f"{', '.join(sorted(shapes)[:3])}; name a file with one tensor, or with clip_l and "
            "clip_g."
        )
    if len({shape[0] if len(shape) == 2 else 1 for shape in shapes.values()}) > 1:
        raise ConfigError(
            f"The {role} {file} has not as many vectors in clip_l as in clip_g; save it again."
        )


def vectors_of(file: Path) -> int:
    """How many vectors an embedding has; 1 if it is not here."""
    header = read_header(file) if file.is_file() else None
    shape = next(iter(header.shapes.values()), []) if header else []
    return shape[0] if len(shape) == 2 else 1


def check_checkpoint(file: Path, config: Path) -> None:
    """Refuse a checkpoint that is no whole model, or that its configuration cannot be of."""
    header = whole_header("model", file)
    if any(map(_QUANTISED.search, header.shapes)):
        raise ConfigError(
            f"The model {file} is quantised ({_first_quantised(header)}), and would be read as if "
            "it were not; name a checkpoint of 16 or 32 bits."
        )
    if all(_LORA.search(name) for name in header.shapes):
        raise ConfigError(
            f"The model {file} is a LoRA; name its base as model.path, and the file under "
            "[[model.adapters]]."
        )
    predicted = (read_json(config / "scheduler" / "scheduler_config.json") or {}).get(
        "prediction_type", "epsilon"
    )
    if _V_PREDICTION & set(header.shapes) and predicted != "v_prediction":
        raise ConfigError(
            f"The model {file} says that it predicts v, and its configuration {config} that it "
            f"predicts {predicted}; name another as model.config, whose scheduler has "
            "prediction_type v_prediction."
        )
    _check_channels(file, header, config)


def _check_channels(file: Path, header: Header, config: Path) -> None:
    """The first layer shows an inpainting model, and of what a UNet's prompts are made."""
    first = header.shapes.get("model.diffusion_model.input_blocks.0.0.weight")
    wanted = (read_json(config / "unet" / "config.json") or {}).get("in_channels")
    if first and len(first) == 4 and isinstance(wanted, int) and first[1] != wanted:
        kind = "an inpainting model, " if first[1] == 9 else ""
        raise ConfigError(
            f"The model {file} is {kind}whose UNet takes {first[1]} channels, and its "
            f"configuration {config} says {wanted}; name a checkpoint that makes pictures of "
            "prompts, and the configuration of its kind."
        )


def _first_quantised(header: Header) -> str:
    return next(name for name in sorted(header.shapes) if _QUANTISED.search(name))
