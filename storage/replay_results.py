"""What came of making a stored image again."""

from seedsweep.storage.record import Record, Seed
from seedsweep.storage.records import Provenance


class FactDifference(Record):
    """A recorded fact that is another one here.

    `fact` is the name of a provenance's field, or `versions.torch`, `recipe.steps` for a part of
    one; a part that one side does not have is empty there.
    """

    fact: str
    recorded: str
    here: str


class Distance(Record):
    """How far two pictures are apart.

    `l2` and `tiled_l2` are in [0, 1]; `levels` is the largest difference of a value, in levels of
    0-255; `share` that of the pixels which differ at all.
    """

    l2: float
    tiled_l2: float
    levels: int
    share: float


class Replay(Record):
    """An image made again from its record, and what came of it.

    `sha256` is the recorded digest of its pixels, `sha256_here` that of the new ones; `here` is
    what made these, `differences` what of that is not as recorded. `distance` is null if it is
    unknown: the pixels differ, and the picture was not kept.
    """

    prompt_id: str
    prompt: str
    seed: Seed
    sha256: str
    sha256_here: str
    distance: Distance | None
    here: Provenance
    differences: tuple[FactDifference, ...]

    @property
    def is_equal(self) -> bool:
        """Whether the pixels are equal, bit for bit."""
        return self.sha256 == self.sha256_here
