"""What a search of a training set found."""

from dataclasses import dataclass

from seedsweep.storage.prompt_results import Shift
from seedsweep.storage.verification_results import Coverage
from seedsweep.workers.analysis.matching import TrainingMatch
from seedsweep.workers.training.slice_queries import Fetched, PictureName


@dataclass(frozen=True, slots=True, eq=False)
class Matched:
    """What was found of each query, in their order: the training picture nearest to it, as it is
    nearer where mirrored ones count, and the match. `copies`, by the training picture's position:
    how many near-copies of it there are, itself among them. By the place of a query: `around`, the
    l2 to its distinct neighbours, without its near-copies, where that was asked for, and `own`,
    those beside its match."""

    fetched: list[Fetched]
    matches: list[TrainingMatch]
    copies: dict[int, int]
    around: dict[int, list[float]]
    own: dict[int, list[float]]
    coverage: Coverage


@dataclass(frozen=True, slots=True, eq=False)
class MatchedPart:
    """What was found of one part: the training picture `nearest` to it, where that shows it, the l2
    and the correlation of their pixels in the mask, once means are taken off, `copies`, how many
    training pictures show the part, and the first of these, by position."""

    nearest: Fetched
    shift: Shift
    l2: float
    correlation: float
    copies: int
    showing: tuple[PictureName, ...]
