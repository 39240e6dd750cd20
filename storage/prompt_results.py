"""What an analysis says of one prompt."""

from itertools import pairwise
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from seedsweep.storage.record import Record, digest
from seedsweep.storage.records import prompt_id_of
from seedsweep.storage.settings.sampling import PromptSettings


class Transform(Record):
    """How a training picture came to the generations' geometry.

    `width` and `height` are as it is stored, `orientation` is EXIF's (1: upright), which was
    undone; `transparent`: it was put on white; `profile` names the colour profile that it was
    converted from, empty for sRGB and for none. `resize` and `crop` are none if it fits.
    `flip`: it was mirrored, since that is nearer.
    """

    width: int
    height: int
    orientation: int = 1
    transparent: bool = False
    profile: str = ""
    resize: Literal["none", "short-side", "stretch"]
    crop: Literal["none", "center"]
    flip: bool = False


class Match(Record):
    """A representative's nearest training picture.

    `adaptive` is the score that decides, that by the neighbours of the training picture or of the
    generation as the settings say; each is null if the training set has too few distinct
    pictures to score. `agreement`: the share of the picture's area in which both have the same
    texture, null if neither has any. `distinct`: the neighbours were distinct pictures; if
    they were not, an earlier version matched, and said nothing of the last three.
    """

    training_id: str
    l2: float
    tiled_l2: float
    adaptive: float | None
    extracted: bool
    transform: Transform | None = None
    adaptive_training: float | None = None
    adaptive_generation: float | None = None
    agreement: float | None = None
    distinct: bool = False


class Clique(Record):
    """Generations of a prompt that all show one picture, and what their representative matches."""

    clique_seeds: tuple[int, ...]
    mean_distance: float
    representative_seed: int
    match: Match | None

    @property
    def clique_size(self) -> int:
        """How many generations show the picture."""
        return len(self.clique_seeds)


class Scaling(Record):
    """That a generation shows a part larger or smaller than the representative does.

    What is there at a distance from the picture's middle is here at so many `thousandths` of it,
    and lies so many sixteenths of a pixel further `down` and to the `right` than its shift says.
    """

    thousandths: Annotated[int, Field(ge=800, le=1250)]
    down: Annotated[int, Field(ge=0, lt=16)] = 0
    right: Annotated[int, Field(ge=0, lt=16)] = 0


class Shift(Record):
    """Where a generation shows a part: so many pixels further `down` and to the `right` than the
    representative does, once it is `mirrored`, left for right, if it is. `scaling` is null if it
    shows the part as large."""

    down: int = 0
    right: int = 0
    mirrored: bool = False
    scaling: Annotated[Scaling | None, Field(exclude_if=lambda scaling: scaling is None)] = None


class Part(Record):
    """A part of the picture that generations of a prompt share, while the rest of it varies.

    `tiles`: its places in the grid, row by row. `whole_seeds` show it in all of these, the other
    `seeds` in enough of them. `share`: how much of the picture's area its mask has. The
    representative is the generation that all the others were found around. `shifts`: where each of
    the `seeds` shows it, empty if all do so at one place. What it matches is told
    by a search, never by `match`: stores of a version before have that, and it is null.
    """

    seeds: tuple[int, ...]
    whole_seeds: tuple[int, ...]
    tiles: tuple[int, ...]
    share: Annotated[float, Field(ge=0, le=1)]
    representative_seed: int
    shifts: tuple[Shift, ...] = ()
    match: None = Field(default=None, exclude=True)

    @property
    def part_id(self) -> str:
        """Names the part among all of its prompt, and tells it from what a later analysis finds."""
        return digest({name: getattr(self, name) for name in ("seeds", "whole_seeds", "tiles")})

    @model_validator(mode="after")
    def _is_of_one_mind(self) -> Self:
        for ascending in (self.seeds, self.whole_seeds, self.tiles):
            if not all(a < b for a, b in pairwise(ascending)):
                raise ValueError("a part's seeds or tiles do not ascend")
        if not {self.representative_seed} <= {*self.whole_seeds} <= {*self.seeds}:
            raise ValueError("a part is not shown by those that it is said to be shown by")
        if self.shifts and len(self.shifts) != len(self.seeds):
            raise ValueError("a part says not of each picture where that shows it")
        return self

    def shift(self, seed: int) -> Shift:
        """Where one of its generations shows it."""
        return self.shifts[self.seeds.index(seed)] if self.shifts else Shift()


