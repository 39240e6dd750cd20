"""Record → object key: the only place where a path inside the store is spelled.

Keys are relative, use `/`, and are built from ids, numbers and checked paths alone, so none can
leave the store.
"""

import re
from functools import lru_cache
from typing import Literal

from pydantic import ValidationError

from seedsweep.storage.errors import ConfigError, ShardCorruptError
from seedsweep.storage.record import SeedRange
from seedsweep.storage.records import WorkUnit

FindingKind = Literal[
    "verifications", "calibrations", "comparisons", "duplications", "second-models"
]
"""What is kept of a campaign beside its results."""

CAMPAIGNS = "campaigns/"
RESULTS = "results/"
RELATIVE_PATH = r"^[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*)*$"
"""A path that a key can hold: neither absolute, nor hidden, nor with a `..` in it."""

_FINGERPRINT = re.compile(r"(?:sha256|commit):([0-9a-f]{40}(?:[0-9a-f]{24})?)")
_NUMBER = r"(0|[1-9]\d{0,18})"
_FANNED_OUT = rf"([0-9a-f]{{2}})/(\1[0-9a-f]{{14}})/{_NUMBER}-{_NUMBER}\.parquet"
_RECEIPT = re.compile(rf"campaigns/[^/]+/receipts/{_FANNED_OUT}")
_MASK = re.compile(r"results/[^/]+/[^/]+/masks/[0-9a-f]{16}-\d+\.png")
_EXTRACTIONS = re.compile(r"results/[^/]+/[^/]+/extractions\.parquet")
_RESULTS_PART = re.compile(r"results/([^/]+)/([^/]+)/part-[^/]+\.parquet")
_SHARD = re.compile(rf"shards/[0-9a-f]{{16}}/{_FANNED_OUT}")
_SCORES = re.compile(rf"scores/[0-9a-f]{{16}}/{_FANNED_OUT}")


def campaign(campaign_id: str) -> str:
    """The resolved campaign and the cut of its seeds into units."""
    return f"{CAMPAIGNS}{campaign_id}/campaign.json"


def prompts(campaign_id: str) -> str:
    """The campaign's prompts, in the order of its units."""
    return f"{CAMPAIGNS}{campaign_id}/prompts.parquet"


def control(campaign_id: str) -> str:
    """What the user wants of the campaign."""
    return f"{CAMPAIGNS}{campaign_id}/control.json"


def done(campaign_id: str) -> str:
    """Which of the campaign's units were done when that was last noted."""
    return f"{CAMPAIGNS}{campaign_id}/done.bin"


def served(campaign_id: str) -> str:
    """When the campaign was last seen to be served."""
    return f"{CAMPAIGNS}{campaign_id}/served.json"


def findings_prefix(campaign_id: str, kind: FindingKind) -> str:
    """The folder of the findings of one command for the campaign."""
    return f"{CAMPAIGNS}{campaign_id}/{kind}/"


def finding(campaign_id: str, kind: FindingKind, name: str) -> str:
    """One of these: `name` is a hash of what was sought or found, of a comparison
    and of a second model the id of the other campaign."""
    return f"{findings_prefix(campaign_id, kind)}{name}.json"


def parked_prefix(campaign_id: str) -> str:
    """Where the campaign's parked units are."""
    return f"{CAMPAIGNS}{campaign_id}/parked/"


def parked(campaign_id: str, index: int) -> str:
    """One parked unit and its reason."""
    return f"{parked_prefix(campaign_id)}{index}.json"


def promotions_prefix(campaign_id: str) -> str:
    """Where what was decided of the campaign's cohorts lies."""
    return f"{CAMPAIGNS}{campaign_id}/promotions/"


def promotion(campaign_id: str, stage: int, cohort: int) -> str:
    """Which prompts of a cohort go on after a stage; cohorts count from 0."""
    return f"{promotions_prefix(campaign_id)}{stage}-{cohort}.json"


def receipts_prefix(campaign_id: str) -> str:
    """Where the campaign's receipts are."""
    return f"{CAMPAIGNS}{campaign_id}/receipts/"


def receipt(campaign_id: str, prompt_id: str, seeds: SeedRange) -> str:
    """What stays of a prompt's images of these seeds: a pure function of campaign and both."""
    fan_out = f"{receipts_prefix(campaign_id)}{prompt_id[:2]}/{prompt_id}"
    return f"{fan_out}/{seeds.first}-{seeds.last}.parquet"


