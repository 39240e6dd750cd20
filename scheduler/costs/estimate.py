"""What a campaign will cost, as a record and in words."""

from dataclasses import dataclass

from seedsweep.scheduler.costs.funnel_cost import FunnelCost
from seedsweep.scheduler.prompt_lists.row_counts import RowCounts
from seedsweep.scheduler.quantities import count_words, duration_words, number_words, size_words
from seedsweep.workers.generation.throughput import Throughput
from seedsweep.workers.training.file_kinds import left_out_words


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
