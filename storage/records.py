"""The frozen records that are stored or sent between processes, the resolved `Campaign` among them.

Reading a record checks it: a wrong type or an unknown field raises `pydantic.ValidationError`.
"""

import hashlib
import json
from enum import StrEnum
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

FORMAT = 2
"""Raised when equal settings would give other pixels or other shards; part of `generation_id`."""

ANALYSIS = 4
"""Raised when equal settings would give other results; part of `analysis_id`."""

MATCHING = 5
"""The same where there is a training set. In 4 the neighbours of a match were not distinct, so that
copies lowered what extracts."""

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
Seed = Annotated[int, Field(ge=0, lt=2**63)]
Positive = Annotated[int, Field(ge=1)]
Priority = Annotated[int, Field(ge=-1000, le=1000)]
Weight = Annotated[float, Field(gt=0, le=1000)]


class Record(BaseModel):
    """A frozen record that knows all its fields."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Model(Record):
    """`[model]`: what makes the pictures, and how it is loaded and run.

    `pipeline` is `diffusers`, `noise`, `python` (`path` is then `module:function`) or the name of a
    plug-in. `fingerprint` is the hub commit, the files' hash, or what else tells the version.
    """

    pipeline: Name = "diffusers"
    path: str = ""
    revision: str = "main"
    dtype: Literal["float32", "float16", "bfloat16"] = "float32"
    attention_slicing: bool = False
    vae_slicing: bool = False
    vae_tiling: bool = False
    channels_last: bool = False
    compile: bool = False
    cpu_offload: bool = False
    fingerprint: str = ""

    @property
    def model_id(self) -> str:
        """Names what a worker has to load and how, whatever the recipe and wherever it lies."""
        return digest(self.model_dump(exclude={"path", "revision"}))

    @property
    def options(self) -> tuple[str, ...]:
        """The names of the options that are switched on."""
        return tuple(name for name, value in self if value is True)


class PromptList(Record):
    """`[prompts]`: where the prompts were read from; `digest` fixes the list itself.

    `delimiter`, `quoting` and `header` are of .csv and .tsv files: what stands between the cells,
    whether quotes hold cells together ("csv") or are letters like others ("none"), and whether the
    first line holds the columns' names; otherwise `column` is a number from 1, as text. Ids name
    the last two only where they are set.
    """

    file: str
    column: str | None = None
    delimiter: Annotated[str, Field(min_length=1, max_length=1)] = Field(
        default_factory=lambda read: _delimiter(read.get("file", ""))
    )
    quoting: Annotated[
        Literal["csv", "none"], Field(exclude_if=lambda quoting: quoting == "csv")
    ] = "csv"
    header: Annotated[bool, Field(exclude_if=lambda header: header)] = True
    limit: Positive | None = None
    digest: str = ""
    count: int = 0


class Sampling(Record):
    """`[sampling]`: which seeds, and every setting that alters pixels."""

    seeds: Annotated[int, Field(ge=1, le=1_000_000)] = 500
    first_seed: Seed = 0
    sampler: str | None = None
    steps: Positive = 50
    guidance_scale: Annotated[float, Field(ge=0)] = 7.5
    negative_prompt: str = ""
    width: Annotated[int, Field(ge=1, le=8192)] = 512
    height: Annotated[int, Field(ge=1, le=8192)] = 512
    batch_size: Positive = 16
    images_per_unit: Positive = 50


class Blocks(Record):
    """`[descriptors]`: the squares, in pixels, over which the descriptor of an image sums.

    Brightness is summed over `fine` ones, colour and energy over `coarse` ones. Neither alters a
    pixel or a result: smaller squares make larger descriptors, that spare more decoding.
    """

    fine: Literal[2, 4, 8] = 4
    coarse: Literal[8, 16] = 16


DEFAULT_BLOCKS = Blocks()


class Analysis(Record):
    """`[analysis]`: when two generations are the same picture, and how many make a flag.

    `matrix`: `pruned` computes exact distances only where descriptors leave a clique possible,
    `full` for all pairs from all pixels; both give the same results.
    """

    matrix: Literal["pruned", "full"] = "pruned"
    tiles: Annotated[int, Field(ge=1, le=64)] = 4
    edge_threshold: Annotated[float, Field(gt=0, le=1)] = 0.1
    min_clique_size: Annotated[int, Field(ge=2)] = 10
    max_steps: Positive = 100_000


class NearCopies(Record):
    """`[verification.near_copies]`: when two training pictures count as one.

    Both are compared in a frame of 64 × 64 pixels. Their `correlation` is at least that, once each
    channel's plane is off: of copies that were stored, scaled or cut a little anew 99 % have more,
    of strangers one pair in a million. The larger standard deviation is at most `contrast` times
    the smaller, and no channel's mean is further apart than `colour`, since what was recoloured is
    another picture. Where either standard deviation is below `plain`, what forms there are is
    noise, and the l2 is at most `plain_l2` instead.
    """

    correlation: Annotated[float, Field(gt=0, le=1)] = 0.93
    contrast: Annotated[float, Field(ge=1)] = 1.4
    colour: Annotated[float, Field(ge=0, le=1)] = 0.1
    plain: Annotated[float, Field(ge=0, le=1)] = 0.03
    plain_l2: Annotated[float, Field(ge=0, le=1)] = 0.02


DEFAULT_NEAR_COPIES = NearCopies()


class Verification(Record):
    """`[verification]`: which training pictures to compare with, and what is an extraction.

    `neighbours_of`: whose nearest training pictures the adaptive score compares with, those of the
    matched training picture or the generation's own. `flip`: a training picture is as far as it or
    its mirror image is, whichever is nearer. `controls`: pictures that were never trained on, for
    `verify`; they alter no result. `column`: where Parquet files and `.npz` archives hold the
    pictures, "" for the usual one; `folder`: where that column's paths begin, "" for the folder of
    its file. Ids name these five only where they are set.
    """

    training_set: str
    column: Annotated[str, Field(exclude_if=lambda name: not name)] = ""
    folder: Annotated[str, Field(exclude_if=lambda path: not path)] = ""
    threshold: Annotated[float, Field(gt=0, le=1)] = 0.15
    resize: Literal["short-side", "stretch"] = "short-side"
    crop: Literal["center"] = "center"
    alpha: Annotated[float, Field(gt=0)] = 0.5
    neighbours: Positive = 50
    neighbours_of: Annotated[
        Literal["training", "generation"], Field(exclude_if=lambda whose: whose == "training")
    ] = "training"
    flip: Annotated[bool, Field(exclude_if=lambda flip: not flip)] = False
    controls: Annotated[str, Field(exclude_if=lambda path: not path)] = ""
    near_copies: Annotated[
        NearCopies, Field(exclude_if=lambda rule: rule == DEFAULT_NEAR_COPIES)
    ] = DEFAULT_NEAR_COPIES
    fingerprint: str = ""


WHEREABOUTS = frozenset({"training_set", "folder", "controls"})
"""The settings of a verification that say where pictures lie; fingerprints say which they are."""


class AnalysisSettings(Record):
    """How images are judged: a campaign's own, or those of a re-analysis."""

    analysis: Analysis = Analysis()
    verification: Verification | None = None

    @property
    def algorithm(self) -> int:
        """The version of what judges by these settings."""
        return MATCHING if self.verification else ANALYSIS

    @property
    def analysis_id(self) -> str:
        """Names the settings and the algorithm's version, not where the training set lies."""
        return self._named(self.algorithm)

    @property
    def earlier_ids(self) -> tuple[str, ...]:
        """Ids under which earlier versions judged by these settings: all but the matches holds."""
        return (self._named(ANALYSIS),) if self.verification else ()

    def _named(self, algorithm: int) -> str:
        settings = self.model_dump(exclude={"verification": set(WHEREABOUTS)})
        return digest({"algorithm": algorithm, **settings})


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


