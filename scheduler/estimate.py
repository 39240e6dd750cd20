"""What a campaign will cost, before it is run."""

from dataclasses import dataclass

from scheduler.plan import Plan
from storage import keys
from storage.store import Store

PNG_BYTES_PER_PIXEL = 1.6
"""412 KB for a photograph of 512 px; noise takes about 3."""

DESCRIPTOR_BYTES_PER_PIXEL = 2 / 16
ROW_BYTES = 200


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a campaign holds and what of it is stored; `bytes` is an estimate of all its shards.

    `hours` is for the missing images: 0 where none is, None where no rate is known.
    """

    campaign_id: str
    prompts: int
    units: int
    units_done: int
    images: int
    images_done: int
    bytes: int
    hours: float | None

    def __str__(self) -> str:
        lines = [
            f"Campaign   {self.campaign_id}",
            f"Prompts    {self.prompts:,}",
            f"Units      {self.units:,}, {self.units_done:,} of them stored",
            f"Images     {self.images:,}, {self.images - self.images_done:,} to be made",
            f"Bytes      about {_size(self.bytes)} in {self.units:,} objects",
            f"Hours      {_hours(self.hours)}",
        ]
        return "\n".join(lines)


def estimate(store: Store, plan: Plan, images_per_second: float | None) -> Estimate:
    """Reckon a planned campaign's size against what the store holds."""
    sampling = plan.campaign.sampling
    done = plan.done(store.list(keys.shards_prefix(plan.campaign.generation_id)))
    images = plan.image_count
    missing = images - plan.images(done)
    per_pixel = PNG_BYTES_PER_PIXEL + DESCRIPTOR_BYTES_PER_PIXEL
    return Estimate(
        campaign_id=plan.campaign.campaign_id,
        prompts=len(plan.prompts),
        units=len(plan),
        units_done=int(done.sum()),
        images=images,
        images_done=images - missing,
        bytes=int(images * (sampling.width * sampling.height * per_pixel + ROW_BYTES)),
        hours=_hours_for(missing, images_per_second),
    )


def _hours_for(images: int, per_second: float | None) -> float | None:
    if images == 0:
        return 0.0
    return images / per_second / 3600 if per_second else None


def _size(count: float) -> str:
    for unit in ("B", "KB", "MB", "GB", "TB"):
        if count < 1000:
            return f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} PB"


def _hours(hours: float | None) -> str:
    if hours is None:
        return "unknown; give --images-per-second"
    return f"{hours:.2f} on one device" if hours else "0, all is stored"
