"""Pure: campaign − done → work units.

A campaign's seeds are cut into units once, when it is submitted, along the shards that earlier
campaigns of the same recipe left, so that only missing images are made. All prompts have the same
units, `pieces`: one for each screen, then the cuts. A prompt that has seeds of its own has these in
place of the campaign's, as `Campaign.own_seeds` says.
"""

from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
from numpy.typing import NDArray

from seedsweep.storage import keys
from seedsweep.storage.live_state import DROPPED, unopened
from seedsweep.storage.pieces import Piece, pieces_of
from seedsweep.storage.record import SeedRange
from seedsweep.storage.records import Unseen, WorkUnit, prompt_id_of
from seedsweep.storage.settings.campaign import Campaign
from seedsweep.storage.settings.sampling import PromptSettings

SETTINGS_HELD = 4096


def cut_seeds(
    seeds: Sequence[int],
    images_per_unit: int,
    stored: Mapping[SeedRange, int],
    ends: Sequence[int] = (),
) -> tuple[SeedRange, ...]:
    """Cut the seeds, ascending without a gap, into units, along stored ranges if there are any.

    `stored` says how many prompts have a shard of each range; `ends`: after so many seeds a unit
    ends, unless a stored one goes on. The units are disjoint, ascending, cover the seeds exactly
    and hold at most `images_per_unit` each, stored ones excepted. If several stored ranges begin
    at one seed, the one that most prompts have wins, then the longer.
    """
    first, end = seeds[0], seeds[-1] + 1
    by_first: dict[int, SeedRange] = {}
    for seed_range in sorted(stored, key=lambda seed_range: (stored[seed_range], len(seed_range))):
        if seed_range.first >= first and seed_range.last < end:
            by_first[seed_range.first] = seed_range
    stops = sorted([*by_first, *(first + count for count in ends)])
    cuts, seed = [], first
    while seed < end:
        unit = by_first.get(seed)
        if unit is None:
            stop = min(seed + images_per_unit, end)
            stop = min([stop, *stops[(after := bisect_right(stops, seed)) : after + 1]])
            unit = SeedRange(first=seed, last=stop - 1)
        cuts.append(unit)
        seed = unit.last + 1
    return tuple(cuts)


@dataclass(frozen=True)
class Plan:
    """A campaign with its prompts and the cut of its seeds: every work unit, by index.

    `settings` are those that each prompt has of its own, empty if none has any. `unseen` is what
    the model does not see of the prompts, None if nobody looked; `notes` say the same in sentences.
    """

    campaign: Campaign
    prompts: Sequence[str]
    cuts: tuple[SeedRange, ...]
    notes: tuple[str, ...] = ()
    unseen: Unseen | None = None
    settings: Sequence[PromptSettings] = ()

    def __post_init__(self) -> None:
        if bool(self.campaign.own_columns.named) != bool(self.settings):
            raise ValueError("a plan needs the settings that its prompts have of their own")

    def __len__(self) -> int:
        return len(self.prompts) * self.per_prompt

    @cached_property
    def pieces(self) -> tuple[Piece, ...]:
        """The units of each prompt."""
        return pieces_of(self.campaign, self.cuts)

    @property
    def per_prompt(self) -> int:
        """How many units each prompt has."""
        return len(self.pieces)

    @property
    def screens(self) -> int:
        """How many of them are screens: the first ones."""
        return self.per_prompt - len(self.cuts)

    @property
    def stage_ends(self) -> tuple[int, ...]:
        """How many units of each prompt are open in each stage; the last stage has all."""
        return self.campaign.stage_ends(self.cuts)

    def unit(self, index: int, token: str = "") -> WorkUnit:
        """The work unit with this index, for the issue that `token` names."""
        prompt, place = divmod(index, self.per_prompt)
        piece, settings = self.pieces[place], self.settings_of(prompt)
        earlier = self.same_as.get(prompt)
        return WorkUnit(
            campaign_id=self.campaign.campaign_id,
            generation_id=self._made_as(settings),
            index=index,
            token=token,
            prompt=self.prompts[prompt],
            seeds=self.campaign.own_seeds(settings, piece.seeds),
            settings=settings,
            kind=piece.kind,
            kind_id=piece.kind_id,
            same_as="" if earlier is None else self.prompts[earlier],
        )

    @cached_property
    def same_as(self) -> dict[int, int]:
        """As `same_prompts`."""
        return same_prompts(self.campaign, self.unseen)

    @property
    def shares(self) -> bool:
        """Whether pictures of prompts that are the same to the model can be expected to be made
        once: an earlier prompt's may be deleted by then, and what a plug-in reads is its own."""
        return self.campaign.keep == "all" and self.campaign.model.pipeline == "diffusers"

    @property
    def prompts_made(self) -> int:
        """How many prompts have pictures of their own, if all others can share."""
        return len(self.prompts) - (len(self.same_as) if self.shares else 0)

    def settings_of(self, prompt: int) -> PromptSettings | None:
        """What settings the prompt of this index has of its own, if any."""
        return self.settings[prompt] if self.settings else None

    def campaign_of(self, prompt: int) -> Campaign:
        """The campaign as the prompt of this index has it."""
        return self.campaign.of(self.settings_of(prompt))

    def cuts_of(self, prompt: int) -> tuple[SeedRange, ...]:
        """The seeds of the units of the prompt of this index, in their order."""
        settings = self.settings_of(prompt)
        return tuple(self.campaign.own_seeds(settings, cut) for cut in self.cuts)

    def recipes(self) -> list[str]:
        """The generation ids under which the units' shards are, each once."""
        kinds = dict.fromkeys(own.recipe for own in self.settings) or [None]
        return list(dict.fromkeys(self.campaign.of(own).generation_id for own in kinds))

    @cached_property
    def _made_as(self) -> Callable[[PromptSettings | None], str]:
        """By a prompt's settings, its generation id."""

        @lru_cache(maxsize=SETTINGS_HELD)
        def made_as(settings: PromptSettings | None) -> str:
            return self.campaign.of(settings).generation_id

        return made_as

    def done(self, shard_keys: Iterable[str]) -> NDArray[np.bool_]:
        """Which units that make images have their shard among the keys, which are of its recipes:
        (units,) bool."""
        prompts = {prompt_id: i for i, prompt_id in enumerate(self.prompt_ids())}
        cuts = {(cut.first, cut.last): i for i, cut in enumerate(self.cuts)}
        done = np.zeros(len(self), dtype=np.bool_)
        for key in shard_keys:
            prompt_id, seeds = keys.parse_shard(key)
            prompt = prompts.get(prompt_id)
            if prompt is None:
                continue
            settings = self.settings_of(prompt)
            if settings and self._made_as(settings) != keys.recipe_of(key):
                continue
            shared = self.campaign.shared_seeds(settings, seeds)
            cut = cuts.get((shared.first, shared.last)) if shared else None
            if cut is not None:
                done[prompt * self.per_prompt + self.screens + cut] = True
        return done

    def scored(self, score_keys: Iterable[str], place: int) -> NDArray[np.bool_]:
        """Which units of the screen at this place have their shard among the keys: (units,)
        bool."""
        prompts = {prompt_id: i for i, prompt_id in enumerate(self.prompt_ids())}
        done, piece = np.zeros(len(self), dtype=np.bool_), self.pieces[place]
        for key in score_keys:
            prompt_id, seeds = keys.parse_scores(key)
            prompt = prompts.get(prompt_id)
            if prompt is not None and seeds == piece.seeds:
                done[prompt * self.per_prompt + place] = True
        return done

    def receipted(self, receipt_keys: Iterable[str]) -> NDArray[np.bool_]:
        """Which units the receipts among the campaign's keys cover: (units,) bool."""
        prompts = {prompt_id: i for i, prompt_id in enumerate(self.prompt_ids())}
        covered = np.zeros((len(self.prompts), self.per_prompt), dtype=np.bool_)
        for key in receipt_keys:
            prompt_id, seeds = keys.parse_receipt(key)
            prompt = prompts.get(prompt_id)
            if prompt is not None:
                covered[prompt] |= [
                    piece.kind == "generate"
                    and seeds.first <= piece.seeds.first
                    and piece.seeds.last <= seeds.last
                    for piece in self.pieces
                ]
        return covered.ravel()

    def prompt_ids(self) -> Iterator[str]:
        """The prompts' ids, in the order of the prompts."""
        return map(prompt_id_of, self.prompts)

    @property
    def image_count(self) -> int:
        """How many images the campaign holds."""
        return len(self.prompts) * sum(piece.images for piece in self.pieces)

    def images(self, units: NDArray[np.bool_]) -> int:
        """How many images the marked units hold; `units`: (units,) bool."""
        return count_images(self.pieces, units)


