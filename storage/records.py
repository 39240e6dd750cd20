"""The frozen records that are stored or sent between processes, the campaign file's aside."""

import hashlib
import json
from enum import StrEnum
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from seedsweep.storage.record import Positive, Record, SeedRange
from seedsweep.storage.settings.analysis import AnalysisSettings
from seedsweep.storage.settings.campaign import Campaign
from seedsweep.storage.settings.sampling import PromptSettings

Priority = Annotated[int, Field(ge=-1000, le=1000)]
Weight = Annotated[float, Field(gt=0, le=1000)]
KindName = Annotated[str, Field(pattern=r"^[a-z]{1,32}$")]


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
