"""Make images of a campaign again, chosen by name or drawn at random, and compare them."""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from seedsweep.audit.replay.image_sample import sample_images
from seedsweep.scheduler.campaign.plan import Plan
from seedsweep.scheduler.campaign.restore import load_plan
from seedsweep.storage.campaigns import load_campaign, load_parked
from seedsweep.storage.errors import ConfigError, ShardCorruptError
from seedsweep.storage.records import Prompt
from seedsweep.storage.replay_results import Replay
from seedsweep.storage.store import Store
from seedsweep.workers.generation.replay import Recorded, make_again, read_recorded

Progress = Callable[[int, int], None]

SEEDS_SHOWN = 20
"""So many of a prompt's own seeds are named."""


@dataclass(frozen=True, slots=True)
class Replays:
    """What came of making images again, in the order of the campaign's units and seeds.

    `not_made` and `parked` count images that were drawn too and are not stored, by the reason.
    """

    campaign_id: str
    replays: tuple[Replay, ...]
    not_made: int = 0
    parked: int = 0

    @property
    def equal(self) -> int:
        """How many have equal pixels, bit for bit."""
        return sum(replay.is_equal for replay in self.replays)

    @property
    def explained(self) -> tuple[Replay, ...]:
        """Those with other pixels, made here with something that is not as recorded."""
        return tuple(r for r in self.replays if not r.is_equal and r.differences)

    @property
    def unexplained(self) -> tuple[Replay, ...]:
        """Those with other pixels, though nothing recorded differs."""
        return tuple(r for r in self.replays if not r.is_equal and not r.differences)


@dataclass(frozen=True, slots=True)
class ReplayOptions:
    """What to make images with; None: as recorded."""

    device: str | None = None
    threads: int | None = None


def replay_one(
    store: Store,
    campaign_id: str,
    prompt: str,
    seed: int,
    options: ReplayOptions,
    progress: Progress,
) -> Replays:
    """Make the image of a prompt, its text or its id, and of a seed again.

    Raises `ConfigError` if the campaign holds no such image or it is not stored, if what is
    stored of it is corrupt, and as `make_again` does. `progress` is called with how many images are
    done, and of how many.
    """
    plan = load_plan(store, load_campaign(store, campaign_id))
    index = _unit_of(plan, prompt, seed)
    images = _read(store, plan, [(index, seed)])
    if not images:
        raise ConfigError(_why_missing(store, plan, index, seed))
    return Replays(campaign_id, _make(store, plan, images, options, progress))


def replay_some(
    store: Store,
    campaign_id: str,
    count: int,
    seed: int,
    options: ReplayOptions,
    progress: Progress,
) -> Replays:
    """Make so many of the campaign's stored images again, drawn with this seed as `sample_images`
    draws; all of them if there are fewer.

    All are read before the first is made. Raises `ConfigError` if there are none, and as
    `replay_one` does.
    """
    plan = load_plan(store, load_campaign(store, campaign_id))
    draw = sample_images(store, plan, count, seed)
    images = _read(store, plan, draw.images)
    if not images:
        raise ConfigError(
            f"The campaign {campaign_id} has no stored image to make again; let it run first."
        )
    replays = _make(store, plan, images, options, progress)
    return Replays(campaign_id, replays, draw.not_made, draw.parked)


def _unit_of(plan: Plan, prompt: str, seed: int) -> int:
    """The index of the unit that makes the image."""
    campaign = plan.campaign
    # Of white space around a prompt nothing is left in a campaign.
    place = _place_of(plan, Prompt(text=prompt.strip()).prompt_id)
    if place is None:
        place = _place_of(plan, prompt)
    if place is None:
        raise ConfigError(
            f"The campaign {campaign.campaign_id} has no prompt {prompt[:80]!r}; give one of its "
            "prompts, or the prompt_id of one as `seedsweep results --json` shows it."
        )
    seeds = plan.campaign_of(place).seeds
    if seed not in seeds:
        follow = seeds[-1] - seeds[0] < len(seeds)
        first = ", ".join(map(str, seeds[:SEEDS_SHOWN]))
        listed = f"{first}{', …' if len(seeds) > SEEDS_SHOWN else ''}"
        raise ConfigError(
            f"The campaign {campaign.campaign_id} has no seed {seed}"
            f"{' of that prompt' if plan.settings else ''}; give one of "
            f"{f'{seeds[0]} to {seeds[-1]}' if follow else listed}."
        )
    cut = next(i for i, cut in enumerate(plan.cuts_of(place)) if cut.first <= seed <= cut.last)
    return place * plan.per_prompt + plan.screens + cut


def _place_of(plan: Plan, prompt_id: str) -> int | None:
    return next((i for i, known in enumerate(plan.prompt_ids()) if known == prompt_id), None)


def _read(store: Store, plan: Plan, drawn: Sequence[tuple[int, int]]) -> list[Recorded]:
    """What is recorded of images, by ascending unit and seed; each shard is read once."""
    images = []
    for index, group in groupby(sorted(drawn), key=lambda image: image[0]):
        seeds = [seed for _, seed in group]
        with _refusing_corrupt():
            images += read_recorded(store, plan.campaign, plan.unit(index), seeds)
    return images


def _make(
    store: Store, plan: Plan, images: list[Recorded], options: ReplayOptions, progress: Progress
) -> tuple[Replay, ...]:
    order = {(image.prompt, image.seed): place for place, image in enumerate(images)}
    replays = []
    progress(0, len(images))
    with _refusing_corrupt():
        for replay in make_again(store, plan.campaign, images, options.device, options.threads):
            replays.append(replay)
            progress(len(replays), len(images))
    return tuple(sorted(replays, key=lambda replay: order[replay.prompt, replay.seed]))


@contextlib.contextmanager
def _refusing_corrupt() -> Iterator[None]:
    """Refuse a stored image that is not what was made: nothing can be compared with it."""
    try:
        yield
    except ShardCorruptError as error:
        raise ConfigError(str(error)) from error


def _why_missing(store: Store, plan: Plan, index: int, seed: int) -> str:
    campaign_id = plan.campaign.campaign_id
    image = f"The image of seed {seed} of {plan.unit(index).prompt[:80]!r}"
    for parked in load_parked(store, campaign_id):
        if parked.index == index:
            return (
                f"{image} was not made, its unit is parked ({parked.reason}); "
                f"`seedsweep resume {campaign_id} --failed` has it tried again."
            )
    return f"{image} is not made yet; let the campaign {campaign_id} run first."
