"""A campaign file → the resolved `Campaign` and its prompts.

Resolving fixes what the file only names: paths become absolute, the model and the training set get
the fingerprint of what is there now, and the prompt list its digest.
"""

import difflib
import json
import tomllib
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import BaseModel, ValidationError

from seedsweep.scheduler.campaign.possible import (
    check_negative_prompts,
    check_sizes,
    require_sampling,
    require_tokens,
    with_possible_settings,
)
from seedsweep.scheduler.campaign.reference import FILLED_IN
from seedsweep.scheduler.campaign.stages import DEFAULT, default_stages
from seedsweep.scheduler.prompt_lists.prompt_files import ListedPrompt, list_prompts
from seedsweep.scheduler.prompt_lists.row_counts import RowCounts
from seedsweep.scheduler.prompt_lists.texts import check_texts, keys_with_controls
from seedsweep.storage.errors import ConfigError, TrainingSetError
from seedsweep.storage.path_text import path_text
from seedsweep.storage.prompts import digest_prompts
from seedsweep.storage.records import prompt_id_of
from seedsweep.storage.settings.analysis import Verification
from seedsweep.storage.settings.campaign import Campaign
from seedsweep.storage.settings.model import Model
from seedsweep.storage.settings.sampling import (
    DEFAULT_MISSED_SAMPLE,
    PromptList,
    PromptSettings,
    Sampling,
)
from seedsweep.workers.models.fingerprint import fingerprint_model
from seedsweep.workers.models.folder_check import check_model
from seedsweep.workers.models.plugins import BUILT_IN
from seedsweep.workers.models.resolution import resolve_parts
from seedsweep.workers.pipelines.class_labels import check_classes
from seedsweep.workers.pipelines.diffusers_class import check_class
from seedsweep.workers.pipelines.prompt_tokens import check_tokenizers
from seedsweep.workers.pipelines.unconditional import check_unconditional
from seedsweep.workers.screening.screen import check_screen
from seedsweep.workers.training.fingerprint import fingerprint_training_set
from seedsweep.workers.training.picture_set import open_set
from seedsweep.workers.training.pictures import refuse_unreadable
from seedsweep.workers.training.slices import PictureColumn

FILE_BYTES = 1_000_000
SHOWN_LENGTH = 120
"""So much of a key or a value is shown where it is wrong."""

_DIFFUSERS = ("variant", "config", "adapters", "embeddings", "components")

NAMES = (("name",), ("model", "pipeline"))
"""The keys that hold a name of ours."""


class ResolvedCampaign(NamedTuple):
    """A campaign, its prompts in order, and the settings that each has of its own: none if none has
    any. Without a table of prompts the one prompt is the empty text."""

    campaign: Campaign
    prompts: list[str]
    settings: list[PromptSettings]


def read_campaign(path: Path, rows: RowCounts | None = None) -> ResolvedCampaign:
    """Read and resolve a campaign file.

    `rows` counts what became of the prompts file's rows. The same file over the same prompts, model
    and training set always gives the same campaign.
    Raises `ConfigError` with one sentence for whatever is wrong; that a package is wanting here,
    which workers elsewhere may have, is left to `require_packages`.
    """
    path = path.parent.resolve() / path.name
    path_text(path, "the campaign file")
    campaign = parse_campaign(_load(path), path)
    rows = RowCounts() if rows is None else rows
    prompt_list, listed = _listed(campaign, path.parent, rows)
    rows.controls |= dict.fromkeys(keys_with_controls(campaign), 1)
    prompts = [prompt.text for prompt in listed]
    settings = [prompt.settings for prompt in listed if prompt.settings]
    resolved = campaign.model_copy(
        update={
            "model": resolve_model(campaign.model, path.parent),
            "prompts": prompt_list and _with_digest(prompt_list, prompts, settings),
            "verification": _resolve_verification(campaign, path.parent),
        }
    )
    check_model(resolved.model, resolved.sampling)
    check_sizes(resolved, listed)
    require_tokens(resolved, prompts, settings)
    check_class(resolved.model, with_prompts=not resolved.is_unconditional)
    check_unconditional(resolved)
    check_negative_prompts(resolved, listed)
    for screen in resolved.screens:
        check_screen(screen, resolved.model, resolved.sampling)
    recipes = dict.fromkeys(own.recipe for own in settings) or [None]
    asked = (resolved.of(own).sampling for own in recipes)
    if check_classes(resolved.model, asked, prompts):
        rows.numbers = 0  # these are classes, and no ids
    check_tokenizers(resolved.model)
    return ResolvedCampaign(resolved, prompts, settings)


