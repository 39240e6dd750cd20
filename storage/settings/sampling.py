"""Which prompts and seeds, what alters their pixels, and in which stages they are tried."""

from fractions import Fraction
from itertools import pairwise
from math import ceil
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from seedsweep.storage.record import Positive, Record, Seed

Guidance = Annotated[float, Field(ge=0)]
Side = Annotated[int, Field(ge=1, le=8192)]
_ABSENT = Field(default=None, exclude_if=lambda value: value is None)


class SettingColumns(Record):
    """`[prompts.settings]`: settings that each prompt has of its own, by the column of the prompts
    file that holds them. They take the place of those in `[sampling]`.

    Each cell holds what `[sampling]` takes; only `negative_prompt` may be empty. A file of one text
    a line has no columns. Every prompt is judged by its own pictures alone, so prompts may differ
    in all of these, even in size if there is no `[verification]`.
    """

    first_seed: str | None = _ABSENT
    """The column of first seeds: a prompt's other seeds follow its own first one."""
    seeds: str | None = _ABSENT
    """The column of lists of seeds, instead of first seeds: `sampling.seeds` in each at most; the
    campaign's own fill up shorter ones. It needs `images_per_unit` and `batch_size` of 1."""
    sampler: str | None = _ABSENT
    """The column of samplers, scheduler classes of diffusers."""
    steps: str | None = _ABSENT
    """The column of numbers of denoising steps."""
    guidance_scale: str | None = _ABSENT
    """The column of guidance scales."""
    negative_prompt: str | None = _ABSENT
    """The column of negative prompts. An empty cell is none."""
    width: str | None = _ABSENT
    """The column of widths in pixels."""
    height: str | None = _ABSENT
    """The column of heights in pixels."""

    @property
    def named(self) -> dict[str, str]:
        """The columns that are named, by setting, in the order of the record."""
        return {name: column for name, column in self if column is not None}


class PromptSettings(Record):
    """The settings that a prompt has of its own; those of `[sampling]` hold where it has none.
    `seeds` ascend, each once."""

    first_seed: Annotated[Seed | None, _ABSENT] = None
    seeds: Annotated[tuple[Seed, ...] | None, _ABSENT] = None
    sampler: Annotated[str | None, _ABSENT] = None
    steps: Annotated[Positive | None, _ABSENT] = None
    guidance_scale: Annotated[Guidance | None, _ABSENT] = None
    negative_prompt: Annotated[str | None, _ABSENT] = None
    width: Annotated[Side | None, _ABSENT] = None
    height: Annotated[Side | None, _ABSENT] = None
    added: Annotated[tuple[Seed, ...], Field(exclude=True)] = ()
    """Those of `seeds` that were not listed for the prompt: the campaign's, which filled up a
    shorter list. It alters nothing that is made or judged, so only lists of prompts keep it."""

    @model_validator(mode="after")
    def _seeds_ascend(self) -> Self:
        if not {*self.added} <= {*(self.seeds or ())}:
            raise ValueError("seeds were added that are not among its seeds")
        if self.seeds is not None and (
            not self.seeds or any(a >= b for a, b in pairwise(self.seeds))
        ):
            raise ValueError("seeds of its own are listed once each, ascending")
        return self

    @property
    def given(self) -> dict[str, int | float | str | tuple[int, ...]]:
        """Those that it has, by name, in the order of the record."""
        return {name: value for name, value in self if value is not None and name != "added"}

    @property
    def made(self) -> Self:
        """The same for all that is made and judged, whoever listed its seeds."""
        return self.model_copy(update={"added": ()})

    @property
    def recipe(self) -> Self:
        """Those that alter pixels, whatever the seed."""
        return self.model_copy(update={"first_seed": None, "seeds": None, "added": ()})

    @property
    def sampled(self) -> dict[str, object]:
        """What takes the place of the fields of `Sampling`; of a list of seeds the first."""
        if self.seeds is None:
            return {**self.given}
        return {**self.given, "first_seed": self.seeds[0], "seeds": len(self.seeds)}

    def __str__(self) -> str:
        words = (
            f"{name.replace('_', ' ')} {_in_words(value)}" for name, value in self.given.items()
        )
        return ", ".join(words)


class PromptList(Record):
    """`[prompts]`: where the prompts are read from. Leave this table out if the model makes
    pictures of seeds alone."""

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
    settings: Annotated[SettingColumns, Field(exclude_if=lambda columns: not columns.named)] = (
        SettingColumns()
    )
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
    guidance_scale: Guidance = 7.5
    """How strongly the prompt guides. Recorded as null if the model does not use it."""
    negative_prompt: str = ""
    """What the pictures should not show."""
    width: Side = 512
    """The pictures' width in pixels."""
    height: Side = 512
    """The pictures' height in pixels."""
    batch_size: Annotated[int, Field(ge=1, lt=2**31)] = 16
    """How many pictures are made at once. It is halved if they do not fit the device's memory."""
    images_per_unit: Positive = 50
    """How many pictures are made as one piece of work, a unit, and stored in one file, a shard. If
    it is a multiple of `batch_size`, no batch is half empty."""


