"""A campaign file → the resolved `Campaign` and its prompts.

Resolving fixes what the file only names: paths become absolute, the model and the training set get
the fingerprint of what is there now, and the prompt list its digest.
"""

import difflib
import json
import tomllib
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from seedsweep.scheduler.campaign.prompt_files import read_prompts
from seedsweep.storage.errors import ConfigError
from seedsweep.storage.prompts import digest_prompts
from seedsweep.storage.records import Campaign, Model, PromptList, Verification, prompt_id_of
from seedsweep.workers.models.fingerprint import check_model, fingerprint_model
from seedsweep.workers.models.plugins import BUILT_IN
from seedsweep.workers.training.index import fingerprint_training_set
from seedsweep.workers.training.search import open_set

_RESOLVED_HERE = {
    "model": {"fingerprint"},
    "prompts": {"digest", "count"},
    "verification": {"fingerprint"},
}


def read_campaign(path: Path) -> tuple[Campaign, list[str]]:
    """Read and resolve a campaign file; returns the campaign and its prompts, in order.

    The same file over the same prompts, model and training set always gives the same campaign.
    Raises `ConfigError` with one sentence for whatever is wrong.
    """
    path = path.parent.resolve() / path.name
    campaign = parse_campaign(_load(path), path)
    prompts_file = path.parent / campaign.prompts.file
    prompt_list = campaign.prompts.model_copy(update={"file": str(prompts_file)})
    prompts = list(read_prompts(prompt_list))
    if not prompts:
        raise ConfigError(f"The prompts file {prompts_file} holds no prompt; add some.")
    resolved = campaign.model_copy(
        update={
            "model": resolve_model(campaign.model, path.parent),
            "prompts": _with_digest(prompt_list, prompts),
            "verification": _resolve_verification(campaign.verification, path.parent),
        }
    )
    check_model(resolved.model, resolved.sampling)
    return resolved, prompts


def parse_campaign(raw: dict[str, Any], path: Path) -> Campaign:
    """Check the tables of a campaign file; raises `ConfigError` naming the first thing wrong."""
    for table, names in _RESOLVED_HERE.items():
        given = raw.get(table)
        for name in names & set(given if isinstance(given, dict) else ()):
            raise ConfigError(f"{path}: {table}.{name} is filled in on submission; remove it.")
    try:
        campaign = Campaign.model_validate_json(json.dumps(raw, default=str), strict=True)
    except ValidationError as error:
        raise ConfigError(f"{path}: {explain(error, Campaign)}") from error
    if campaign.seeds.stop > 2**63:
        raise ConfigError(f"{path}: the seeds pass 2**63; lower sampling.first_seed.")
    if campaign.sampling.negative_prompt and campaign.sampling.guidance_scale <= 1:
        raise ConfigError(
            f"{path}: sampling.negative_prompt does nothing without guidance; remove it, or raise "
            "sampling.guidance_scale above 1."
        )
    return campaign


def explain(error: ValidationError, record: type[BaseModel]) -> str:
    """Say in one sentence what is wrong first: the key, the value and the remedy."""
    first = min(error.errors(), key=lambda problem: problem["type"] != "extra_forbidden")
    where = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        known = _known_keys(record, first["loc"][:-1])
        close = difflib.get_close_matches(str(first["loc"][-1]), known, 1)
        hint = f"did you mean {close[0]}?" if close else f"known here: {', '.join(sorted(known))}."
        return f"{where} is not a known key; {hint}"
    if first["type"] == "missing":
        return f"{where} is missing; add it."
    reason = first["msg"].removeprefix("Input ")
    return f"{where} = {first['input']!r} {reason}; correct it."


def resolve_model(model: Model, folder: Path) -> Model:
    """Make a folder's path absolute (a plug-in's file's too), and fix the model's fingerprint.

    Nothing of a plug-in or a function is imported. Raises `ConfigError` where there is no such
    model, or an option is meant for one that there is.
    """
    if model.pipeline != "diffusers" and model.options:
        raise ConfigError(
            f"model.{model.options[0]} is for a diffusers model, and {model.pipeline} has none; "
            "remove it."
        )
    if model.pipeline == "diffusers" and not model.path:
        raise ConfigError("model.path is missing; name a folder or a hub id.")
    if _names_files(model, folder / model.path):
        model = model.model_copy(update={"path": str((folder / model.path).resolve())})
    return model.model_copy(update={"fingerprint": fingerprint_model(model)})


def _names_files(model: Model, path: Path) -> bool:
    if model.pipeline == "diffusers":
        return path.is_dir()
    return model.pipeline not in BUILT_IN and bool(model.path) and path.exists()


def _load(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(
            f"The campaign file {path} cannot be read ({error.strerror}); check the path."
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not TOML ({error}); correct it.") from error


def _with_digest(prompt_list: PromptList, prompts: list[str]) -> PromptList:
    digest = digest_prompts(map(prompt_id_of, prompts))
    return prompt_list.model_copy(update={"digest": digest, "count": len(prompts)})


def _resolve_verification(wanted: Verification | None, folder: Path) -> Verification | None:
    if wanted is None:
        return None
    path = folder / wanted.training_set
    named = {"training_set": str(path), "fingerprint": fingerprint_training_set(path)}
    if wanted.controls:
        controls = open_set(folder / wanted.controls, "set of control pictures").path
        named["controls"] = str(controls)
    return wanted.model_copy(update=named)


def _known_keys(record: type[BaseModel], location: tuple[int | str, ...]) -> list[str]:
    for part in location:
        annotation = record.model_fields[str(part)].annotation
        options = getattr(annotation, "__args__", (annotation,))
        record = next(o for o in options if isinstance(o, type) and issubclass(o, BaseModel))
    hidden = _RESOLVED_HERE.get(str(location[-1]), set()) if location else set()
    return [name for name in record.model_fields if name not in hidden]