def _listed(
    campaign: Campaign, folder: Path, rows: RowCounts
) -> tuple[PromptList | None, list[ListedPrompt]]:
    """The list of prompts with the place of its file, and the prompts."""
    if campaign.prompts is None:
        return None, [ListedPrompt("", None, "")]
    file = folder / campaign.prompts.file
    prompt_list = campaign.prompts.model_copy(update={"file": str(file)})
    listed = with_possible_settings(campaign, list_prompts(prompt_list, rows), rows)
    if not listed:
        raise ConfigError(f"The prompts file {file} holds no prompt; add some.")
    return prompt_list, listed


def parse_campaign(raw: dict[str, Any], path: Path) -> Campaign:
    """Check the tables of a campaign file; raises `ConfigError` naming the first thing wrong."""
    for table, names in FILLED_IN.items():
        for given in _tables(raw, table):
            for name in names & set(given):
                raise ConfigError(f"{path}: {table}.{name} is filled in on submission; remove it.")
    check_texts(raw, path)
    try:
        raw = _without_guidance(_with_default_stages(raw))
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error
    try:
        campaign = Campaign.model_validate_json(json.dumps(raw, default=str), strict=True)
    except ValidationError as error:
        raise ConfigError(f"{path}: {explain(error, Campaign)}") from error
    except (ValueError, RecursionError) as error:
        raise ConfigError(
            f"{path} holds a value that is too long or too deep; correct it."
        ) from error
    if campaign.missed_sample != DEFAULT_MISSED_SAMPLE and not campaign.stages:
        raise ConfigError(
            f"{path}: missed_sample does nothing without stages; remove it, or add [[stages]]."
        )
    try:
        require_sampling(campaign, {})
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error
    return campaign


def _with_default_stages(raw: dict[str, Any]) -> dict[str, Any]:
    """The tables of a campaign file, `stages = "default"` as the stages that it stands for."""
    if raw.get("stages") != DEFAULT:
        return raw
    sampling = raw.get("sampling")
    seeds = sampling.get("seeds") if isinstance(sampling, dict) else None
    stages = default_stages(seeds if isinstance(seeds, int) else Sampling().seeds)
    if not stages:
        raise ConfigError(
            f'stages = "default" spares nothing of {seeds} seeds; leave it out, or write '
            "[[stages]] of your own."
        )
    return {**raw, "stages": [stage.model_dump() for stage in stages]}


def _without_guidance(raw: dict[str, Any]) -> dict[str, Any]:
    """The tables of a campaign file: without prompts nothing guides, unless the file says so."""
    sampling = raw.get("sampling", {})
    if "prompts" in raw or not isinstance(sampling, dict):
        return raw
    return {**raw, "sampling": {"guidance_scale": 1.0, **sampling}}


def _tables(raw: object, name: str) -> list[dict[str, Any]]:
    """The tables of a name with dots: an array of tables has several."""
    if isinstance(raw, list):
        return [found for one in raw for found in _tables(one, name)]
    if not isinstance(raw, dict) or not name:
        return [raw] if isinstance(raw, dict) else []
    first, _, rest = name.partition(".")
    return _tables(raw.get(first), rest)


