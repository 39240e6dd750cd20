"""What an analysis says of one prompt."""

from typing import Literal

from storage.records import Record


class Transform(Record):
    """How a training picture came to the generations' geometry.

    `width` and `height` are as it is stored, `orientation` is EXIF's (1: upright), which was
    undone; `transparent`: it was put on white; `profile` names the colour profile that it was
    converted from, empty for sRGB and for none. `resize` and `crop` are none where it fits.
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
    """A representative's nearest training picture; `adaptive` is null where it is undefined,
    `transform` in results of earlier versions of the analysis."""

    training_id: str
    l2: float
    tiled_l2: float
    adaptive: float | None
    extracted: bool
    transform: Transform | None = None


class FurtherClique(Record):
    """A prompt's clique of another picture: no edge joins it to a larger clique of the prompt."""

    clique_seeds: tuple[int, ...]
    mean_distance: float
    representative_seed: int
    match: Match | None

    @property
    def clique_size(self) -> int:
        """How many generations show the picture."""
        return len(self.clique_seeds)


class PromptResult(Record):
    """What the analysis says of one prompt: one row of the results.

    The clique is the largest; `further_cliques` are of other pictures that the prompt repeats, the
    larger first.
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
    further_cliques: tuple[FurtherClique, ...] = ()

    @property
    def matches(self) -> tuple[Match, ...]:
        """The matches of all its cliques, the largest clique's first."""
        found = (self.match, *(clique.match for clique in self.further_cliques))
        return tuple(match for match in found if match)

    @property
    def extracted(self) -> bool:
        """Whether any of its cliques repeats a training picture."""
        return any(match.extracted for match in self.matches)
