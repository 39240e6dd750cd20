"""A resolved campaign → a campaign in the store."""

import platform
from collections import Counter
from datetime import UTC, datetime

from seedsweep import __version__
from seedsweep.scheduler.campaign.plan import Plan, cut_seeds
from seedsweep.storage import keys
from seedsweep.storage.campaigns import store_campaign
from seedsweep.storage.records import Campaign, SeedRange, Submission
from seedsweep.storage.shards import list_shards
from seedsweep.storage.store import Store
from seedsweep.workers.pipelines.prompt_tokens import find_unseen, open_tokenizers, unseen_words


def stored_ranges(store: Store, campaign: Campaign) -> Counter[SeedRange]:
    """Count, over all prompts, the seed ranges that shards of this recipe hold."""
    shards = list_shards(store, campaign.generation_id)
    return Counter(keys.parse_shard(key)[1] for key in shards)


def plan_campaign(store: Store, campaign: Campaign, prompts: list[str]) -> Plan:
    """Plan a campaign along what the store holds already; writes nothing."""
    sampling = campaign.sampling
    stored, ends = stored_ranges(store, campaign), [stage.seeds for stage in campaign.stages]
    cuts = cut_seeds(campaign.seeds, sampling.images_per_unit, stored, ends)
    tokenizers = open_tokenizers(campaign.model)
    unseen = find_unseen(tokenizers, prompts)
    return Plan(campaign, prompts, cuts, unseen_words(unseen, tokenizers, prompts), unseen)


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