def explain(error: ValidationError, record: type[BaseModel]) -> str:
    """Say in one sentence what is wrong first: the key, the value and the remedy."""
    first = min(error.errors(), key=lambda problem: problem["type"] != "extra_forbidden")
    if first["type"] == "json_invalid":
        return "its values are nested too deep; correct them."
    where = _cut(".".join(str(part) for part in first["loc"]))
    if first["type"] == "extra_forbidden":
        known = _known_keys(record, first["loc"][:-1])
        close = difflib.get_close_matches(str(first["loc"][-1]), known, 1)
        hint = f"did you mean {close[0]}?" if close else f"known here: {', '.join(sorted(known))}."
        return f"{where} is not a known key; {hint}"
    if first["type"] == "missing":
        return f"{where} is missing; add it."
    if first["type"] == "string_pattern_mismatch" and first["loc"] in NAMES:
        return (
            f"{where} = {_cut(repr(first['input']))} is no name; take letters, digits, dots, "
            "dashes and underscores, 64 at most, the first a letter or digit."
        )
    if first["type"] == "tuple_type":
        default = f' or stages = "{DEFAULT}"' if where == "stages" else ""
        return f"{where} is no list of tables; write each as [[{where}]]{default}."
    if first["type"] == "value_error":  # said of several keys at once, and with all that is wrong
        return f"{first['msg'].removeprefix('Value error, ')}; correct it."
    reason = first["msg"].removeprefix("Input ")
    return f"{where} = {_cut(repr(first['input']))} {reason}; correct it."


def _cut(text: str) -> str:
    return text if len(text) <= SHOWN_LENGTH else f"{text[:SHOWN_LENGTH]}…"


def resolve_model(model: Model, folder: Path) -> Model:
    """Make a folder's path absolute (a plug-in's file's too), and fix the model's fingerprint.

    Nothing of a plug-in or a function is imported. Raises `ConfigError` where there is no such
    model, or an option is meant for one that there is.
    """
    given = [*model.options, *(name for name in _DIFFUSERS if getattr(model, name))]
    if model.pipeline != "diffusers" and given:
        raise ConfigError(
            f"model.{given[0]} is for a diffusers model, and {model.pipeline} has none; remove it."
        )
    if model.pipeline == "diffusers" and not model.path:
        raise ConfigError("model.path is missing; name a folder or a hub id.")
    if model.pipeline == "diffusers":
        return resolve_parts(model, folder)
    if _names_files(model, folder / model.path):
        model = model.model_copy(update={"path": str((folder / model.path).resolve())})
    return model.model_copy(update={"fingerprint": fingerprint_model(model)})


def _names_files(model: Model, path: Path) -> bool:
    return model.pipeline not in BUILT_IN and bool(model.path) and path.exists()


def _load(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            data = file.read(FILE_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        meant = "" if path.suffix == ".toml" else "; a file is meant here, not a campaign's id"
        raise ConfigError(
            f"The campaign file {path} cannot be read ({reason}); check the path{meant}."
        ) from error
    if len(data) > FILE_BYTES:
        raise ConfigError(
            f"The campaign file {path} holds more than {FILE_BYTES / 1e6:g} MB; shorten it."
        )
    try:
        return tomllib.loads(data.decode())
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{path} is not TOML ({_cut(str(error))}); correct it.") from error


def _with_digest(
    prompt_list: PromptList, prompts: list[str], settings: list[PromptSettings]
) -> PromptList:
    digest = digest_prompts(map(prompt_id_of, prompts), settings)
    return prompt_list.model_copy(update={"digest": digest, "count": len(prompts)})


def _resolve_verification(campaign: Campaign, folder: Path) -> Verification | None:
    wanted, sampling = campaign.verification, campaign.sampling
    if wanted is None:
        return None
    path = folder / wanted.training_set
    named = {"training_set": str(path)}
    if wanted.folder:
        named["folder"] = str(folder / wanted.folder)
    if wanted.controls:
        controls = open_set(
            folder / wanted.controls, "set of control pictures", PictureColumn(wanted.column)
        )
        named["controls"] = str(controls.contents.path)
    resolved = wanted.model_copy(update=named)
    fingerprint = fingerprint_training_set(path, PictureColumn.of(resolved))
    try:
        refuse_unreadable(resolved, sampling.width, sampling.height)
    except TrainingSetError as error:
        raise ConfigError(str(error)) from error
    return resolved.model_copy(update={"fingerprint": fingerprint})


def _known_keys(record: type[BaseModel], location: tuple[int | str, ...]) -> list[str]:
    names = [part for part in location if isinstance(part, str)]
    for name in names:
        annotation = record.model_fields[name].annotation
        options = getattr(annotation, "__args__", (annotation,))
        record = next(o for o in options if isinstance(o, type) and issubclass(o, BaseModel))
    hidden = FILLED_IN.get(".".join(names), frozenset())
    return [name for name in record.model_fields if name not in hidden]