Score = Literal["noise-magnitude", "one-step", "anisotropy"]


class ScreenSettings(Record):
    """How prompts are screened: a cheap score of each, the higher the likelier it is memorised."""

    score: Score
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


DEFAULT_COHORT = 1000


class Stage(Record):
    """`[[stages]]`: fewer tries. Each prompt gets a few pictures first, or a score without any; the
    rest are made only of prompts that go on. `stages = "default"` above the first table takes the
    ready-made ones.

    Stages come in the order in which they stand, those with a screen first. After the last one, a
    prompt that is left gets all `sampling.seeds`.
    """

    screen: Annotated[Score | None, Field(exclude_if=lambda score: score is None)] = None
    """Each prompt gets this score from the inside of the model, and no picture. Not set: pictures
    are made."""
    above: Annotated[float | None, Field(exclude_if=lambda bound: bound is None)] = None
    """With `screen`: a prompt goes on if its score is above that, or if it has none. Any other is
    dropped."""
    share: Annotated[float | None, Field(gt=0, lt=1, exclude_if=lambda share: share is None)] = None
    """With `screen`, in place of `above`: of each cohort, this share of the prompts goes on, those
    with the highest scores: 0.1 of 1,000 are 100. Their number is rounded up; of equal scores the
    first in the file go on. A prompt without a score goes on too, and takes no one's place."""
    cohort: Annotated[
        int, Field(ge=1, le=100_000, exclude_if=lambda size: size == DEFAULT_COHORT)
    ] = DEFAULT_COHORT
    """With `share`: so many prompts, in their order, are one cohort. The last one may be
    smaller."""
    steps: Annotated[Positive, Field(exclude_if=lambda steps: steps == 1)] = 1
    """With `screen`: over how many of the sampler's first steps `noise-magnitude` is averaged."""
    seeds: Annotated[int, Field(ge=1, le=1_000_000)]
    """So many pictures of each prompt there are at its end, those of earlier stages included: 2 or
    more. With `screen`: over so many seeds the score is averaged."""
    min_clique_size: Annotated[int, Field(ge=2)] = 2
    """A prompt goes on if at least so many of these pictures form a clique, or with
    `analysis.partial` share a part. Any other is dropped."""
    edge_threshold: Annotated[float, Field(gt=0, le=1)] | None = None
    """Two pictures are the same here if their tiled l2 is at most that. Not set: that of
    `[analysis]`."""

    @model_validator(mode="after")
    def _is_of_one_kind(self) -> Self:
        if self.share is None and self.cohort != DEFAULT_COHORT:
            raise ValueError("cohort is for a stage with a share")
        if self.share is not None and self.exact_share * self.cohort < 1:
            raise ValueError(
                f"a share of {self.share:g} of {self.cohort:,} is less than one prompt; make the "
                "cohort larger"
            )
        if self.screen is None:
            if (self.above, self.share, self.steps) != (None, None, 1):
                raise ValueError(
                    "above, share and steps are for a stage with a screen; name the screen"
                )
            if self.seeds < 2:
                raise ValueError("a stage needs two seeds at least, to show that pictures repeat")
            return self
        if (self.above is None) == (self.share is None):
            raise ValueError(
                f"the stage with the screen {self.screen} needs a bound, above, or a share, and "
                "not both"
            )
        if self.min_clique_size != 2 or self.edge_threshold is not None:
            raise ValueError(
                "a stage with a screen makes no pictures; leave min_clique_size and "
                "edge_threshold out"
            )
        ScreenSettings(score=self.screen, steps=self.steps, seeds=self.seeds)
        return self

    @property
    def exact_share(self) -> Fraction:
        """The share as its digits say: 0.07 of 100 is 7, and not a little more. 1 without one."""
        return Fraction(1) if self.share is None else Fraction(repr(self.share))

    def promoted(self, prompts: int) -> int:
        """How many of so many prompts of a cohort that have a score go on."""
        return ceil(self.exact_share * prompts)


MAX_STAGES = 16

DEFAULT_MISSED_SAMPLE = 0.01

NEAR_FACTOR = 10
"""So many times as often are near misses taken as others."""


def _in_words(value: float | str | tuple[int, ...]) -> str:
    if isinstance(value, tuple):
        return " ".join(map(str, value))
    return repr(value) if isinstance(value, str) else f"{value:.15g}"


def _delimiter(file: str) -> str:
    return "\t" if file.lower().endswith((".tsv", ".tsv.gz")) else ","
