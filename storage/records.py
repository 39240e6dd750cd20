"""The frozen records that are stored or sent between processes, the resolved `Campaign` among them.

Reading a record checks it: a wrong type or an unknown field raises `pydantic.ValidationError`.
"""

import hashlib
import json
from collections.abc import Sequence
from enum import StrEnum
from itertools import pairwise
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
WEIGHTS_FILE = r"^(?:(?:[^./\\\x00][^/\\\x00]*/)*[^./\\\x00][^/\\\x00]*\.safetensors)?$"
Weight = Annotated[float, Field(gt=0, le=1000)]


class Record(BaseModel):
    """A frozen record that knows all its fields."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Source(Record):
    """Files that a model is loaded from, in one place."""

    path: Annotated[str, Field(min_length=1)]
    """A folder, a `.safetensors` file or a hub id."""
    revision: Annotated[str, Field(exclude_if=lambda revision: revision == "main")] = "main"
    """Of a hub id: its branch, tag or commit. `run` and `submit` fix it to a commit."""
    fingerprint: Annotated[str, Field(exclude_if=lambda fingerprint: not fingerprint)] = ""
    """Set by submission: the hub commit, or the files' hash; of one file it is its sha256."""


class Adapter(Source):
    """`[[model.adapters]]`: a LoRA on top of the model; several are added up."""

    file: Annotated[str, Field(pattern=WEIGHTS_FILE, exclude_if=lambda file: not file)] = ""
    """Which file of the folder or hub id. Not set: its only `.safetensors` file."""
    weight: Annotated[float, Field(ge=-100, le=100)] = 1.0
    """How strongly it acts, as in diffusers' `set_adapters`."""
    trigger: str = ""
    """Put before each prompt that does not have it, with a space between; the model sees
    that, and results name the prompt as it stands in the file."""


class Embedding(Source):
    """`[[model.embeddings]]`: a textual inversion, a word that the model learned."""

    file: Annotated[str, Field(pattern=WEIGHTS_FILE, exclude_if=lambda file: not file)] = ""
    """Which file of the folder or hub id. Not set: its only `.safetensors` file."""
    token: Annotated[str, Field(pattern=r"^\S+$")]
    """The word, which has to stand in a prompt, a trigger or the negative prompt."""


class Component(Source):
    """`[[model.components]]`: a part of the model that another one takes the place of."""

    path: Annotated[str, Field(min_length=1)]
    """The folder or hub id of the part, or of a pipeline that has it."""
    name: Name
    """What the pipeline calls the part, such as `vae`, `unet`, `transformer` or `text_encoder`."""