def parse_receipt(key: str) -> tuple[str, SeedRange]:
    """Take a receipt's key apart: its prompt id and the seeds that it covers.

    Raises `ShardCorruptError` for any other key.
    """
    if match := _RECEIPT.fullmatch(key):
        _, prompt_id, first, last = match.groups()
        if seeds := _seeds(first, last):
            return prompt_id, seeds
    raise ShardCorruptError(f"{key!r} is not the key of a receipt; move it out of the store.")


def shards_prefix(generation_id: str) -> str:
    """Where all shards of one recipe are."""
    return f"shards/{generation_id}/"


def shard(generation_id: str, prompt_id: str, seeds: SeedRange) -> str:
    """The one object of a unit: a pure function of recipe, prompt and seeds."""
    fan_out = f"{shards_prefix(generation_id)}{prompt_id[:2]}/{prompt_id}"
    return f"{fan_out}/{seeds.first}-{seeds.last}.parquet"


def scores_prefix(screen_id: str) -> str:
    """Where all shards of one screen are."""
    return f"scores/{screen_id}/"


def scores(screen_id: str, prompt_id: str, seeds: SeedRange) -> str:
    """The one object of a screen's unit: a pure function of screen, prompt and seeds."""
    fan_out = f"{scores_prefix(screen_id)}{prompt_id[:2]}/{prompt_id}"
    return f"{fan_out}/{seeds.first}-{seeds.last}.parquet"


def parse_scores(key: str) -> tuple[str, SeedRange]:
    """Take the key of a screen's shard apart: its prompt id and its seeds.

    Raises `ShardCorruptError` for any other key.
    """
    if match := _SCORES.fullmatch(key):
        _, prompt_id, first, last = match.groups()
        if seeds := _seeds(first, last):
            return prompt_id, seeds
    raise ShardCorruptError(f"{key!r} is not the key of scores; move it out of the store.")


def unit_shard(unit: WorkUnit) -> str:
    """The key of the shard that the unit makes."""
    if unit.kind == "screen":
        return scores(unit.kind_id, unit.prompt_id, unit.seeds)
    return shard(unit.generation_id, unit.prompt_id, unit.seeds)


def recipe_of(shard_key: str) -> str:
    """The generation id that is part of a shard's key."""
    return shard_key.split("/", 2)[1]


def parse_shard(key: str) -> tuple[str, SeedRange]:
    """Take a shard's key apart: its prompt id and its seeds.

    Raises `ShardCorruptError` for any other key.
    """
    if match := _SHARD.fullmatch(key):
        _, prompt_id, first, last = match.groups()
        if seeds := _seeds(first, last):
            return prompt_id, seeds
    raise ShardCorruptError(f"{key!r} is not the key of a shard; move it out of the store.")


@lru_cache(maxsize=4096)
def _seeds(first: str, last: str) -> SeedRange | None:
    try:
        return SeedRange(first=int(first), last=int(last))
    except ValidationError:
        return None


def results_prefix(analysis_id: str, campaign_id: str) -> str:
    """Where one analysis of a campaign keeps its parts."""
    return f"{RESULTS}{analysis_id}/{campaign_id}/"


def results_part(analysis_id: str, campaign_id: str, name: str) -> str:
    """One part of the results of an analysis."""
    return f"{results_prefix(analysis_id, campaign_id)}part-{name}.parquet"


def mask(analysis_id: str, campaign_id: str, prompt_id: str, number: int) -> str:
    """Where in the picture a prompt's part is: the number counts the prompt's parts from 0."""
    return f"{results_prefix(analysis_id, campaign_id)}masks/{prompt_id}-{number}.png"


def extractions(analysis_id: str, campaign_id: str) -> str:
    """What the generations of a campaign without prompts extract from the training set."""
    return f"{results_prefix(analysis_id, campaign_id)}extractions.parquet"


def is_beside_parts(key: str) -> bool:
    """Whether the key is that of a mask or of extractions, which lie beside the results' parts."""
    return _MASK.fullmatch(key) is not None or _EXTRACTIONS.fullmatch(key) is not None


def parse_results_part(key: str) -> tuple[str, str]:
    """Take the key of a part of results apart: its analysis id and its campaign id.

    Raises `ShardCorruptError` for any other key.
    """
    if match := _RESULTS_PART.fullmatch(key):
        return match[1], match[2]
    raise ShardCorruptError(
        f"{key!r} is not the key of a part of results; move it out of the store."
    )


def model_digits(fingerprint: str) -> str:
    """The hex digits of the fingerprint of a model's files: a hash's 64, or a commit's 40.

    Raises `ConfigError` for any other fingerprint.
    """
    if match := _FINGERPRINT.fullmatch(fingerprint):
        return match[1]
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
