"""How what a campaign will cost is reckoned, before it is run: bytes, objects, hours and money."""

from collections.abc import Sequence
from statistics import fmean

from seedsweep.scheduler.campaign.descriptions import part_words
from seedsweep.scheduler.campaign.plan import Plan
from seedsweep.scheduler.campaign.stages import loss_words
from seedsweep.scheduler.campaign.window import window_size
from seedsweep.scheduler.costs.estimate import Estimate
from seedsweep.scheduler.costs.funnel_cost import funnel_costs, padding_words
from seedsweep.scheduler.costs.stock import Stock
from seedsweep.scheduler.prompt_lists.row_counts import RowCounts
from seedsweep.storage.result_parts import PART_PROMPTS, PART_SECONDS, SMALL_PARTS
from seedsweep.storage.settings.sampling import PromptSettings, Sampling
from seedsweep.workers.generation.throughput import Sizes, Throughput

PNG_BYTES_PER_PIXEL = 1.6
"""412 KB for a photograph of 512 px; noise takes about 3."""

DESCRIPTOR_BYTES_PER_PIXEL = 2 / 16
ROW_BYTES = 200

CAMPAIGN_OBJECTS = 4
"""The campaign, its prompts, what is wanted of it, and which of its units are done."""

UNIT_BYTES = 1_900
"""A unit in the window, in the broker: 1.6 KB for its message with a prompt of 70 letters, 0.3 KB
for its token and lease. Measured on Valkey 9 by `INFO memory`: 1,451 bytes a message, and 2,151
with a prompt of 300 letters; 43 bytes for token and lease of 200 units, more of many units."""

READY_BYTES = 71
"""A prompt that waits for its analysis: `INFO memory` of 350,000 of them in Valkey 9."""

STATE_BYTES = 1_000
"""What every campaign has in the broker, however small it is."""

SCORES_BYTES, SEED_BYTES = 2_800, 15
"""A screen's shard of a prompt of 70 letters, and what each seed adds; with a prompt of 300 letters
it has 1.2 KB more. Measured by the length of what `encode_scores` gives, of 1 to 500 seeds."""


def usual_sizes(sampling: Sampling, settings: Sequence[PromptSettings] = ()) -> Sizes:
    """The sizes of shards of photographs, if nothing was measured; on average, if prompts have
    `settings` of their own."""
    sizes = [(own.width or sampling.width, own.height or sampling.height) for own in settings]
    pixels = fmean(w * h for w, h in sizes or [(sampling.width, sampling.height)])
    described = pixels * DESCRIPTOR_BYTES_PER_PIXEL + ROW_BYTES
    return Sizes(0, pixels * PNG_BYTES_PER_PIXEL + described, 0, described, measured=False)


def reckon(
    stock: Stock,
    rate: Throughput | None,
    sizes: Sizes,
    devices: int = 1,
    price: float | None = None,
    rows: RowCounts | None = None,
) -> Estimate:
    """Estimate what a campaign takes at this rate; there must be one if anything is missing.

    `rows` tells what became of the rows of its prompts file.
    """
    plan = stock.plan
    images, units, units_done = plan.image_count, len(plan), int(stock.done.sum())
    left, units_left = images - stock.images_done, units - units_done
    scores, scores_left = len(plan.prompts) * plan.screens, stock.scores_left
    per_second = rate.images_per_second / stock.fill(rate) if rate else None
    hours = stock.places_left / per_second / 3600 if per_second else 0.0
    parts = _parts(stock.prompts_left, hours / devices)
    all_parts = _parts(len(plan.prompts), hours / devices)
    keeps_all = plan.campaign.keep == "all"
    receipts = 0 if keeps_all else len(plan.prompts)
    broker = state_bytes(len(plan), len(plan.prompts), _window(stock, devices, rate))
    score_bytes = SCORES_BYTES + SEED_BYTES * fmean([s.seeds for s in plan.campaign.screens] or [0])

    def stored(units: int, images: int, scores: int) -> int:
        made = (units - scores) * sizes.shard + images * sizes.shard_image
        return int(made + scores * score_bytes)

    shard_bytes = stored(units, images, scores)
    receipt_bytes = int(receipts * sizes.receipt + images * sizes.receipt_image)
    kept = units if keeps_all else receipts
    return Estimate(
        campaign_id=plan.campaign.campaign_id,
        prompts=len(plan.prompts),
        rows=rows or RowCounts(),
        units=units,
        units_done=units_done,
        images=images,
        images_done=stock.images_done,
        bytes=shard_bytes,
        hours=hours,
        bytes_measured=sizes.measured,
        bytes_to_write=stored(units_left, left, scores_left),
        objects=units_left
        + parts
        + CAMPAIGN_OBJECTS
        + _cohorts(plan)
        + (0 if keeps_all else stock.prompts_left),
        keep=plan.campaign.keep,
        kept_bytes=shard_bytes if keeps_all else receipt_bytes,
        kept_objects=kept + all_parts + CAMPAIGN_OBJECTS,
        broker_bytes=broker,
        broker_bytes_at_most=broker + READY_BYTES * len(plan.prompts),
        devices=devices,
        wall_hours=hours / devices,
        price=price,
        cost=None if price is None else price * hours,
        rate=rate if left else None,
        left_out=stock.left_out,
        notes=plan.notes,
        stages=funnel_costs(plan, per_second, price),
        images_to_share=stock.images_to_share,
        stages_pad=padding_words(plan),
        stages_lose=loss_words(plan.campaign),
        parts=part_words(plan.campaign.model),
    )


def _cohorts(plan: Plan) -> int:
    """How many decisions of cohorts are stored."""
    stages = [stage for stage in plan.campaign.stages if stage.share is not None]
    return sum(-(-len(plan.prompts) // stage.cohort) for stage in stages)


def state_bytes(units: int, prompts: int, window: int) -> int:
    """The broker's bytes for a campaign of which no prompt waits for its analysis.

    A bit for every unit, one for every prompt, and the units in the window with their messages.
    """
    return STATE_BYTES + -(-units // 8) + -(-prompts // 8) + window * UNIT_BYTES


def _window(stock: Stock, devices: int, rate: Throughput | None) -> int:
    """How many units the scheduler keeps queued or claimed for so many devices, by its own rule."""
    left = len(stock.plan) - int(stock.done.sum())
    images_per_unit = stock.plan.image_count / len(stock.plan)
    pace = devices * rate.images_per_second / images_per_unit if rate else 0.0
    return min(left, window_size(devices, pace))


def _parts(prompts: int, wall_hours: float) -> int:
    """At most so many parts hold the results of these prompts, if one analyst stores them all.

    A part is stored when it is full, and otherwise every `PART_SECONDS` that give a result; every
    `SMALL_PARTS` of them become one.
    """
    full, timed = -(-prompts // PART_PROMPTS), int(wall_hours * 3600 / PART_SECONDS) + 1
    return sum(divmod(min(prompts, full + timed), SMALL_PARTS))
