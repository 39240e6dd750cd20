"""Control pictures: never trained on, and searched for like what flagged prompts repeat."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from seedsweep.storage.errors import ConfigError
from seedsweep.storage.settings.analysis import Verification
from seedsweep.storage.verification_results import ControlMatch, ControlMatches, Coverage
from seedsweep.workers.analysis.agreement import agreement
from seedsweep.workers.analysis.distances import l2_to_all
from seedsweep.workers.analysis.matching import is_extracted, is_nearer_mirrored
from seedsweep.workers.training.matched import Matched
from seedsweep.workers.training.picture_set import open_set
from seedsweep.workers.training.pictures import Reading, first_reason, readable_pictures
from seedsweep.workers.training.slices import PictureColumn

CONTROLS = 1000
"""At most so many control pictures are searched for, the first ones of their set."""

CONTROL_BYTES = 1 << 28
"""And at most so many bytes of them, since each actor has them all in memory."""


Pixels = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Near:
    """The control at this place, and what tells how near a picture is to it."""

    place: int
    l2: float
    agreement: float | None


@dataclass(frozen=True, slots=True, eq=False)
class Controls:
    """Pictures to search for; `coverage` is of those that were met for them, None if no set is
    named, and `whole` says if that is all of it."""

    pictures: list[NDArray[np.uint8]]
    coverage: Coverage | None
    whole: bool = True

    def judged(
        self,
        matched: Matched,
        first: int,
        settings: Verification,
        of_cliques: Sequence[ControlMatch],
    ) -> ControlMatches | None:
        """How many of the queries from the `first` on, these pictures, count as extracted, and what
        cliques would match among them; None if no set is named."""
        if self.coverage is None:
            return None
        matches = [
            is_extracted(match, settings.threshold, min(picture.shape[:2]))
            for match, picture in zip(matched.matches[first:], self.pictures, strict=True)
        ]
        return ControlMatches(
            coverage=self.coverage,
            whole=self.whole,
            searched=len(matches),
            matches=sum(matches),
            of_cliques=tuple(of_cliques),
        )

    def nearest_to(self, pictures: Sequence[Pixels], settings: Verification) -> list[Near]:
        """The control nearest to each picture, as a training picture would be matched; of equals
        the first."""
        if not self.pictures:
            return []
        stacked = np.stack(self.pictures)
        found = []
        for picture in pictures:
            l2 = l2_to_all(picture, stacked)
            if settings.flip:
                l2 = np.minimum(l2, l2_to_all(picture[:, ::-1], stacked))
            place = int(l2.argmin())
            control = self.pictures[place]
            if settings.flip and is_nearer_mirrored(picture, control):
                control = control[:, ::-1]
            found.append(Near(place, float(l2[place]), agreement(picture, control)))
        return found


def read_controls(settings: Verification, size: tuple[int, int]) -> Controls:
    """Read the set that the settings name, if any, at this width and height.

    Raises `ConfigError` if none of its pictures can be read.
    """
    if not settings.controls:
        return Controls([], None)
    path = Path(settings.controls)
    column = PictureColumn(settings.column)
    opened, reading = open_set(path, "set of control pictures", column), Reading()
    most = max(1, min(CONTROLS, CONTROL_BYTES // (3 * size[0] * size[1])))
    readable = (
        pixels
        for part in opened.slices
        for _, _, pixels, _ in readable_pictures(part, settings, size, reading)
    )
    controls = list(islice(readable, most))
    whole = next(readable, None) is None
    left_out = opened.contents.left_out
    coverage = reading.coverage(str(opened.path), opened.listing, left_out)
    if not controls:
        raise ConfigError(
            f"No control picture in {path} could be read; name another set. "
            f"{first_reason(coverage)}"
        )
    return Controls(controls, coverage, whole)
