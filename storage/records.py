"""The frozen records that are stored or sent between processes, such as the resolved `Campaign`."""

import hashlib
import json
from collections.abc import Sequence
from enum import StrEnum
from itertools import pairwise, takewhile
from typing import Annotated, Literal, Self

from pydantic import Field, PrivateAttr, model_validator

from seedsweep.storage.record import Name, Positive, Record, Seed, digest
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

Priority = Annotated[int, Field(ge=-1000, le=1000)]
Weight = Annotated[float, Field(gt=0, le=1000)]
KindName = Annotated[str, Field(pattern=r"^[a-z]{1,32}$")]


class SeedRange(Record):
    """Consecutive seeds, both ends included."""

    first: Seed
    last: Seed

    @model_validator(mode="after")
    def _ascends(self) -> Self:
        if self.last < self.first:
            raise ValueError("a range of seeds ends before it begins")
        return self

    def __len__(self) -> int:
        return self.last - self.first + 1

    def moved(self, by: int) -> Self:
        """As many seeds, so many further."""
        return type(self)(first=self.first + by, last=self.last + by) if by else self


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


class Unseen(Record):
    """What the model's tokenizers do not see of the prompts, which are told by their index."""

    cut: tuple[int, ...] = ()
    """Ascending: these are longer than any of the tokenizers takes."""
    same: tuple[tuple[int, int], ...] = ()
    """Ascending: the first is the same to the model as the second, which is the earlier one."""


class Submission(Record):
    """A campaign as it was submitted: fixed, with the cut of its seeds into units.

    `unseen` is what the model does not see of the prompts, None if nobody looked: its tokenizers
    were not on the machine. `notes` say the same in sentences.
    """

    campaign: Campaign
    cuts: tuple[SeedRange, ...]
    submitted_at: str
    versions: str
    notes: Annotated[tuple[str, ...], Field(exclude_if=lambda notes: not notes)] = ()
    unseen: Annotated[Unseen | None, Field(exclude_if=lambda unseen: unseen is None)] = None

    def of(self, settings: PromptSettings | None) -> Self:
        """The submission as a prompt with settings of its own has it: the campaign as of
        `Campaign.of`, the cuts of its own seeds, each as long as the submission's."""
        if settings is None:
            return self
        campaign = self.campaign.of(settings)
        cuts = tuple(self.campaign.own_seeds(settings, cut) for cut in self.cuts)
        return self.model_copy(update={"campaign": campaign, "cuts": cuts})

    @model_validator(mode="after")
    def _unseen_is_of_the_prompts(self) -> Self:
        unseen = self.unseen or Unseen()
        named = [*unseen.cut, *(index for pair in unseen.same for index in pair)]
        if not all(0 <= index < self.campaign.prompt_count for index in named):
            raise ValueError("what is unseen is of other prompts")
        return self

    @model_validator(mode="after")
    def _cuts_cover_the_seeds(self) -> Self:
        seeds = self.campaign.seeds
        ends = [seeds[0] - 1, *(cut.last for cut in self.cuts)]
        firsts = [cut.first for cut in self.cuts]
        if firsts != [end + 1 for end in ends[:-1]] or ends[-1] != seeds[-1]:
            raise ValueError("the cuts are not those of the campaign's seeds")
        return self


class Prompt(Record):
    """A text given to the model, named by its text."""

    text: str

    @property
    def prompt_id(self) -> str:
        """The first 16 hex digits of sha256 of the text."""
        return prompt_id_of(self.text)


class WorkUnit(Record):
    """A prompt and a run of seeds: one Celery message, one shard.

    `index` is the unit's bit in its campaign's bitmap; `token` names this issue of the unit. Its
    `kind` says what is made of it; `kind_id` names what alters that, if it is no pictures.
    `settings` are the prompt's own, if it has some. `same_as`: an earlier prompt of the campaign
    that is the same to the model, so that its unit of these seeds holds the same; empty if none is.
    """

    campaign_id: str
    generation_id: str
    index: Annotated[int, Field(ge=0)]
    token: str = ""
    prompt: str
    seeds: SeedRange
    settings: Annotated[
        PromptSettings | None, Field(exclude_if=lambda settings: settings is None)
    ] = None
    kind: Annotated[KindName, Field(exclude_if=lambda kind: kind == "generate")] = "generate"
    kind_id: Annotated[str, Field(exclude_if=lambda kind_id: not kind_id)] = ""
    same_as: Annotated[str, Field(exclude_if=lambda text: not text)] = ""

    @property
    def prompt_id(self) -> str:
        """The id of the unit's prompt."""
        return Prompt(text=self.prompt).prompt_id

    @property
    def earlier(self) -> Self | None:
        """The unit of the earlier prompt that is the same to the model, if there is one."""
        if not self.same_as:
            return None
        return self.model_copy(update={"prompt": self.same_as, "same_as": ""})


class Flaw(StrEnum):
    """Why a generation is no evidence: it is counted and kept, but joins no clique."""

    BLANKED = "blanked by the safety checker"
    NOT_FINITE = "not finite"
    CONSTANT = "constant"


class Provenance(Record):
    """What made an image: enough to make it again, and to say why another machine's may differ.

    `recipe` is the canonical JSON of all settings that were used, with null for those that the
    model does not use; `batch_size` the one that fitted.
    """

    batch_size: Positive
    threads: Positive
    device: str
    dtype: str
    versions: str
    recipe: str

    @property
    def unused(self) -> tuple[str, ...]:
        """The settings that were given and that the model does not use."""
        try:
            settings = json.loads(self.recipe)
        except ValueError:  # a plug-in's
            return ()
        named = settings.items() if isinstance(settings, dict) else ()
        return tuple(name for name, value in named if value is None and name != "sampler")


class Parked(Record):
    """A unit that was given up, and why."""

    index: Annotated[int, Field(ge=0)]
    prompt_id: str
    seeds: SeedRange
    reason: str


class Control(Record):
    """What the user wants of a campaign: durable, and stored before it is acted on.

    Its units come after those of campaigns of a higher `priority` and share the workers with those
    of the same one, `weight` by weight. `settings`: how to judge its images now, where that is not
    the campaign's own; `settings_at`: since when (ISO 8601, UTC), empty where that is not known.
    """

    state: Literal["active", "paused", "cancelled"] = "active"
    priority: Priority = 0
    weight: Weight = 1.0
    settings: AnalysisSettings | None = None
    settings_at: str = ""


class Worker(Record):
    """What a worker says of itself; `images` since it began, the rate over the last minute.

    `metrics`: HOST:PORT where it shows them, empty for nowhere. `why_out`: why it took itself out,
    in one sentence, empty while it is at work.
    """

    name: str
    host: str
    device: str
    model: str
    images: int
    images_per_second: float
    metrics: str = ""
    why_out: str = ""


TroubleKind = Literal["write", "read", "slow"]


class StoreTrouble(Record):
    """What a service finds wrong with the store just now.

    It fails what is to be written or read, or it is slow, as `sentence` says with the remedy.
    """

    kind: TroubleKind
    sentence: str


def prompt_id_of(text: str) -> str:
    """`Prompt.prompt_id`, for very many texts."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]
