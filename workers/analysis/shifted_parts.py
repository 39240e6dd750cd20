"""Parts that repeat anywhere: at another place in each picture, or mirrored.

They grow as of `parts.find_parts`, from reduced pictures that are laid on each other. Then each
picture of a part is laid on its centre pixel by pixel, and its tiles are compared once more by all
pixels and colours: a part is what is the same there, exactly as at fixed places.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import product

import numpy as np
from numpy.typing import NDArray

from seedsweep.storage.prompt_results import Shift
from seedsweep.storage.settings.analysis import PartRule
from seedsweep.workers.analysis.distances import Tile, tile_grid
from seedsweep.workers.analysis.part_shifts import (
    Laid,
    mean_brightness,
    reduction,
    same_regions,
    window_of,
)
from seedsweep.workers.analysis.parts import FoundPart, best_part, most_tiles, part_around, rank_of

Read = Callable[[Sequence[int]], NDArray[np.uint8]]
"""The pictures (n, height, width, 3) uint8 of these places, ascending."""

_MOVES = tuple(sorted(product((0, -1, 1), repeat=2), key=lambda move: move[0] ** 2 + move[1] ** 2))


class ShiftedParts:
    """The parts of n pictures that may be shifted, found where `fixed` (tiles, n, n) bool says what
    is the same at fixed places, by all pixels, and `laid` how reduced pictures are laid.

    A pair is laid by its shift if more tiles are the same then than at fixed places. The pictures
    that may show the best part are compared with its centre by all pixels, each laid to the pixel
    where it is nearest, or at its fixed place if no fewer tiles are the same there; and so are they
    with the centre of the best part at fixed places. The better one of the parts that then grow
    around these two is taken; if none does, the next best are asked.
    """

    def __init__(self, fixed: NDArray[np.bool_], laid: Laid, read: Read, rule: PartRule) -> None:
        self._fixed, self._laid, self._read, self._rule = fixed, laid, read, rule
        self._shifted = np.count_nonzero(laid.same, axis=0) > np.count_nonzero(fixed, axis=0)
        self._near = np.where(self._shifted, laid.same, fixed)
        self._shifts: dict[int, dict[int, Shift]] = {}

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
        return parts, proven

    def critical_least(self, size: int, max_steps: int) -> tuple[int, bool]:
        """The largest number of tiles at which `find` finds a part, as of `parts.critical_least`,
        0 if that is below `rule.least`."""
        left, proven = np.ones(self._near.shape[1], np.bool_), True
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
        while True:
            best, steps, proven = best_part(self._near, left, size, least, steps, most)
            if best is None:
                return None, steps, proven
            at_one_place, _, _ = best_part(self._fixed, left, size, least, 0, most)
            centres = {part.centre for part in (best, at_one_place) if part}
            for centre in centres - self._shifts.keys():
                self._compare(centre, left)
            rows = ((self._near[:, centre], centre) for centre in sorted(centres))
            grown = [part_around(row, left, centre, size, least) for row, centre in rows]
            if parts := [part for part in grown if part]:
                return min(parts, key=rank_of), steps, proven

    def _compare(self, centre: int, left: NDArray[np.bool_]) -> None:
        """Compare what may show a part around this picture by all pixels."""
        self._shifts[centre] = {}
        row = self._near[:, centre]
        near = left & self._shifted[centre] & (np.count_nonzero(row, axis=0) >= self._rule.least)
        others = np.flatnonzero(near).tolist()
        if not others:
            return
        places = sorted([centre, *others])
        pictures = dict(zip(places, self._read(places), strict=True))
        middle = pictures[centre]
        for other in others:
            picture = pictures[other]
            how = self._laid.shifts[self._laid.best[centre, other]]
            shift = _to_the_pixel(middle, picture, how, row[:, other], self._rule.grid)
            same = _same_tiles(middle, picture, shift, self._rule)
            if same.sum() > self._fixed[:, centre, other].sum():
                row[:, other], self._shifts[centre][other] = same, shift
            else:
                row[:, other] = self._fixed[:, centre, other]


def _to_the_pixel(
    centre: NDArray[np.uint8],
    picture: NDArray[np.uint8],
    shift: Shift,
    tiles: NDArray[np.bool_],
    grid: int,
) -> Shift:
    """The shift of a picture (height, width, 3), from that of reduced ones: at the side of their
    pixels, and whenever that is halved, it moves by one of these at most, to where these tiles of
    the centre are nearest in brightness once its mean over all of them is taken off, and of equals
    the least."""
    side = reduction(centre.shape[0], centre.shape[1])
    down, right = side * shift.down, side * shift.right
    turned = picture[:, ::-1] if shift.mirrored else picture
    every = tile_grid(centre.shape[0], centre.shape[1], grid)
    chosen = [every[place] for place in np.flatnonzero(tiles).tolist()]
    while side:
        reference = _Reference(_reduced(centre, side), chosen, side)
        other, at = _reduced(turned, side), (down // side, right // side)
        y, x = min(
            _MOVES, key=lambda move: reference.apart(other, at[0] + move[0], at[1] + move[1])
        )
        down, right = down + side * y, right + side * x
        side //= 2
    return Shift(down=down, right=right, mirrored=shift.mirrored)


class _Reference:
    """Tiles of a picture reduced to that side, as far as whole pixels of it lie in them."""

    def __init__(self, picture: NDArray[np.float64], tiles: Sequence[Tile], side: int) -> None:
        spans = [
            tuple(slice(-(-span.start // side), span.stop // side) for span in tile)
            for tile in tiles
        ]
        self._top, self._left = (min(span[axis].start for span in spans) for axis in (0, 1))
        bottom, right = (max(span[axis].stop for span in spans) for axis in (0, 1))
        inside = np.zeros(picture.shape[:2], np.bool_)
        for span in spans:
            inside[*span] = True
        self._inside = inside[self._top : bottom, self._left : right]
        self._values = picture[self._top : bottom, self._left : right][self._inside]

    def apart(self, other: NDArray[np.float64], down: int, right: int) -> float:
        """The squared distance without means, times the number of pixels, of a picture at that
        shift, a whole number; infinite if some of it lies outside."""
        top, left = self._top + down, self._left + right
        height, width = self._inside.shape
        if min(top, left) < 0 or top + height > len(other) or left + width > other.shape[1]:
            return math.inf
        apart = self._values - other[top : top + height, left : left + width][self._inside]
        return len(apart) * int(apart @ apart) - int(apart.sum()) ** 2


def _reduced(picture: NDArray[np.uint8], side: int) -> NDArray[np.float64]:
    """Its brightness (height // side, width // side) in whole numbers."""
    return mean_brightness(picture[None], side)[0, ..., 0].astype(np.float64)


def _same_tiles(
    centre: NDArray[np.uint8], picture: NDArray[np.uint8], shift: Shift, rule: PartRule
) -> NDArray[np.bool_]:
    """In which tiles (tiles,) bool of the centre the picture is the same at the shift, by all
    pixels."""
    height, width = centre.shape[:2]
    turned = picture[:, ::-1] if shift.mirrored else picture
    same = np.zeros(len(tile_grid(height, width, rule.grid)), np.bool_)
    for place, tile in enumerate(tile_grid(height, width, rule.grid)):
        if window := window_of(tile, shift, height, width):
            [same[place]] = same_regions(centre[None, *tile], turned[None, *window], rule)
    return same
