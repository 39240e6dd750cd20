"""A resolved campaign → a campaign in the store."""

import platform
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime

from seedsweep import __version__
from seedsweep.scheduler.campaign.plan import Plan, cut_seeds
from seedsweep.storage import keys
from seedsweep.storage.campaigns import store_campaign
from seedsweep.storage.records import Campaign, SeedRange, Submission
from seedsweep.storage.settings.model import Model
from seedsweep.storage.shards import list_shards
from seedsweep.storage.store import Store
from seedsweep.workers.models.folder import read_index, read_json
from seedsweep.workers.models.folder_check import folder_here
from seedsweep.workers.pipelines.prompt_tokens import (
    find_unseen,
    open_tokenizers,
    read_as,
    unseen_words,
)


def stored_ranges(store: Store, campaign: Campaign) -> Counter[SeedRange]:
    """Count, over all prompts, the seed ranges that shards of this recipe hold."""
    shards = list_shards(store, campaign.generation_id)
    return Counter(keys.parse_shard(key)[1] for key in shards)


def plan_campaign(store: Store, campaign: Campaign, prompts: list[str]) -> Plan:
    """Plan a campaign along what the store holds already; writes nothing."""
    sampling = campaign.sampling
    ends = [stage.seeds for stage in campaign.picture_stages]
    stored = stored_ranges(store, campaign)
    cuts = cut_seeds(campaign.seeds, sampling.images_per_unit, stored, ends)
    tokenizers = open_tokenizers(campaign.model)
    unseen = find_unseen(tokenizers, read_as(campaign.model, prompts))
    notes = (*_model_words(campaign.model, prompts), *unseen_words(unseen, tokenizers, prompts))
    return Plan(campaign, prompts, cuts, notes, unseen)


def _model_words(model: Model, prompts: list[str]) -> Iterator[str]:
    """What is not as it stands in the campaign file: texts before prompts, a checkpoint's kind."""
    for adapter in model.adapters:
        lacking = sum(adapter.trigger not in prompt for prompt in prompts)
        if lacking:
            yield (
                f"{lacking:,} prompts lack the trigger {adapter.trigger!r}; the model is given it "
                "before each of them, with a space between."
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
    return store_campaign(store, submission, plan.prompts)
