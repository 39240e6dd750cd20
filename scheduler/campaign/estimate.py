"""What a campaign will cost, before it is run."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from seedsweep.scheduler.campaign.descriptions import part_words
from seedsweep.scheduler.campaign.funnel_cost import (
    FunnelCost,
    funnel_costs,
    padding_words,
)
from seedsweep.scheduler.campaign.plan import Plan
from seedsweep.scheduler.campaign.row_counts import RowCounts
from seedsweep.scheduler.campaign.stages import loss_words
from seedsweep.scheduler.campaign.stock import Stock
from seedsweep.scheduler.campaign.window import window_size
from seedsweep.scheduler.quantities import count_words, duration_words, number_words, size_words
from seedsweep.storage.result_parts import PART_PROMPTS, PART_SECONDS, SMALL_PARTS
from seedsweep.storage.settings.sampling import PromptSettings, Sampling
from seedsweep.workers.generation.throughput import Sizes, Throughput
from seedsweep.workers.training.kinds import left_out_words

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


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a campaign holds, what of it is stored, and what the rest takes.

    `bytes` is an estimate of all its shards, `bytes_to_write` of those that are missing, `objects`
    at most so many are written; `kept_bytes` and `kept_objects` are in the store once all is
    analysed, if few prompts are flagged. `hours` are those of one device for the missing images: 0
    if none is; `wall_hours` of all `devices` together. `broker_bytes` is what the broker holds
    while analysts keep pace, `broker_bytes_at_most` if none serves. `cost` is what the hours
    cost at `price` for one; None without a price. `rate` is None if all is done. `left_out`: how
    many files of the training set's folder are not read, by kind. `rows` are those of the prompts
    file, `notes` the plan's; `parts` what the model is made of beside its own folder. All of it is
    the full attack; `stages` tell what the campaign's stages make of it, nothing stored yet,
    `stages_pad` in a sentence which of them leave places of batches empty, and `stages_lose` what
    they may miss. `images_to_share`: of the images that are not done, those that an earlier
    prompt's shards give, since both are the same to the model; they take no hours.
    """

    campaign_id: str
    prompts: int
    rows: RowCounts
    units: int
    units_done: int
    images: int
    images_done: int
    bytes: int
    hours: float
    bytes_measured: bool
    bytes_to_write: int
    objects: int
    keep: str
    kept_bytes: int
    kept_objects: int
    broker_bytes: int
    broker_bytes_at_most: int
    devices: int
    wall_hours: float
    price: float | None
    cost: float | None
    rate: Throughput | None
    left_out: dict[str, int]
    notes: tuple[str, ...]
    stages: tuple[FunnelCost, ...] = ()
    stages_pad: str = ""
    stages_lose: str = ""
    parts: tuple[str, ...] = ()
    images_to_share: int = 0

    def __str__(self) -> str:
        return "\n".join(self.lines)

    @property
    def lines(self) -> list[str]:
        """All of it in words, line by line."""
        lines = [f"{label:<11}{text}" for label, text in self._facts() if text]
        return [*lines, *self.rows.remarks]

    def _facts(self) -> list[tuple[str, str]]:
        note = "" if self.bytes_measured else " (not measured)"
        left = self.units - self.units_done
        return [
            ("Campaign", self.campaign_id),
            *(("Model", part) for part in self.parts),
            ("Prompts", f"{self.prompts:,}"),
            ("Rows", str(self.rows) if self.rows.read else ""),
            ("Units", f"{self.units:,}, {self.units_done:,} of them stored"),
            *(("Note", note) for note in self.notes),
            ("Images", self._images()),
            ("Throughput", _rate(self.rate)),
            ("Work", self._work()),
            *(("Stages", self._stages(cost)) for cost in self.stages),
            ("", self.stages_pad),
            ("", self.stages_lose),
            ("Wall time", self._wall_time()),
            ("Money", self._money()),
            ("All shards", f"about {size_words(self.bytes)} in {self.units:,} objects{note}"),
            (
                "To write",
                f"about {size_words(self.bytes_to_write)} in {count_words(left, 'shard')}{note}",
            ),
            ("Objects", f"at most {self.objects:,} are written, results included"),
            ("Kept", self._kept(note)),
            (
                "Broker",
                f"about {size_words(self.broker_bytes)} of memory, and "
                f"{size_words(self.broker_bytes_at_most)} if no analyst serves",
            ),
            ("Left out", self._left_out()),
        ]

    def _images(self) -> str:
        attack = " by the full attack" if self.stages else ""
        shared = f" and {self.images_to_share:,} shared" if self.images_to_share else ""
        to_make = self.images - self.images_done - self.images_to_share
        return f"{self.images:,}, {to_make:,} to be made{shared}{attack}"

    def _work(self) -> str:
        if not self.hours:
            return "none, all is stored"
        what = "GPU" if self.rate and self.rate.device.startswith("cuda") else "device"
        if self.hours < 48:
            return f"{number_words(self.hours)} {what}-hours"
        return f"{number_words(self.hours / 24)} {what}-days"

    @staticmethod
    def _stages(cost: FunnelCost) -> str:
        money = "" if cost.cost is None else f", {cost.cost:,.2f}"
        return (
            f"{count_words(cost.images, 'image')}, {number_words(cost.hours)} device-hours{money}, "
            f"{cost.of_full:.1%} of the full attack, if {number_words(100 * cost.goes_on)}% of the "
            "prompts go on after the first stage"
        )

    def _wall_time(self) -> str:
        devices = "one device" if self.devices == 1 else f"{self.devices:,} devices"
        return f"{duration_words(3600 * self.wall_hours)} on {devices}" if self.hours else ""

    def _money(self) -> str:
        if self.cost is None:
            return ""
        cost = f"{self.cost:,.2f}" if self.cost >= 1 else number_words(self.cost)
        return f"{cost} at {self.price:g} for a device-hour"

    def _left_out(self) -> str:
        return f"{left_out_words(self.left_out)} of the training set" if self.left_out else ""

    def _kept(self, note: str) -> str:
        if self.keep == "all":
            return ""
        return (
            f"at the end about {size_words(self.kept_bytes)} in {self.kept_objects:,} objects, and "
            f"the shards of flagged prompts{note}"
        )


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


def _rate(rate: Throughput | None) -> str:
    if rate is None:
        return ""
    pace = f"{number_words(rate.images_per_second)} images/s"
    if not rate.rounds:
        return f"{pace}, as given"
    # One round has no spread.
    lowest, highest = number_words(rate.lowest), number_words(rate.highest)
    spread = f"{lowest} to {highest} in " if rate.rounds > 1 else ""
    return (
        f"{pace} on {rate.device} ({spread}{count_words(rate.rounds, 'round')}; "
        f"{count_words(rate.images, 'image')} in {number_words(rate.seconds)} s)"
    )
