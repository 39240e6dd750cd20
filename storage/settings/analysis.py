"""`[analysis]` and `[verification]`: how the pictures are judged."""

from typing import Annotated, Literal

from pydantic import Field

from seedsweep.storage.record import Positive, Record, digest

ANALYSIS = 4
"""Raised when equal settings would give other results; part of `analysis_id`."""

MATCHING = 5
"""The same where there is a training set. In 4 the neighbours of a match were not distinct, so that
copies lowered what extracts."""


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
    scale: Annotated[float, Field(ge=0, le=0.1, exclude_if=lambda scale: not scale)] = 0.0
    """A picture may also show the part larger or smaller, by such a share of its size at most."""

    @property
    def anywhere(self) -> bool:
        """Whether pictures may show a part in other ways than at one place."""
        return self.shift > 0 or self.mirror or self.scale > 0


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
