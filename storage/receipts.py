"""Receipts: what is kept of an analysed prompt if its images are not. One Parquet object each.

The columns of a shard without the picture, one row per image in the order of the seeds, and in the
metadata what was said of them. Receipts belong to a campaign: it counts a unit as done if its
shard exists or a receipt of its own covers it.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import pyarrow as pa

from seedsweep.storage import keys
from seedsweep.storage.corrupt import corrupt_where_wrong
from seedsweep.storage.image_rows import (
    DESCRIBED,
    REMEDY,
    Described,
    check_rows,
    encode_rows,
    fields_of,
    row_of,
    with_same_as,
)
from seedsweep.storage.parquet import read_table
from seedsweep.storage.prompt_results import PromptResult
from seedsweep.storage.record import Record, SeedRange, digest
from seedsweep.storage.settings.campaign import Campaign
from seedsweep.storage.shards import list_fan_out
from seedsweep.storage.store import Store

_VERDICT = b"seedsweep"


class _Verdict(Record):
    analysis_id: str
    result: PromptResult


@dataclass(frozen=True, slots=True)
class Receipt:
    """All images of a prompt without their pictures, by ascending seed, and what the analysis
    `analysis_id` said of exactly these images."""

    images: tuple[Described, ...]
    analysis_id: str
    result: PromptResult

    def of(self, seeds: SeedRange) -> tuple[Described, ...]:
        """The images of these seeds."""
        first = self.images[0].seed
        return self.images[seeds.first - first : seeds.last - first + 1]


def store_receipt(store: Store, campaign: Campaign, receipt: Receipt) -> None:
    """Store a prompt's receipt, in place of an earlier one.

    Raises `ValueError` unless it holds the campaign's seeds, each once and in order, and the result
    is that of these images.
    """
    seeds = [image.seed for image in receipt.images]
    if seeds != list(campaign.seeds) or receipt.result.seeds_digest != digest(seeds):
        raise ValueError("A receipt needs each seed of its campaign once, in order, and judged.")
    text = receipt.result.prompt
    rows = [row_of(text, campaign.generation_id, image) for image in receipt.images]
    verdict = _Verdict(analysis_id=receipt.analysis_id, result=receipt.result)
    table = pa.Table.from_pylist(rows, DESCRIBED)
    table = table.replace_schema_metadata({_VERDICT: verdict.model_dump_json()})
    table = with_same_as(table, receipt.images)
    store.replace(
        receipt_key(campaign, receipt.result.prompt_id), encode_rows(table, DESCRIBED.names, "zstd")
    )


def read_receipt(store: Store, campaign: Campaign, prompt_id: str) -> Receipt | None:
    """Read a prompt's receipt; None if there is none.

    Raises `ShardCorruptError`, naming its key, for anything but what was written for this prompt
    of this campaign.
    """
    key = receipt_key(campaign, prompt_id)
    data = store.read(key)
    if data is None:
        return None
    campaign_id, generation_id = campaign.campaign_id, campaign.generation_id

    def key_of(recipe: str, prompt_id: str, seeds: SeedRange) -> str:
        return keys.receipt(campaign_id, prompt_id, seeds) if recipe == generation_id else ""

    with corrupt_where_wrong(f"The receipt {key}", REMEDY):
        table = read_table(data)
        check_rows(table, DESCRIBED, key, key_of)
        images = tuple(Described(**fields) for _, fields in fields_of(table))
        verdict = _Verdict.model_validate_json((table.schema.metadata or {})[_VERDICT])
        judged = verdict.result.prompt_id, verdict.result.seeds_digest
        if judged != (prompt_id, digest([image.seed for image in images])):
            raise ValueError("the verdict on other images")
        return Receipt(images, verdict.analysis_id, verdict.result)


def is_done(store: Store, campaign: Campaign, prompt_id: str, seeds: SeedRange) -> bool:
    """Whether the prompt's unit of these seeds counts as done: by its shard, or by a receipt."""
    shard = keys.shard(campaign.generation_id, prompt_id, seeds)
    return store.exists(shard) or store.exists(receipt_key(campaign, prompt_id))


def list_receipts(store: Store, campaign_id: str) -> Iterator[str]:
    """Yield the keys of all receipts of a campaign, ascending, and what else lies among them."""
    return list_fan_out(store, keys.receipts_prefix(campaign_id))


def receipt_key(campaign: Campaign, prompt_id: str) -> str:
    """The key of a prompt's receipt."""
    seeds = SeedRange(first=campaign.seeds[0], last=campaign.seeds[-1])
    return keys.receipt(campaign.campaign_id, prompt_id, seeds)