class Model(Record):
    """`[model]`: what makes the pictures, and how it is loaded and run."""

    pipeline: Name = "diffusers"
    """`diffusers`, `noise` (pictures of noise, for trying things out), `python` (a function, which
    `path` names as `module:function`), or the name of a plug-in."""
    path: str = ""
    """The folder that `save_pretrained` wrote, a hub id, or a single `.safetensors` checkpoint."""
    revision: str = "main"
    """Of a hub model: its branch, tag or commit. `run` and `submit` fix it to a commit."""
    variant: Annotated[str, Field(pattern=r"^\w*$", exclude_if=lambda variant: not variant)] = ""
    """Which of its weights: `fp16` for files such as `model.fp16.safetensors`. Not set: those of
    no variant, or of the only one that its folder has."""
    config: Annotated[str, Field(exclude_if=lambda config: not config)] = ""
    """Of a single checkpoint: a diffusers folder or hub id of the same kind of model. All but the
    weights is taken from it: the sizes, the sampler and what it predicts, the tokenizers."""
    dtype: Literal["float32", "float16", "bfloat16"] = "float32"
    """The numbers that the model computes with."""
    attention_slicing: bool = False
    """As in diffusers: less memory, slower."""
    vae_slicing: bool = False
    """As in diffusers: the pictures of a batch are decoded one by one."""
    vae_tiling: bool = False
    """As in diffusers: a large picture is decoded in parts."""
    channels_last: bool = False
    """As in diffusers: another order in memory, faster on some GPUs."""
    compile: bool = False
    """As in diffusers: the denoiser is compiled. The workers' hosts need a C++ compiler."""
    cpu_offload: bool = False
    """As in diffusers: the parts of the model take turns on the GPU. It needs one."""
    fuse_adapters: Annotated[bool, Field(exclude_if=lambda fuse: not fuse)] = False
    """The adapters are added to the model's weights when it is loaded: faster, other rounding."""
    adapters: Annotated[tuple[Adapter, ...], Field(exclude_if=lambda them: not them)] = ()
    embeddings: Annotated[tuple[Embedding, ...], Field(exclude_if=lambda them: not them)] = ()
    components: Annotated[tuple[Component, ...], Field(exclude_if=lambda them: not them)] = ()
    fingerprint: str = ""
    """Set by submission: the hub commit, the files' hash, or what else tells the version."""
    config_fingerprint: Annotated[str, Field(exclude_if=lambda fingerprint: not fingerprint)] = ""
    """Set by submission: the same of `config`."""

    @property
    def model_id(self) -> str:
        """Names what a worker has to load and how, whatever the recipe and wherever it lies."""
        return digest(self.identity)

    @property
    def identity(self) -> dict[str, object]:
        """What is loaded and how, with the fingerprints of all its files and not their places."""
        places, each = {"path": True, "revision": True}, {"__all__": {"path", "revision"}}
        parts = {"adapters": each, "embeddings": each, "components": each}
        return self.model_dump(exclude={**places, "config": True, **parts})

    @property
    def is_single_file(self) -> bool:
        """Whether it is a checkpoint of one file, which `config` describes."""
        return self.pipeline == "diffusers" and self.path.endswith(".safetensors")

    def given(self, prompt: str) -> str:
        """What the model is given for a prompt: the adapters' triggers that it lacks come first."""
        lacking = (one.trigger for one in self.adapters if one.trigger not in prompt)
        return " ".join([*lacking, prompt])

    @property
    def options(self) -> tuple[str, ...]:
        """The names of the options that are switched on."""
        return tuple(name for name, value in self if value is True)


class PromptList(Record):
    """`[prompts]`: where the prompts are read from."""

    file: str
    """The prompts file, relative to the campaign file: .txt, .csv, .tsv, .jsonl, .json, each also
    as .gz, or .parquet; a folder of them, or a glob."""
    column: str | None = None
    """The column that holds the prompts. Not set: the only one."""
    delimiter: Annotated[str, Field(min_length=1, max_length=1)] = Field(
        default_factory=lambda read: _delimiter(read.get("file", ""))
    )
    """What stands between the cells of a .csv or .tsv: a tab in a .tsv, else a comma."""
    quoting: Annotated[
        Literal["csv", "none"], Field(exclude_if=lambda quoting: quoting == "csv")
    ] = "csv"
    """`csv`: quotes hold the cells of a .csv or .tsv together. `none`: they are letters."""
    header: Annotated[bool, Field(exclude_if=lambda header: header)] = True
    """The first line of a .csv or .tsv names its columns. If not, `column` is a number from 1, as
    text."""
    limit: Positive | None = None
    """Only so many prompts are read."""
    digest: str = ""
    """Set by submission: the hash of the list."""
    count: int = 0
    """Set by submission: how many prompts there are."""


class Sampling(Record):
    """`[sampling]`: which seeds, and every setting that alters pixels."""

    seeds: Annotated[int, Field(ge=1, le=1_000_000)] = 500
    """How many pictures are made of each prompt. The paper made 500."""
    first_seed: Seed = 0
    """The first seed; the others follow it."""
    sampler: str | None = None
    """A scheduler class of diffusers, such as `DDIMScheduler`. Not set: the model's own."""
    steps: Positive = 50
    """How many denoising steps make a picture."""
    guidance_scale: Annotated[float, Field(ge=0)] = 7.5
    """How strongly the prompt guides. Recorded as null if the model does not use it."""
    negative_prompt: str = ""
    """What the pictures should not show."""
    width: Annotated[int, Field(ge=1, le=8192)] = 512
    """The pictures' width in pixels."""
    height: Annotated[int, Field(ge=1, le=8192)] = 512
    """The pictures' height in pixels."""
    batch_size: Positive = 16
    """How many pictures are made at once. It is halved if they do not fit the device's memory."""
    images_per_unit: Positive = 50
    """How many pictures are made as one piece of work, a unit, and stored in one file, a shard. If
    it is a multiple of `batch_size`, no batch is half empty."""


