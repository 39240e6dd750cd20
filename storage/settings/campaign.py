"""`Campaign`: the whole campaign file, resolved."""

from collections.abc import Sequence
from itertools import pairwise, takewhile
from typing import Annotated, Literal, Self

from pydantic import Field, PrivateAttr, model_validator

from seedsweep.storage.record import Name, Record, SeedRange, digest
from seedsweep.storage.settings.analysis import Analysis, AnalysisSettings, Verification
from seedsweep.storage.settings.model import Model
from seedsweep.storage.settings.sampling import (
    DEFAULT_BLOCKS,
    DEFAULT_MISSED_SAMPLE,
    MAX_STAGES,
    NEAR_FACTOR,
    Blocks,
    PromptList,
    PromptSettings,
    Sampling,
    ScreenSettings,
    SettingColumns,
    Stage,
)

FORMAT = 2
"""Raised when equal settings would give other pixels or other shards; part of `generation_id`."""

SCREEN_FORMAT = 1
"""Raised when equal settings would give other scores; part of `screen_id`."""


class Campaign(Record):
    """One attack, resolved and fixed: what `campaigns/<campaign_id>/campaign.json` holds."""

    name: Name
    """What the campaign is called: up to 64 letters, digits, dots, dashes and underscores."""
    keep: Literal["all", "flagged"] = "all"
    """`flagged`: the pictures of all other prompts are deleted once they are analysed. Neither
    pixels nor verdicts depend on it."""
    missed_sample: Annotated[
        float, Field(ge=0, le=1, exclude_if=lambda share: share == DEFAULT_MISSED_SAMPLE)
    ] = DEFAULT_MISSED_SAMPLE
    """With `[[stages]]`: this share of the dropped prompts gets all its pictures nevertheless, and
    shows what the stages miss. Near misses are taken ten times as often."""
    model: Model
    prompts: PromptList | None = None
    sampling: Sampling = Sampling()
    stages: Annotated[
        tuple[Stage, ...], Field(max_length=MAX_STAGES, exclude_if=lambda stages: not stages)
    ] = ()
    descriptors: Blocks = DEFAULT_BLOCKS
    analysis: Analysis = Analysis()
    verification: Verification | None = None
    _whole: "Campaign | None" = PrivateAttr(None)
    """Of a campaign that is as one prompt has it: the whole one."""
    _listed: tuple[int, ...] | None = PrivateAttr(None)
    """And the seeds that the prompt lists, if it does."""

    @model_validator(mode="after")
    def _prompts_may_have_settings(self) -> Self:
        settings = self.own_columns
        if settings.named and self.keep != "all":
            raise ValueError('prompts with settings of their own need keep = "all"')
        if settings.seeds and settings.first_seed:
            raise ValueError("prompts.settings names seeds or first_seed, not both")
        if settings.seeds and (self.sampling.images_per_unit, self.sampling.batch_size) != (1, 1):
            raise ValueError(
                "pictures of listed seeds are made one at a time; set sampling.images_per_unit and "
                "batch_size to 1"
            )
        if settings.named and any(stage.screen for stage in self.stages):
            raise ValueError(
                "a screen scores all prompts alike; leave out prompts.settings, or the stages with "
                "a screen"
            )
        if self.verification and (settings.width or settings.height):
            raise ValueError(
                "training pictures are compared at one size, and with prompts.settings.width or "
                "height each prompt has its own: leave out [verification], or make prompts of each "
                "size a campaign of their own"
            )
        return self

    @model_validator(mode="after")
    def _needs_no_prompts(self) -> Self:
        """What is for many prompts, or for what a prompt does, is refused without any."""
        if self.prompts is not None:
            return self
        if self.sampling.guidance_scale > 1 or self.sampling.negative_prompt:
            raise ValueError(
                "without prompts nothing guides; leave sampling.guidance_scale and negative_prompt "
                "out, or add [prompts]"
            )
        if self.stages:
            raise ValueError(
                "stages choose among prompts, and there are none; leave [[stages]] out, or add "
                "[prompts]"
            )
        if self.keep != "all":
            raise ValueError('keep = "flagged" is for prompts; leave it out, or add [prompts]')
        if self.analysis.partial:
            raise ValueError(
                "parts are looked for among the pictures of a prompt; leave analysis.partial out, "
                "or add [prompts]"
            )
        return self

    @model_validator(mode="after")
    def _stages_follow_each_other(self) -> Self:
        if any(stage.screen for stage in self.stages[len(self.screens) :]):
            raise ValueError("stages with a screen come before those that make pictures")
        if any(screen.seeds > self.sampling.seeds for screen in self.screens):
            raise ValueError("a stage with a screen scores more seeds than sampling.seeds")
        seeds = [stage.seeds for stage in self.picture_stages]
        if not all(a < b for a, b in pairwise([*seeds, self.sampling.seeds])):
            raise ValueError(
                "each of the stages needs more seeds than the one before, and sampling.seeds more "
                "than the last"
            )
        if any(stage.min_clique_size > stage.seeds for stage in self.picture_stages):
            raise ValueError("a stage wants a clique of more pictures than it has")
        if self.stages and self.keep != "all":
            raise ValueError('stages need keep = "all"')
        return self

    def of(self, settings: PromptSettings | None) -> Self:
        """The campaign as a prompt with settings of its own has it: sampling, `seeds` and
        `generation_id` are that prompt's, all else and `campaign_id` the whole campaign's."""
        if settings is None:
            return self
        sampling = self.sampling.model_copy(update=settings.sampled)
        own = self.model_copy(update={"sampling": sampling})
        own._whole, own._listed = self._whole or self, settings.seeds
        return own

    def own_seeds(self, settings: PromptSettings | None, seeds: SeedRange) -> SeedRange:
        """What a prompt with settings of its own has in place of these seeds of the campaign: as
        many that follow its own first one, or the one of its list at that place."""
        if settings is None:
            return seeds
        if settings.seeds is not None:
            if len(seeds) > 1:
                raise ValueError("units of listed seeds have one each")
            seed = settings.seeds[seeds.first - self.sampling.first_seed]
            return SeedRange(first=seed, last=seed)
        return seeds.moved(self._moved_by(settings))

    def shared_seeds(self, settings: PromptSettings | None, seeds: SeedRange) -> SeedRange | None:
        """The seeds of the campaign in whose place a prompt has these: the inverse of `own_seeds`.
        None if there are none, or none that are such a run."""
        if settings is None:
            return seeds
        first = self.sampling.first_seed
        if settings.seeds is not None:
            if len(seeds) > 1 or seeds.first not in settings.seeds:
                return None
            first += settings.seeds.index(seeds.first)
            return SeedRange(first=first, last=first)
        by = self._moved_by(settings)
        return seeds.moved(-by) if seeds.first - by >= first else None

    def _moved_by(self, settings: PromptSettings) -> int:
        if settings.first_seed is None:
            return 0
        return settings.first_seed - self.sampling.first_seed

    @property
    def is_unconditional(self) -> bool:
        """Whether the model is given no prompts: its one prompt is the empty text."""
        return self.prompts is None

    @property
    def prompt_count(self) -> int:
        """How many prompts there are."""
        return self.prompts.count if self.prompts else 1

    @property
    def own_columns(self) -> SettingColumns:
        """The columns of settings that each prompt has of its own."""
        return self.prompts.settings if self.prompts else SettingColumns()

    @property
    def generation_id(self) -> str:
        """Names every setting that alters pixels; campaigns that share it share shards."""
        sampling = self.sampling.model_dump(exclude={"seeds", "first_seed"})
        return digest({"format": FORMAT, "model": self.model.identity, "sampling": sampling})

    @property
    def settings(self) -> AnalysisSettings:
        """The campaign's own analysis and verification."""
        return AnalysisSettings(analysis=self.analysis, verification=self.verification)

    @property
    def analysis_id(self) -> str:
        """Names the analysis and verification settings and the algorithm's version."""
        return self.settings.analysis_id

    @property
    def campaign_id(self) -> str:
        """The name and a hash of the whole resolved file."""
        if self._whole:
            return self._whole.campaign_id
        return f"{self.name}-{digest(self.model_dump(mode='json'))[:12]}"

    @property
    def seeds(self) -> Sequence[int]:
        """The campaign's seeds, ascending, without a gap unless a prompt lists its own."""
        first = self.sampling.first_seed
        return self._listed or range(first, first + self.sampling.seeds)

    def sample_probability(self, near: bool) -> float:
        """How probably a dropped prompt gets all its pictures nevertheless; `near`: a near miss."""
        return min(1.0, self.missed_sample * (NEAR_FACTOR if near else 1))

    @property
    def screens(self) -> tuple[ScreenSettings, ...]:
        """The screens that prompts pass before any picture is made, at the campaign's first seeds:
        each is a stage of its own."""
        screening = takewhile(lambda stage: stage.screen is not None, self.stages)
        first = self.sampling.first_seed
        return tuple(
            ScreenSettings(score=s.screen, steps=s.steps, seeds=s.seeds, first_seed=first)
            for s in screening
            if s.screen
        )

    @property
    def picture_stages(self) -> tuple[Stage, ...]:
        """The stages that make pictures: those after the screens."""
        return self.stages[len(self.screens) :]

    def screen_id(self, screen: ScreenSettings) -> str:
        """Names every setting that alters a screen's scores; campaigns that share it share these.

        What alters a picture alone is left out of it.
        """
        only_pictures = {"seeds", "first_seed", "images_per_unit", "negative_prompt"}
        sampling = self.sampling.model_dump(exclude=only_pictures)
        recipe = {"model": self.model.identity, "sampling": sampling}
        return digest({"screen": SCREEN_FORMAT, **recipe, "settings": screen.model_dump()})

    def stage_ends(self, cuts: Sequence[SeedRange]) -> tuple[int, ...]:
        """How many of each prompt's units are open in each stage; the last stage has all.

        A screen is one unit. A cut belongs to the first stage that wants one of its seeds.
        """
        before = len(self.screens)
        wanted = [self.sampling.first_seed + stage.seeds for stage in self.picture_stages]
        ends = (*(sum(cut.first < seed for cut in cuts) for seed in wanted), len(cuts))
        return (*range(1, before + 1), *(before + end for end in ends))
