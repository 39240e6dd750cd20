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
FIRST_KINDS = frozenset({"generate", "screen"})
"""The kinds of work that every worker knows, of whichever version."""


class Unseen(Record):
    """What the model's tokenizers do not see of the prompts, which are told by their index."""

    cut: tuple[int, ...] = ()
    """Ascending: these are longer than any of the tokenizers takes."""
    same: tuple[tuple[int, int], ...] = ()
    """Ascending: the first is the same to the model as the second, which is the earlier one."""


class Submission(Record):
    """A campaign as it was submitted: fixed, with the cut of its seeds into units."""

    campaign: Campaign
    cuts: tuple[SeedRange, ...]
    submitted_at: str
    versions: str
    notes: Annotated[tuple[str, ...], Field(exclude_if=lambda notes: not notes)] = ()
    """`unseen` in sentences."""
    unseen: Annotated[Unseen | None, Field(exclude_if=lambda unseen: unseen is None)] = None
    """None if nobody looked: the model's tokenizers were not on the machine."""

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
    """A prompt and a run of seeds: one Celery message, one shard."""

    campaign_id: str
    generation_id: str
    index: Annotated[int, Field(ge=0)]
    """The unit's bit in its campaign's bitmap."""
    token: str = ""
    """Names this issue of the unit."""
    prompt: str
    seeds: SeedRange
    settings: Annotated[
        PromptSettings | None, Field(exclude_if=lambda settings: settings is None)
    ] = None
    """Those that the prompt has of its own."""
    kind: Annotated[KindName, Field(exclude_if=lambda kind: kind == "generate")] = "generate"
    """What is made of it."""
    kind_id: Annotated[str, Field(exclude_if=lambda kind_id: not kind_id)] = ""
    """Names what alters what is made, if that is no pictures."""
    same_as: Annotated[str, Field(exclude_if=lambda text: not text)] = ""
    """An earlier prompt of the campaign that is the same to the model, so that its unit of these
    seeds holds the same; empty if none is."""

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
    """What made an image: enough to make it again, and to say why another machine's may differ."""

    batch_size: Positive
    """The one that fitted."""
    threads: Positive
    device: str
    dtype: str
    versions: str
    recipe: str
    """The canonical JSON of all settings that were used, with null for those that the model does
    not use."""

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
    """What the user wants of a campaign: durable, and stored before it is acted on."""

    state: Literal["active", "paused", "cancelled"] = "active"
    priority: Priority = 0
    """Its units come after those of campaigns of a higher one."""
    weight: Weight = 1.0
    """It shares the workers with campaigns of the same priority, weight by weight."""
    settings: AnalysisSettings | None = None
    """How to judge its images now, if that is not the campaign's own."""
    settings_at: str = ""
    """Since when (ISO 8601, UTC); empty if that is not known."""
    training_set: Annotated[str, Field(exclude_if=lambda path: not path)] = ""
    """Where the campaign's training set lies now; empty if that is where it was submitted."""


class Worker(Record):
    """What a worker says of itself."""

    name: str
    host: str
    device: str
    model: str
    images: int
    """Since it began."""
    images_per_second: float
    """Over the last minute."""
    metrics: str = ""
    """HOST:PORT where it shows them, empty for nowhere."""
    why_out: str = ""
    """Why it took itself out, in one sentence; empty while it is at work."""


TroubleKind = Literal["write", "read", "slow"]


class StoreTrouble(Record):
    """What a service finds wrong with the store just now: it fails what is to be written or read,
    or it is slow."""

    kind: TroubleKind
    sentence: str
    """With the remedy."""


def prompt_id_of(text: str) -> str:
    """`Prompt.prompt_id`, for very many texts."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]