class Campaign(Record):
    """One audit, resolved and fixed: what `campaigns/<campaign_id>/campaign.json` holds.

    `keep`: the images of which prompts stay once they are analysed. It alters neither pixels nor
    verdicts.
    """

    name: Name
    keep: Literal["all", "flagged"] = "all"
    model: Model
    prompts: PromptList
    sampling: Sampling = Sampling()
    descriptors: Blocks = DEFAULT_BLOCKS
    analysis: Analysis = Analysis()
    verification: Verification | None = None

    @property
    def generation_id(self) -> str:
        """Names every setting that alters pixels; campaigns that share it share shards."""
        sampling = self.sampling.model_dump(exclude={"seeds", "first_seed"})
        model = self.model.model_dump(exclude={"path", "revision"})
        return digest({"format": FORMAT, "model": model, "sampling": sampling})

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
        return f"{self.name}-{digest(self.model_dump(mode='json'))[:12]}"

    @property
    def seeds(self) -> range:
        """The campaign's seeds, ascending."""
        first = self.sampling.first_seed
        return range(first, first + self.sampling.seeds)


class Submission(Record):
    """A campaign as it was submitted: fixed, with the cut of its seeds into units.

    `notes` say in sentences what the model does not see of the prompts.
    """

    campaign: Campaign
    cuts: tuple[SeedRange, ...]
    submitted_at: str
    versions: str
    notes: Annotated[tuple[str, ...], Field(exclude_if=lambda notes: not notes)] = ()

    @model_validator(mode="after")
    def _cuts_cover_the_seeds(self) -> Self:
        seeds = self.campaign.seeds
        ends = [seeds.start - 1, *(cut.last for cut in self.cuts)]
        firsts = [cut.first for cut in self.cuts]
        if firsts != [end + 1 for end in ends[:-1]] or ends[-1] != seeds.stop - 1:
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

    `index` is the unit's bit in its campaign's bitmap; `token` names this issue of the unit.
    """

    campaign_id: str
    generation_id: str
    index: Annotated[int, Field(ge=0)]
    token: str = ""
    prompt: str
    seeds: SeedRange

    @property
    def prompt_id(self) -> str:
        """The id of the unit's prompt."""
        return Prompt(text=self.prompt).prompt_id


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


def _delimiter(file: str) -> str:
    return "\t" if file.lower().endswith((".tsv", ".tsv.gz")) else ","


def prompt_id_of(text: str) -> str:
    """`Prompt.prompt_id`, for very many texts."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def digest(value: object) -> str:
    """Hash a JSON value: 16 hex digits of sha256 over its canonical text."""
    return hashlib.sha256(canonical(value).encode()).hexdigest()[:16]


def canonical(value: object) -> str:
    """A JSON value's one text: keys sorted, no white space, no escapes that are not needed."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