class ScreenSettings(Record):
    """How prompts are screened: a cheap score of each, the higher the likelier it is memorised."""

    score: Literal["noise-magnitude", "one-step", "anisotropy"]
    """Which score; the functions in `workers/screening/scores.py` say what each is."""
    steps: Positive = 1
    """Over how many of the sampler's first steps `noise-magnitude` is averaged; the others take
    one."""
    seeds: Annotated[int, Field(ge=1, le=1_000_000)] = 1
    """How many seeds of each prompt are scored."""
    first_seed: Seed = 0
    """The first seed; the others follow it. A seed stands for the noise that its picture has."""

    @model_validator(mode="after")
    def _is_one_step(self) -> Self:
        if self.steps > 1 and self.score != "noise-magnitude":
            raise ValueError(f"{self.score} takes one step; leave steps out")
        return self


class Blocks(Record):
    """`[descriptors]`: the squares over which the descriptor of a picture sums.

    They alter no pixel and no result. Smaller squares make larger descriptors, and spare decoding.
    """

    fine: Literal[2, 4, 8] = 4
    """The side in pixels of the squares that sum brightness."""
    coarse: Literal[8, 16] = 16
    """The side in pixels of the squares that sum colour and energy."""


DEFAULT_BLOCKS = Blocks()


class PartRule(Record):
    """`[analysis.parts]`: when a part of the picture repeats, whatever the rest shows.

    In a tile of a grid two pictures are the same if both have texture there, and are near and alike
    once each channel's mean is taken off.
    """

    grid: Annotated[int, Field(ge=2, le=32)] = 8
    """So many tiles on each side."""
    least: Positive = 14
    """So many tiles at least make a part, in which `min_clique_size` pictures are the same."""
    distance: Annotated[float, Field(gt=0, le=1)] = 0.05
    """The largest l2 of two tiles that are the same, once their means are taken off."""
    texture: Annotated[float, Field(gt=0, le=1)] = 0.03
    """The least standard deviation of a tile: plainer ones are all alike."""
    correlation: Annotated[float, Field(ge=0, le=1)] = 0.8
    """The least correlation of two tiles that are the same."""
    spread: Annotated[float, Field(gt=0, le=1)] = 0.06
    """The largest standard deviation of a pixel of the mask, over the pictures with the part."""
    # Ids name what came after the first version only if it is set.
    shift: Annotated[float, Field(ge=0, le=0.1, exclude_if=lambda shift: not shift)] = 0.0
    """So far, as a share of the picture's shorter side, a part may lie from where another picture
    has it."""
    mirror: Annotated[bool, Field(exclude_if=lambda mirror: not mirror)] = False
    """A picture may also show the part mirrored, left for right."""

    @property
    def anywhere(self) -> bool:
        """Whether pictures may show a part in other ways than at one place."""
        return self.shift > 0 or self.mirror


DEFAULT_PART_RULE = PartRule()


