"""What a pipeline's class in diffusers takes, read from its signatures: nothing is loaded."""

import inspect
import re
from importlib.util import find_spec
from typing import Any

from seedsweep.storage.errors import ConfigError
from seedsweep.storage.settings.model import Model
from seedsweep.workers.models.folder import read_index
from seedsweep.workers.models.local_folder import folder_here

NEEDED = (
    "prompt",
    "num_images_per_prompt",
    "num_inference_steps",
    "width",
    "height",
    "generator",
    "output_type",
)
"""What every call is given; a text-to-image pipeline takes it all."""

NEEDED_OF_CLASSES = ("class_labels", "num_inference_steps", "generator", "output_type")
"""What the calls of class-conditional pipelines are given instead."""

NEEDED_OF_NOTHING = ("batch_size", "num_inference_steps", "generator", "output_type")
"""What the calls of unconditional pipelines are given instead."""

PREDICTABLE = (
    "StableDiffusionPipeline",
    "StableDiffusionXLPipeline",
    "StableDiffusion3Pipeline",
    "PixArtAlphaPipeline",
    "PixArtSigmaPipeline",
)
"""The pipelines whose network is given all pictures of a batch without the prompt and then all with
it, the noisy latents first. Each is tested."""

_USUAL = "StableDiffusionPipeline"
_MORE_THAN_A_PROMPT = (
    "image_embeds",
    "image_embeddings",
    "mask_image",
    "control_image",
    "video",
    "gligen_boxes",
)
_FRAMES = ("num_frames", "video_length")
_PARTS = ("controlnet", "adapter", "motion_adapter")
_FROM_PICTURES = re.compile("Img2Img|SuperResolution|Refiner|Pix2Pix|QwenImageEdit")
_TASKS = re.compile(
    r"ControlNet(?:Union|XS)?|Inpaint|Img2Img|Adapter|Kontext|Upscale|Edit(?:Plus)?(?!ing)"
)


def check_class(model: Model, with_prompts: bool = True) -> None:
    """Refuse a diffusers model whose pipeline is none, or makes no pictures of a prompt, a class or
    a seed alone; and one that takes prompts where there are none, or none where there are.

    Looked at is what the model's folder, or the hub's cache, says of its class, on a machine that
    has diffusers. Raises `ConfigError`, which names what to use instead.
    """
    folder = folder_here(model)
    index = read_index(folder) if folder else None
    if index is None or not is_installed():
        return
    import diffusers

    name = index.get("_class_name")
    kind = class_of(name)
    if kind is None:
        raise ConfigError(
            f"The model {model.path} is a {name!r}, which is no pipeline that diffusers "
            f"{diffusers.__version__} has here; correct _class_name in its model_index.json, or "
            "use another version."
        )
    unfit = why_unfit(kind)
    if unfit:
        raise ConfigError(f"The model {model.path} cannot be used: {unfit}.")
    if with_prompts and is_unconditional(kind):
        raise ConfigError(
            f"The model {model.path} is a {name}, which makes pictures of seeds alone; leave "
            "[prompts] out."
        )
    if not with_prompts and not is_unconditional(kind):
        raise ConfigError(
            f"The model {model.path} is a {name}, which makes pictures of "
            f"{'classes' if takes_classes(kind) else 'prompts'}; name a file of them in [prompts]."
        )


def is_installed() -> bool:
    """Whether this machine can look at diffusers' classes; a scheduler's image cannot."""
    return all(find_spec(name) for name in ("torch", "diffusers", "transformers"))


def why_unfit(kind: type) -> str:
    """Why a pipeline of diffusers makes no pictures of a prompt, a class or a seed alone, and what
    to use instead, in a clause; empty if it may."""
    reason = _reason(kind)
    if not reason:
        return ""
    return f"{kind.__name__} {reason}; name a folder whose pipeline is {_instead(kind)}"


def why_opaque(kind: type) -> str:
    """Why the network's predictions with and without the prompt cannot be read from a pipeline of
    diffusers, in a clause; empty if they may."""
    if kind.__name__ in PREDICTABLE:
        return ""
    return f"{kind.__name__} is none of {', '.join(PREDICTABLE)}"


