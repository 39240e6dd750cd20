"""A resolved campaign → a campaign in the store."""

import platform
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime

from seedsweep import __version__
from seedsweep.scheduler.campaign.plan import Plan, cut_seeds
from seedsweep.scheduler.quantities import count_words
from seedsweep.storage import keys
from seedsweep.storage.campaigns import store_campaign
from seedsweep.storage.record import SeedRange
from seedsweep.storage.records import Submission
from seedsweep.storage.settings.campaign import Campaign
from seedsweep.storage.settings.model import Model
from seedsweep.storage.settings.sampling import PromptSettings
from seedsweep.storage.shards import list_recipes, list_shards
from seedsweep.storage.store import Store
from seedsweep.workers.models.folder import read_index, read_json
from seedsweep.workers.models.local_folder import folder_here
from seedsweep.workers.pipelines.lacking_package import LackingPackageError
from seedsweep.workers.pipelines.prompt_tokens import (
    Tokenizer,
    find_unseen,
    open_tokenizers,
    read_as,
    unseen_words,
)


def stored_ranges(
    store: Store,
    campaign: Campaign,
    prompts: Sequence[str] = (),
    settings: Sequence[PromptSettings] = (),
) -> Counter[SeedRange]:
    """Count, over all prompts, the seed ranges that shards of this recipe hold.

    If the prompts have settings of their own, each one's shards of its own recipe count, as if its
    first seed were the campaign's.
    """
    if not settings:
        shards = list_shards(store, campaign.generation_id)
        return Counter(keys.parse_shard(key)[1] for key in shards)
    plan, stored = Plan(campaign, prompts, (), settings=settings), Counter[SeedRange]()
    places = {prompt_id: place for place, prompt_id in enumerate(plan.prompt_ids())}
    for key in list_recipes(store, plan.recipes()):
        prompt_id, seeds = keys.parse_shard(key)
        if (place := places.get(prompt_id)) is None:
            continue
        if plan.campaign_of(place).generation_id == keys.recipe_of(key):
            shared = campaign.shared_seeds(plan.settings_of(place), seeds)
            if shared is not None:
                stored[shared] += 1
    return stored


def plan_campaign(
    store: Store,
    campaign: Campaign,
    prompts: list[str],
    settings: Sequence[PromptSettings] = (),
) -> Plan:
    """Plan a campaign along what the store holds already; writes nothing.

    If this machine lacks a package of the model's tokenizers, what they make of the prompts is not
    looked at, and a note says so.
    """
    sampling = campaign.sampling
    stored = stored_ranges(store, campaign, prompts, settings)
    ends = [stage.seeds for stage in campaign.picture_stages]
    cuts = cut_seeds(campaign.seeds, sampling.images_per_unit, stored, ends)
    tokenizers, lacking = _tokenizers(campaign.model)
    unseen = find_unseen(
        tokenizers, read_as(campaign.model, prompts), [own.made for own in settings]
    )
    plan = Plan(campaign, prompts, cuts, unseen=unseen, settings=settings)
    notes = (
        *_seeds_alone_words(campaign),
        *settings_words(campaign, settings),
        *_model_words(campaign.model, prompts),
        *lacking,
        *unseen_words(unseen, tokenizers, prompts, len(campaign.seeds), plan.shares),
    )
    return replace(plan, notes=notes)


def require_packages(plan: Plan) -> None:
    """Raise `ConfigError` if this machine lacks a package of the model's tokenizers, and so cannot
    load the model."""
    if plan.unseen is None:
        open_tokenizers(plan.campaign.model)


def _tokenizers(model: Model) -> tuple[list[Tokenizer], tuple[str, ...]]:
    """The model's tokenizers, if they can be loaded here; else which package is wanting, in a
    sentence."""
    try:
        return open_tokenizers(model), ()
    except LackingPackageError as error:
        return [], (
            f"Which prompts are cut, or the same to the model, was not looked at: the {error.part} "
            f"needs the package {error.package}, which the machine that submits lacks. Every "
            f"worker's host needs it: pip install {error.package}.",
        )


def _seeds_alone_words(campaign: Campaign) -> tuple[str, ...]:
    """That there are no prompts, where nothing but the campaign file says that none are wanted: a
    diffusers model that takes prompts was refused."""
    if not campaign.is_unconditional or campaign.model.pipeline == "diffusers":
        return ()
    return (
        "There is no [prompts], so the pipeline is given the empty prompt, and makes pictures of "
        "seeds alone; if it takes prompts, name a file of them.",
    )


def settings_words(campaign: Campaign, settings: Sequence[PromptSettings]) -> Iterator[str]:
    """Which settings prompts have of their own, and from what to what."""
    for name, column in campaign.own_columns.named.items():
        values = {own.given[name] for own in settings}
        numbers = [value for value in values if isinstance(value, int | float)]
        if len(values) == 1:
            said = f"{next(iter(values))!r} in all of them"
        elif numbers:
            said = f"{min(numbers):.15g} to {max(numbers):.15g}, {len(values):,} different ones"
        else:
            said = f"{len(values):,} different ones"
        yield (
            f"Each prompt has its own {name.replace('_', ' ')}, from the column {column!r}: {said}."
        )
    recipes = len({own.recipe for own in settings})
    if recipes > 1:
        yield (
            f"So the prompts have {recipes:,} recipes; the settings that all of them share are "
            "those of [sampling]."
        )


def _model_words(model: Model, prompts: list[str]) -> Iterator[str]:
    """What is not as it stands in the campaign file: texts before prompts, a checkpoint's kind."""
    for adapter in model.adapters:
        lacking = sum(adapter.trigger not in prompt for prompt in prompts)
        if lacking:
            yield (
                f"The model is given the trigger {adapter.trigger!r} before "
                f"{count_words(lacking, 'prompt')} without it, with a space between."
            )
    folder = folder_here(model)
    if model.is_single_file and folder:
        sampler = read_json(folder / "scheduler" / "scheduler_config.json") or {}
        kind = (read_index(folder) or {}).get("_class_name")
        yield (
            f"The checkpoint {model.path} is read as its configuration says: a {kind} with "
            f"{sampler.get('_class_name')}, which predicts "
            f"{sampler.get('prediction_type', 'epsilon')}."
        )


def submit_campaign(store: Store, plan: Plan) -> Submission:
    """Store a campaign, once; the same one again gives the first submission."""
    submission = Submission(
        campaign=plan.campaign,
        cuts=plan.cuts,
        submitted_at=datetime.now(UTC).isoformat(timespec="milliseconds"),
        versions=f"seedsweep {__version__}, Python {platform.python_version()}",
        notes=plan.notes,
        unseen=plan.unseen,
    )
    return store_campaign(store, submission, plan.prompts, plan.settings)
