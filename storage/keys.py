"""Record → object key: the only place where a path inside the store is spelled.

Keys are relative, use `/`, and are built from ids and numbers alone, so none can leave the store.
"""

import contextlib
import re

from pydantic import ValidationError

from storage.errors import ShardCorruptError
from storage.records import SeedRange, WorkUnit

CAMPAIGNS = "campaigns/"
_SHARD = re.compile(r"shards/([0-9a-f]{16})/[0-9a-f]{2}/([0-9a-f]{16})/(\d+)-(\d+)\.parquet")


def campaign(campaign_id: str) -> str:
    """The resolved campaign and the cut of its seeds into units."""
    return f"{CAMPAIGNS}{campaign_id}/campaign.json"


def prompts(campaign_id: str) -> str:
    """The campaign's prompts, in the order of its units."""
    return f"{CAMPAIGNS}{campaign_id}/prompts.parquet"


def control(campaign_id: str) -> str:
    """What the user wants of the campaign."""
    return f"{CAMPAIGNS}{campaign_id}/control.json"


def parked_prefix(campaign_id: str) -> str:
    """Where the campaign's parked units are."""
    return f"{CAMPAIGNS}{campaign_id}/parked/"


def parked(campaign_id: str, index: int) -> str:
    """One parked unit and its reason."""
    return f"{parked_prefix(campaign_id)}{index}.json"


def shards_prefix(generation_id: str) -> str:
    """Where all shards of one recipe are."""
    return f"shards/{generation_id}/"


def shard(generation_id: str, prompt_id: str, seeds: SeedRange) -> str:
    """The one object of a unit: a pure function of recipe, prompt and seeds."""
    fan_out = f"{shards_prefix(generation_id)}{prompt_id[:2]}/{prompt_id}"
    return f"{fan_out}/{seeds.first}-{seeds.last}.parquet"


def unit_shard(unit: WorkUnit) -> str:
    """The key of the shard that the unit makes."""
    return shard(unit.generation_id, unit.prompt_id, unit.seeds)


def parse_shard(key: str) -> tuple[str, SeedRange]:
    """Take a shard's key apart: its prompt id and its seeds.

    Raises `ShardCorruptError` for any other key.
    """
    if found := _SHARD.fullmatch(key):
        generation_id, prompt_id, first, last = found.groups()
        with contextlib.suppress(ValidationError):
            seeds = SeedRange(first=int(first), last=int(last))
            if key == shard(generation_id, prompt_id, seeds):
                return prompt_id, seeds
    raise ShardCorruptError(f"{key!r} is not the key of a shard; move it out of the store.")


def results_prefix(analysis_id: str, campaign_id: str) -> str:
    """Where one analysis of a campaign keeps its parts."""
    return f"results/{analysis_id}/{campaign_id}/"


def results_part(analysis_id: str, campaign_id: str, name: str) -> str:
    """One part of the results of an analysis."""
    return f"{results_prefix(analysis_id, campaign_id)}part-{name}.parquet"