class Analysis(Record):
    """`[analysis]`: when two generations are the same picture, and how many make a flag."""

    matrix: Literal["pruned", "full"] = "pruned"
    """`pruned` compares pixels only if the pictures' descriptors do not rule out a clique. `full`
    compares all pixels of all pairs. Both give the same results."""
    tiles: Annotated[int, Field(ge=1, le=64)] = 4
    """Pictures are cut into a grid of tiles, with this many on each side. The tile that differs
    most gives the distance, the tiled l2."""
    edge_threshold: Annotated[float, Field(gt=0, le=1)] = 0.1
    """Two pictures are the same if their tiled l2 is at most that. The paper does not publish its
    own: calibrate it."""
    min_clique_size: Annotated[int, Field(ge=2)] = 10
    """A prompt is flagged if at least this many of its pictures form a clique: each is the same as
    each other."""
    max_steps: Positive = 100_000
    """The search for the largest clique of a prompt ends after so many steps, and says so."""
    # Ids name what came after the first version only if it is set.
    partial: Annotated[bool, Field(exclude_if=lambda partial: not partial)] = False
    """Also finds parts of the picture that repeat while the rest varies."""
    parts: Annotated[PartRule, Field(exclude_if=lambda rule: rule == DEFAULT_PART_RULE)] = (
        DEFAULT_PART_RULE
    )


class NearCopies(Record):
    """`[verification.near_copies]`: when two training pictures count as one.

    Both are compared in a frame of 64 × 64 pixels. The defaults join 99 % of
    copies that were stored again, scaled or cropped a little, and of unrelated pictures one pair in
    a million.
    """

    correlation: Annotated[float, Field(gt=0, le=1)] = 0.93
    """They correlate at least so much, once each channel's plane is taken off."""
    contrast: Annotated[float, Field(ge=1)] = 1.4
    """The larger standard deviation is at most so many times the smaller."""
    colour: Annotated[float, Field(ge=0, le=1)] = 0.1
    """No channel's mean is further apart, since what was recoloured is another picture."""
    plain: Annotated[float, Field(ge=0, le=1)] = 0.03
    """If either standard deviation is below that, its forms are noise, and `plain_l2` decides."""
    plain_l2: Annotated[float, Field(ge=0, le=1)] = 0.02
    """The largest l2 of two plain pictures that count as one."""


DEFAULT_NEAR_COPIES = NearCopies()


class Verification(Record):
    """`[verification]`: which training pictures to compare with, and what is an extraction."""

    # Ids name what came after the first version only if it is set.

    training_set: str
    """A Parquet file, a tar, an array, or a folder of these or of pictures, relative to the
    campaign file."""
    column: Annotated[str, Field(exclude_if=lambda name: not name)] = ""
    """The column of Parquet files, or the array of .npz archives, that holds the pictures. Not set:
    the usual one."""
    folder: Annotated[str, Field(exclude_if=lambda path: not path)] = ""
    """The folder at which the paths in that column begin. Not set: that of the file."""
    threshold: Annotated[float, Field(gt=0, le=1)] = 0.15
    """A match is an extraction if its l2 is at most that, as in the paper's Definition 1."""
    resize: Literal["short-side", "stretch"] = "short-side"
    """How training pictures were brought to the model's size: scaled until they cover it, or
    without regard to their proportions."""
    crop: Literal["center"] = "center"
    """What of a scaled picture was kept."""
    alpha: Annotated[float, Field(gt=0)] = 0.5
    """The adaptive score is l2 ÷ (`alpha` times the mean l2 to the neighbours). If the pictures are
    smaller than 256 pixels, an extraction also has a score of at most 1."""
    neighbours: Positive = 50
    """How many distinct training pictures the adaptive score compares with."""
    neighbours_of: Annotated[
        Literal["training", "generation"], Field(exclude_if=lambda whose: whose == "training")
    ] = "training"
    """Whose nearest training pictures these are: those of the matched one, or of the generation."""
    flip: Annotated[bool, Field(exclude_if=lambda flip: not flip)] = False
    """The mirror image of each training picture is compared too; the nearer of the two counts."""
    controls: Annotated[str, Field(exclude_if=lambda path: not path)] = ""
    """Pictures that were never trained on. `verify` compares with them too, which shows how many
    matches are false. They alter no result."""
    near_copies: Annotated[
        NearCopies, Field(exclude_if=lambda rule: rule == DEFAULT_NEAR_COPIES)
    ] = DEFAULT_NEAR_COPIES
    fingerprint: str = ""
    """Set by submission: the hash of the training set's pictures."""


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