@dataclass(frozen=True, slots=True)
class ImageCounts:
    """How many images of a campaign are done, are to be made in all, and the full attack takes.

    With stages, those of dropped prompts are spared. Of what screens score, `scored` is done and
    `to_score` wanted in all. `shared` and `to_share`: how many of `done` and of `wanted` are of
    prompts that are the same to the model as an earlier one, whose images they take over; none if
    those are not kept.
    """

    done: int
    wanted: int
    full: int
    scored: int = 0
    to_score: int = 0
    shared: int = 0
    to_share: int = 0


def image_counts(
    campaign: Campaign,
    cuts: Sequence[SeedRange],
    done: NDArray[np.bool_],
    stages: NDArray[np.uint8] | None,
    unseen: Unseen | None = None,
) -> ImageCounts:
    """Count a campaign's images.

    `done`: (units,) bool; `stages`: that of each prompt, as of `Restored.stages`, None without;
    `unseen`: which prompts are the same to the model, as far as that is known.
    """
    pieces, screens = pieces_of(campaign, cuts), len(campaign.screens)
    by_prompt = done.reshape(-1, len(pieces))
    wanted = np.ones_like(by_prompt)
    if stages is not None:
        dropped = (stages >= DROPPED)[:, None]
        wanted = ~(unopened(campaign.stage_ends(cuts), stages, done) & dropped)
    same = [*same_prompts(campaign, unseen)] if campaign.keep == "all" else []
    return ImageCounts(
        done=count_images(pieces, by_prompt),
        wanted=count_images(pieces, wanted),
        full=count_images(pieces, np.ones_like(by_prompt)),
        scored=0 if stages is None else int(by_prompt[:, :screens].sum()),
        to_score=0 if stages is None else int(wanted[:, :screens].sum()),
        shared=count_images(pieces, by_prompt[same]),
        to_share=count_images(pieces, wanted[same]),
    )


def same_prompts(campaign: Campaign, unseen: Unseen | None) -> dict[int, int]:
    """Of prompts that are the same to the model as an earlier one, that one, by index: their
    pictures are one, since both have the same settings of their own, if any.

    None of a plug-in's: what it makes of a prompt is its own, whatever the tokenizers in its folder
    say.
    """
    return dict(unseen.same) if unseen and campaign.model.pipeline == "diffusers" else {}


def count_images(pieces: Sequence[Piece], units: NDArray[np.bool_]) -> int:
    """How many images the marked units of a campaign hold; `units`: (units,) bool."""
    images = np.array([piece.images for piece in pieces], dtype=np.int64)
    return int(units.reshape(-1, len(pieces)).sum(axis=0) @ images)