class Drop(Record):
    """That a prompt did not go on after the stage of this number.

    `near`: it was a near miss. `sampled`: it got all its pictures nevertheless, since it is one of
    those that show what the stages miss. `score` is what a stage with a screen went by.
    """

    stage: Annotated[int, Field(ge=1)]
    near: bool
    sampled: bool
    score: Annotated[float | None, Field(exclude_if=lambda score: score is None)] = None


_NOTHING = (0, (), None, None, None, ())
"""Size, seeds, mean distance and representative of no clique, its match, and further ones."""


class PromptResult(Record):
    """What the analysis says of one prompt: one row of the results.

    The clique is the largest; `further_cliques` are of other pictures that the prompt repeats, the
    larger first: no edge joins one to a larger one. `parts` are what repeats beside these, if the
    analysis looked for any: `parts_proven` if the search for them was not cut short.

    `drop` is null if the prompt went on after every stage, or the campaign has none. `settings` are
    those that the prompt has of its own, null if prompts have none. A record that
    contradicts itself is refused.
    """

    prompt_id: str
    prompt: str
    seeds: int
    seeds_digest: str
    excluded: int
    edges: int
    clique_size: int
    clique_seeds: tuple[int, ...]
    clique_proven: bool
    clique_upper_bound: int
    mean_distance: float | None
    flagged: bool
    representative_seed: int | None
    match: Match | None
    further_cliques: tuple[Clique, ...] = ()
    parts: tuple[Part, ...] = ()
    parts_proven: bool = True
    drop: Drop | None = None
    settings: PromptSettings | None = None

    @model_validator(mode="after")
    def _is_of_one_mind(self) -> Self:
        if self.prompt_id != prompt_id_of(self.prompt):
            raise ValueError("the id is not the prompt's")
        if not self.clique_size <= self.seeds - self.excluded <= self.seeds:
            raise ValueError("it has fewer usable pictures than it says")
        if not self.flagged:
            said = (self.clique_size, self.clique_seeds, self.mean_distance,
                    self.representative_seed, self.match, self.further_cliques)  # fmt: skip
            if said != _NOTHING:
                raise ValueError("it is not flagged, and has a clique")
            return self
        if len(self.clique_seeds) != self.clique_size or not self.cliques:
            raise ValueError("it is flagged, and its clique is not what it says")
        for clique in self.cliques:
            if not all(a < b for a, b in pairwise(clique.clique_seeds)):
                raise ValueError("a clique's seeds do not ascend")
            if clique.representative_seed not in clique.clique_seeds:
                raise ValueError("a representative is not in its clique")
        return self

    @property
    def usable(self) -> int:
        """How many of its pictures are evidence."""
        return self.seeds - self.excluded

    @property
    def dropped_after(self) -> int | None:
        """The number of the stage after which no more of its pictures were made, if any."""
        return self.drop.stage if self.drop and not self.drop.sampled else None

    @property
    def flagged_partial(self) -> bool:
        """Whether a part repeats, whatever the rest shows."""
        return bool(self.parts)

    @property
    def cliques(self) -> tuple[Clique, ...]:
        """All its cliques, the largest first; none if it is not flagged."""
        if self.mean_distance is None or self.representative_seed is None:
            return ()
        largest = Clique(
            clique_seeds=self.clique_seeds,
            mean_distance=self.mean_distance,
            representative_seed=self.representative_seed,
            match=self.match,
        )
        return (largest, *self.further_cliques)

    @property
    def matches(self) -> tuple[Match, ...]:
        """The matches of all its cliques, the largest clique's first."""
        return tuple(clique.match for clique in self.cliques if clique.match)

    @property
    def extracted(self) -> bool:
        """Whether any of its cliques repeats a training picture."""
        return any(match.extracted for match in self.matches)