class Stage(Record):
    """`[[stages]]`: fewer tries. Each prompt gets a few pictures first; the rest are made only of
    prompts that go on. `stages = "default"` above the first table takes the ready-made ones.

    Stages come in the order in which they stand. After the last one, a prompt that is left gets all
    `sampling.seeds`.
    """

    seeds: Annotated[int, Field(ge=2)]
    """So many pictures of each prompt there are at its end, those of earlier stages included."""
    min_clique_size: Annotated[int, Field(ge=2)] = 2
    """A prompt goes on if at least so many of these pictures form a clique, or with
    `analysis.partial` share a part. Any other is dropped."""
    edge_threshold: Annotated[float, Field(gt=0, le=1)] | None = None
    """Two pictures are the same here if their tiled l2 is at most that. Not set: that of
    `[analysis]`."""


MAX_STAGES = 16

DEFAULT_MISSED_SAMPLE = 0.01

NEAR_FACTOR = 10
"""So many times as often are near misses taken as others."""


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
    """One attack, resolved and fixed: what `campaigns/<campaign_id>/campaign.json` holds."""

    name: Name
    """What the campaign is called: up to 64 letters, digits, dots, dashes and underscores."""
    keep: Literal["all", "flagged"] = "all"
    """`flagged`: the pictures of all other prompts are deleted once they are analysed. Neither
    pixels nor verdicts depend on it."""
    missed_sample: Annotated[
        float, Field(ge=0, le=1, exclude_if=lambda share: share == DEFAULT_MISSED_SAMPLE)
    ] = DEFAULT_MISSED_SAMPLE
    """With `[[stages]]`: this share of the dropped prompts gets all its pictures all the same, and
    shows what the stages miss. Near misses are taken ten times as often."""
    model: Model
    prompts: PromptList
    sampling: Sampling = Sampling()
    stages: Annotated[
        tuple[Stage, ...], Field(max_length=MAX_STAGES, exclude_if=lambda stages: not stages)
    ] = ()
    descriptors: Blocks = DEFAULT_BLOCKS
    analysis: Analysis = Analysis()
    verification: Verification | None = None

    @model_validator(mode="after")
    def _stages_follow_each_other(self) -> Self:
        seeds = [stage.seeds for stage in self.stages]
        if not all(a < b for a, b in pairwise([*seeds, self.sampling.seeds])):
            raise ValueError(
                "each of the stages needs more seeds than the one before, and sampling.seeds more "
                "than the last"
            )
        if any(stage.min_clique_size > stage.seeds for stage in self.stages):
            raise ValueError("a stage wants a clique of more pictures than it has")
        if self.stages and self.keep != "all":
            raise ValueError('stages need keep = "all"')
        return self

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
        return f"{self.name}-{digest(self.model_dump(mode='json'))[:12]}"

    @property
    def seeds(self) -> range:
        """The campaign's seeds, ascending."""
        first = self.sampling.first_seed
        return range(first, first + self.sampling.seeds)

    def sample_probability(self, near: bool) -> float:
        """How probably a dropped prompt gets all its pictures all the same; `near`: a near miss."""
        return min(1.0, self.missed_sample * (NEAR_FACTOR if near else 1))

    def stage_ends(self, cuts: Sequence[SeedRange]) -> tuple[int, ...]:
        """How many of each prompt's `cuts` are open in each stage; the last stage has all.

        A cut belongs to the first stage that wants one of its seeds.
        """
        wanted = [self.sampling.first_seed + stage.seeds for stage in self.stages]
        return (*(sum(cut.first < seed for cut in cuts) for seed in wanted), len(cuts))


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

    @model_validator(mode="after")
    def _unseen_is_of_the_prompts(self) -> Self:
        unseen = self.unseen or Unseen()
        named = [*unseen.cut, *(index for pair in unseen.same for index in pair)]
        if not all(0 <= index < self.campaign.prompts.count for index in named):
            raise ValueError("what is unseen is of other prompts")
        return self

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
