"""Parts that repeat anywhere: at another place in each picture, mirrored, or larger or smaller.

They grow as of `parts.find_parts`, from reduced pictures that are laid on each other. Then each
picture of a part is laid on its centre pixel by pixel, and its tiles are compared once more by all
pixels and colours: a part is what is the same there, exactly as at fixed places.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from seedsweep.storage.prompt_results import Shift
from seedsweep.storage.settings.analysis import PartRule
from seedsweep.workers.analysis.moved_pictures import WHOLE
from seedsweep.workers.analysis.part_scales import LaidPictures
from seedsweep.workers.analysis.parts import (
    FoundPart,
    Grown,
    best_part,
    most_tiles,
    part_around,
    rank_of,
)
from seedsweep.workers.analysis.pixel_laying import NOT_MOVED, Centre, Laying

Read = Callable[[Sequence[int]], NDArray[np.uint8]]
"""The pictures (n, height, width, 3) uint8 of these places, ascending."""

_KEPT_BYTES = 1 << 29
"""So many bytes of pictures are kept between centres that they are compared with."""


class ShiftedParts:
    """The parts of n pictures that may be shifted or scaled, found where `fixed` (tiles, n, n) bool
    says what is the same at fixed places, by all pixels, all tiles of a pair or none, and
    `pictures` how reduced ones are laid.

    A pair is laid by its shift if more tiles are the same then than at fixed places. The pictures
    that may show the best part are compared with its centre by all pixels, each laid to the pixel
    where it is nearest, or at its fixed place if no fewer tiles are the same there, and scaled only
    if more are the same than at its own size; and so are they with the centre of the best part at
    fixed places. The better one of the parts that then grow around these two is taken; if none
    does, the next best are asked.
    """

    def __init__(
        self,
        fixed: NDArray[np.bool_],
        pictures: LaidPictures,
        read: Read,
        rule: PartRule,
    ) -> None:
        self._fixed, self._read, self._rule = fixed, read, rule
        self._laid, self._scaled, self._whole = pictures.laid, pictures.scaled, pictures.whole
        self._most = int(Fraction(str(rule.scale)) * WHOLE)
        same = self._laid.same
        self._shifted = np.count_nonzero(same, axis=0) > np.count_nonzero(fixed, axis=0)
        self._near = np.where(self._shifted, same, fixed)
        for pair, scaled in pictures.pairs().items():
            if np.count_nonzero(scaled.same) > np.count_nonzero(self._near[:, *pair]):
                self._near[:, *pair], self._shifted[pair] = scaled.same, True
        self._shifts: dict[int, dict[int, Shift]] = {}
        self._kept: dict[int, Laying] = {}

    def find(self, size: int, max_steps: int) -> tuple[list[FoundPart], bool]:
        """The parts that at least `size` pictures share, as of `parts.find_parts`, and whether the
        search for them was not cut short."""
        left = np.ones(self._near.shape[1], np.bool_)
        parts: list[FoundPart] = []
        steps, proven = 0, True
        while proven:
            part, steps, proven = self._best(left, size, self._rule.least, steps, max_steps)
            if part is None:
                break
            parts.append(part)
            left[list(part.shared)] = False
        return parts, proven and self._whole

    def critical_least(self, size: int, max_steps: int) -> tuple[int, bool]:
        """The largest number of tiles at which `find` finds a part, as of `parts.critical_least`,
        0 if that is below `rule.least`."""
        left, proven = np.ones(self._near.shape[1], np.bool_), self._whole
        for least in range(most_tiles(self._near, size), self._rule.least - 1, -1):
            part, _, whole = self._best(left, size, least, 0, max_steps)
            proven &= whole
            if part is not None:
                return least, proven
        return 0, proven

    def shifts(self, part: FoundPart) -> tuple[Shift, ...]:
        """How each picture that shares the part shows it beside its centre; none if all show it at
        the same place."""
        known = self._shifts.get(part.centre, {})
        shifts = tuple(known.get(picture, Shift()) for picture in part.shared)
        return shifts if any(shift != Shift() for shift in shifts) else ()

    def _best(
        self, left: NDArray[np.bool_], size: int, least: int, steps: int, most: int
    ) -> tuple[FoundPart | None, int, bool]:
        """As of `best_part`, a part whose pictures were compared by all pixels."""
        grown: Grown = {}
        asked = False
        names = np.flatnonzero(left)
        at_one_place: FoundPart | None = None
        while True:
            best, steps, proven = best_part(self._near, left, size, least, steps, most, grown)
            if best is None:
                return None, steps, proven
            if not asked:
                at_one_place, _, _ = best_part(self._fixed, left, size, least, 0, most)
                asked = True
            centres = {part.centre for part in (best, at_one_place) if part}
            for centre in centres - self._shifts.keys():
                self._compare(centre, left)
                grown.pop(int(np.searchsorted(names, centre)), None)
            rows = ((self._near[:, centre], centre) for centre in sorted(centres))
            around = [part_around(row, left, centre, size, least) for row, centre in rows]
            if parts := [part for part in around if part]:
                return min(parts, key=rank_of), steps, proven

    def _compare(self, centre: int, left: NDArray[np.bool_]) -> None:
        """Compare what may show a part around this picture by all pixels."""
        self._shifts[centre] = {}
        row = self._near[:, centre]
        near = left & self._shifted[centre] & (np.count_nonzero(row, axis=0) >= self._rule.least)
        others = np.flatnonzero(near).tolist()
        if not others:
            return
        pictures = self._pictures([centre, *others])
        middle = Centre(pictures[centre], self._rule)
        pairs = [(centre, other) for other in others]
        for other, scaled in zip(others, self._scaled(pairs), strict=True):
            row[:, other] = self._fixed[:, centre, other]
            best = self._laid.best[centre, other]
            if best >= 0:
                how, tiles = self._laid.shifts[best], self._laid.same[:, centre, other]
                self._lay(
                    middle,
                    pictures[other],
                    (centre, other),
                    middle.lay(pictures[other], how, tiles),
                )
            if scaled and np.count_nonzero(scaled.same) > np.count_nonzero(row[:, other]):
                shift = middle.lay_scaled(
                    pictures[other], scaled.lie, scaled.mirrored, scaled.same, self._most
                )
                self._lay(middle, pictures[other], (centre, other), shift)

    def _lay(self, middle: Centre, picture: Laying, pair: tuple[int, int], shift: Shift) -> None:
        """Take the picture as the shift has it if it is the same in more tiles then, and in as many
        as a part has."""
        centre, other = pair
        if shift == NOT_MOVED and self._fixed[:, centre, other].any():
            # `fixed` has all tiles of a pair if it has one: no more are the same.
            return
        more_than = max(int(self._near[:, centre, other].sum()), self._rule.least - 1)
        same = middle.same_tiles(picture, shift, more_than)
        if same is not None:
            self._near[:, centre, other], self._shifts[centre][other] = same, shift

    def _pictures(self, places: Sequence[int]) -> Mapping[int, Laying]:
        """The pictures of these places, of which those are read that are not kept."""
        missing = sorted({*places} - self._kept.keys())
        if missing:
            read = self._read(missing)
            if self._kept and (len(self._kept) + len(read)) * read[0].nbytes > _KEPT_BYTES:
                self._kept, missing = {}, sorted({*places})
                read = self._read(missing)
            self._kept |= {place: Laying(each) for place, each in zip(missing, read, strict=True)}
        return self._kept
