"""What a campaign's stages cost, before it is run: empty places of batches and screens included."""

from dataclasses import dataclass

from seedsweep.scheduler.campaign.plan import Plan
from seedsweep.storage.settings.campaign import Campaign
from seedsweep.storage.settings.sampling import ScreenSettings
from seedsweep.workers.analysts.screen_rules import NEAR
from seedsweep.workers.screening.screen import network_passes

GOES_ON = (0.01, 0.1)
"""The cost of stages is estimated for each of these shares of prompts that go on after the first
stage, unless that has a share itself."""


@dataclass(frozen=True, slots=True)
class FunnelCost:
    """What a campaign with stages makes if this share of its prompts goes on after the first stage,
    and gets all pictures; a part of the others, `sampled`, does too. What prompts share is not made
    and costs nothing, in `of_full` neither.

    `padded_images` also counts the empty places of batches, which take as long as pictures, and
    `screening` how many places take as long as the screens: `hours` are of both, on one device, and
    `cost` is what they cost. `of_full`: the share of what the full attack takes.
    """

    goes_on: float
    sampled: float
    images: int
    padded_images: int
    screening: float
    hours: float
    cost: float | None
    of_full: float


def funnel_costs(
    plan: Plan, places_per_second: float | None, price: float | None
) -> tuple[FunnelCost, ...]:
    """The costs of a campaign's stages, nothing stored yet; none if it has none.

    `places_per_second`: how many pictures of full batches a device makes; 0 hours if it is None.
    """
    campaign = plan.campaign
    if not campaign.stages:
        return ()
    first = campaign.stages[0]
    shares = GOES_ON if first.share is None else (float(first.exact_share),)
    return tuple(_funnel_cost(plan, share, places_per_second, price) for share in shares)


def places(length: int, batch_size: int) -> int:
    """How many places the batches of so many pictures have, empty ones included."""
    return -(-length // batch_size) * batch_size


def padding_words(plan: Plan) -> str:
    """Which stages leave places of their batches empty, in a sentence; empty if none does."""
    batch = plan.campaign.sampling.batch_size
    before, said = 0, []
    for stage in plan.campaign.picture_stages:
        length = stage.seeds - before
        if length % batch:
            said.append(f"{length:,} take as long as {places(length, batch):,}")
        before = stage.seeds
    if not said:
        return ""
    return f"Batches of {batch:,} are padded: of a stage's pictures {' and '.join(said)}."


def _funnel_cost(
    plan: Plan, goes_on: float, places_per_second: float | None, price: float | None
) -> FunnelCost:
    campaign, prompts, batch = plan.campaign, plan.prompts_made, plan.campaign.sampling.batch_size
    first = plan.stage_ends[0]
    sampled = _sampled(campaign, goes_on)
    share = goes_on + sampled

    def expected(per_piece: list[float]) -> float:
        return prompts * (sum(per_piece[:first]) + share * sum(per_piece[first:]))

    padded = [places(piece.images, batch) for piece in plan.pieces]
    screens = [screen_places(screen, campaign) for screen in campaign.screens]
    screening = expected([*screens, *(0.0 for _ in plan.cuts)])
    taken = expected([float(each) for each in padded]) + screening
    hours = taken / places_per_second / 3600 if places_per_second else 0.0
    return FunnelCost(
        goes_on=goes_on,
        sampled=sampled,
        images=round(expected([float(piece.images) for piece in plan.pieces])),
        padded_images=round(expected([float(each) for each in padded])),
        screening=screening,
        hours=hours,
        cost=None if price is None else price * hours,
        of_full=taken / (prompts * sum(padded)) if prompts else 0.0,
    )


def _sampled(campaign: Campaign, goes_on: float) -> float:
    """Which share of the prompts is dropped by the first stage and gets all pictures all the same.

    Of a share it is known how many are near misses; else none counts as one.
    """
    near = 0.0
    if campaign.stages[0].share is not None:
        near = min(1.0, NEAR * goes_on) - goes_on
    others = 1 - goes_on - near
    return near * campaign.sample_probability(True) + others * campaign.sample_probability(False)


def screen_places(screen: ScreenSettings, campaign: Campaign) -> float:
    """How many places of a batch of pictures take as many passes as one prompt's screen does: a
    picture takes two for each step, with the prompt and without. Its batches hold its own seeds,
    `batch_size` of them at most."""
    sampling = campaign.sampling
    at_once = min(screen.seeds, sampling.batch_size)
    per_seed = network_passes(screen) / screen.seeds
    return places(screen.seeds, at_once) * per_seed / (2 * sampling.steps)
