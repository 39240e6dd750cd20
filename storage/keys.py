"""Record → object key: the only place where a path inside the store is spelled.

Keys are relative, use `/`, and are built from ids, numbers and checked paths alone, so none can
leave the store.
"""

import contextlib
import re

from pydantic import ValidationError

from storage.errors import ConfigError, ShardCorruptError
from storage.records import SeedRange, WorkUnit

CAMPAIGNS = "campaigns/"
RESULTS = "results/"
RELATIVE_PATH = r"^[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*)*$"
"""A path that a key can hold: neither absolute, nor hidden, nor with a `..` in it."""

_FINGERPRINT = re.compile(r"(?:sha256|commit):([0-9a-f]{40}(?:[0-9a-f]{24})?)")
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
    return f"{RESULTS}{analysis_id}/{campaign_id}/"


def results_part(analysis_id: str, campaign_id: str, name: str) -> str:
    """One part of the results of an analysis."""
    return f"{results_prefix(analysis_id, campaign_id)}part-{name}.parquet"


def model_digits(fingerprint: str) -> str:
    """The hex digits of the fingerprint of a model's files: a hash's 64, or a commit's 40.

    Raises `ConfigError` for any other fingerprint.
    """
    if found := _FINGERPRINT.fullmatch(fingerprint):
        return found[1]
    raise ConfigError(
        f"{fingerprint!r} is not the fingerprint of a model's files; submit the campaign again."
    )


def model_prefix(fingerprint: str) -> str:
    """Where a model's staged files are."""
    return f"model/{model_digits(fingerprint)}/"


def model_manifest(fingerprint: str) -> str:
    """The list of a model's staged files: written last, so a model that has one is whole."""
    return f"{model_prefix(fingerprint)}manifest.json"


def model_file(fingerprint: str, relative_path: str) -> str:
    """One staged file of a model, by its path in the model's folder.

    Raises `ConfigError` for a path that no key can hold.
    """
    if not re.fullmatch(RELATIVE_PATH, relative_path):
        raise ConfigError(
            f"The model's file {relative_path!r} has a name that the store cannot hold; rename it "
            "with letters, digits, '.', '_' and '-' alone, or remove it."
        )
    return f"{model_prefix(fingerprint)}files/{relative_path}"


def model_part(fingerprint: str, relative_path: str, index: int) -> str:
    """One part of a staged file that is too large for one object."""
    return f"{model_file(fingerprint, relative_path)}.part-{index:05d}"