def class_of(name: object) -> type | None:
    """The pipeline that diffusers has by this name; None if it has none. One of ONNX files is none,
    whether or not the package that runs them is here."""
    import diffusers
    import transformers

    # It warns of what it would need for parts that are not asked for.
    transformers.utils.logging.set_verbosity_error()
    try:
        is_named = isinstance(name, str) and "Onnx" not in name
        kind = getattr(diffusers, str(name)) if is_named else None
    except (AttributeError, ImportError, RuntimeError):
        return None
    is_pipeline = inspect.isclass(kind) and issubclass(kind, diffusers.DiffusionPipeline)
    return kind if is_pipeline and kind is not diffusers.DiffusionPipeline else None


def part_class(library: str, name: str) -> Any:
    """The class of a pipeline's part by what its index says: of transformers, or of a family of
    pipelines that diffusers has. Raises `AttributeError` if there is none."""
    import diffusers
    import transformers

    home = transformers if library == "transformers" else getattr(diffusers.pipelines, library)
    return getattr(home, name)


def call_parameters(kind: Any) -> dict[str, inspect.Parameter]:
    """What a pipeline's call takes, by name."""
    parameters = dict(inspect.signature(kind.__call__).parameters)
    parameters.pop("self", None)
    return parameters


def guidance_of(kind: Any) -> str | None:
    """The argument of a pipeline's call that scales its guidance; None if it takes none.

    A `guidance_scale` that is off unless it is given is a condition of distilled models only, if
    there is a `true_cfg_scale` too. Of a prior and a decoder, the prior is given the prompt.
    """
    known = call_parameters(kind)
    usual = known.get("guidance_scale")
    if usual is not None and (usual.default is not None or "true_cfg_scale" not in known):
        return "guidance_scale"
    names = ("true_cfg_scale", "prior_guidance_scale")
    return next((name for name in names if name in known), None)


def takes_generators(kind: Any) -> bool:
    """Whether a pipeline's call says that it takes one generator for each picture."""
    says = call_parameters(kind)["generator"].annotation
    return says is inspect.Parameter.empty or "list" in str(says).lower()


def takes_classes(kind: type) -> bool:
    """Whether a pipeline of diffusers makes pictures of a class, and of nothing else."""
    wanted = call_parameters(kind).get("class_labels")
    return wanted is not None and wanted.default is wanted.empty


def is_unconditional(kind: type) -> bool:
    """Whether a pipeline of diffusers makes pictures of seeds, and of nothing else: its call can be
    told how many, and takes no prompt."""
    known = call_parameters(kind)
    return "batch_size" in known and not any("prompt" in name for name in known)


def _needed(kind: type) -> tuple[str, ...]:
    if takes_classes(kind):
        return NEEDED_OF_CLASSES
    return NEEDED_OF_NOTHING if is_unconditional(kind) else NEEDED


def _reason(kind: type) -> str:
    parameters = call_parameters(kind)
    needed = _needed(kind)
    required = {
        name
        for name, parameter in parameters.items()
        if parameter.default is parameter.empty
        and parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
    }
    needs = sorted(required - {*needed, "guidance_scale"})
    needs += [name for name in _MORE_THAN_A_PROMPT if name in parameters and name not in needs]
    if needs:
        return f"needs more than a prompt ({needs[0]})"
    parts = [name for name in _PARTS if name in inspect.signature(kind.__init__).parameters]  # type: ignore[misc]
    if parts:
        return f"needs more than a prompt (what its {parts[0]} is given)"
    lacking = [name for name in needed if name not in parameters]
    if lacking:
        of = "" if is_unconditional(kind) else " of a prompt"
        return f"takes no {lacking[0]}, so it makes no pictures{of}"
    frames = [name for name in _FRAMES if name in parameters]
    if frames:
        return f"makes videos ({frames[0]}) and no pictures"
    if "Prior" in kind.__name__:
        return "makes no pictures, but what a decoder makes them of"
    return "needs more than a prompt (image)" if _FROM_PICTURES.search(kind.__name__) else ""


def _instead(kind: type) -> str:
    """The text-to-image pipeline of the same family, if its name gives it away."""
    name = kind.__name__
    for candidate in (
        re.sub("(Prior|Decoder)?Pipeline$", "CombinedPipeline", name),
        _TASKS.sub("", name),
    ):
        fit = class_of(candidate)
        if fit is not None and candidate != name and not _reason(fit):
            return candidate
    return _USUAL
