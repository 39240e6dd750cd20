"""Pure: campaign − done → work units.

A campaign's seeds are cut into units once, when it is submitted, along the shards that earlier
campaigns of the same recipe left, so that only missing images are made. All prompts share the cut:
unit `index` is prompt `index // len(cuts)`, seeds `cuts[index % len(cuts)]`.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from seedsweep.storage import keys
from seedsweep.storage.live_state import DROPPED, unopened
from seedsweep.storage.records import Campaign, SeedRange, Unseen, WorkUnit, prompt_id_of


def cut_seeds(
    seeds: range,
    images_per_unit: int,
    stored: Mapping[SeedRange, int],
    ends: Sequence[int] = (),
) -> tuple[SeedRange, ...]:
    """Cut the seeds into units, along stored ranges if there are any.

    `stored` says how many prompts have a shard of each range; `ends`: after so many seeds a unit
    ends, unless a stored one goes on. The units are disjoint, ascending, cover the seeds exactly
    and hold at most `images_per_unit` each, stored ones excepted. If several stored ranges begin
    at one seed, the one that most prompts have wins, then the longer.
    """
    stops = [seeds.start + end for end in ends]
    by_first: dict[int, SeedRange] = {}
    for seed_range in sorted(stored, key=lambda seed_range: (stored[seed_range], len(seed_range))):
        if seed_range.first >= seeds.start and seed_range.last < seeds.stop:
            by_first[seed_range.first] = seed_range
    cuts, seed = [], seeds.start
    while seed < seeds.stop:
        unit = by_first.get(seed)
        if unit is None:
            stop = min(seed + images_per_unit, seeds.stop)
            stop = min([at for at in (*by_first, *stops) if seed < at < stop], default=stop)
            unit = SeedRange(first=seed, last=stop - 1)
        cuts.append(unit)
        seed = unit.last + 1
    return tuple(cuts)


@dataclass(frozen=True)
class Plan:
    """A campaign with its prompts and the cut of its seeds: every work unit, by index.

    `unseen` is what the model does not see of the prompts, None if nobody looked; `notes` say the
    same in sentences.
    """

    campaign: Campaign
    prompts: Sequence[str]
    cuts: tuple[SeedRange, ...]
    notes: tuple[str, ...] = ()
    unseen: Unseen | None = None

    def __len__(self) -> int:
        return len(self.prompts) * len(self.cuts)

    @property
    def stage_ends(self) -> tuple[int, ...]:
        """How many units of each prompt are open in each stage; the last stage has all."""
        return self.campaign.stage_ends(self.cuts)

    def unit(self, index: int, token: str = "") -> WorkUnit:
        """The work unit with this index, for the issue that `token` names."""
        prompt, cut = divmod(index, len(self.cuts))
        return WorkUnit(
            campaign_id=self.campaign.campaign_id,
            generation_id=self.campaign.generation_id,
            index=index,
            token=token,
            prompt=self.prompts[prompt],
            seeds=self.cuts[cut],
        )

    def done(self, shard_keys: Iterable[str]) -> NDArray[np.bool_]:
        """Which units have their shard among the keys: (units,) bool."""
        prompts = {prompt_id: i for i, prompt_id in enumerate(self.prompt_ids())}
        cuts = {cut: i for i, cut in enumerate(self.cuts)}
        done = np.zeros(len(self), dtype=np.bool_)
        for key in shard_keys:
            prompt_id, seeds = keys.parse_shard(key)
            prompt, cut = prompts.get(prompt_id), cuts.get(seeds)
            if prompt is not None and cut is not None:
                done[prompt * len(self.cuts) + cut] = True
        return done

    def receipted(self, receipt_keys: Iterable[str]) -> NDArray[np.bool_]:
        """Which units the receipts among the campaign's keys cover: (units,) bool."""
        prompts = {prompt_id: i for i, prompt_id in enumerate(self.prompt_ids())}
        covered = np.zeros((len(self.prompts), len(self.cuts)), dtype=np.bool_)
        for key in receipt_keys:
            prompt_id, seeds = keys.parse_receipt(key)
            prompt = prompts.get(prompt_id)
            if prompt is not None:
                covered[prompt] |= [
                    seeds.first <= cut.first and cut.last <= seeds.last for cut in self.cuts
                ]
        return covered.ravel()

    def prompt_ids(self) -> Iterator[str]:
        """The prompts' ids, in the order of the prompts."""
        return map(prompt_id_of, self.prompts)

    @property
    def image_count(self) -> int:
        """How many images the campaign holds."""
        return len(self.prompts) * sum(map(len, self.cuts))

    def images(self, units: NDArray[np.bool_]) -> int:
        """How many images the marked units hold; `units`: (units,) bool."""
        return count_images(self.cuts, units)


@dataclass(frozen=True, slots=True)
class ImageCounts:
    """How many images of a campaign are done, are to be made in all, and the full attack takes.

    With stages, those of dropped prompts are spared.
    """

    done: int
    wanted: int
    full: int


def image_counts(
    campaign: Campaign,
    cuts: Sequence[SeedRange],
    done: NDArray[np.bool_],
    stages: NDArray[np.uint8] | None,
) -> ImageCounts:
    """Count a campaign's images.

    `done`: (units,) bool; `stages`: that of each prompt, as of `Restored.stages`, None without.
    """
    full = count_images(cuts, np.ones_like(done))
    spared = 0
    if stages is not None:
        left_out = unopened(campaign.stage_ends(cuts), stages, done) & (stages >= DROPPED)[:, None]
        spared = count_images(cuts, left_out)
    return ImageCounts(count_images(cuts, done), full - spared, full)


def count_images(cuts: Sequence[SeedRange], units: NDArray[np.bool_]) -> int:
    """How many images the marked units of a campaign hold; `units`: (units,) bool."""
    lengths = np.array([len(cut) for cut in cuts], dtype=np.int64)
    return int(units.reshape(-1, len(cuts)).sum(axis=0) @ lengths)
