"""Which training pictures are one picture: copies of each other, stored, cut or scaled anew.

One rule at every size, since all pictures are averaged to a frame of 64 × 64 pixels first. The
centre of one is laid on the other at shifts of up to 3 pixels and scales of 0.95 to 1.05. They are
near-copies if it fits somewhere: the same forms (by correlation, once each channel's plane is taken
off, so that like backgrounds join nobody), about as much contrast, and the same colours. Where
there is next to no contrast forms say nothing, and plain l2 decides.

Nothing is ever joined by way of a third picture, and a pair is judged alike on every machine and
whatever is beside it: it follows from inner products of whole numbers, which are exact.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from seedsweep.storage.settings.analysis import NearCopies
from seedsweep.workers.analysis.cuts import VALUES, Centres, CutSummary, centres, views_of
from seedsweep.workers.analysis.frames import FRAME, Frames
from seedsweep.workers.analysis.inner_products import products

_SLACK = 1e-3  # bounds are computed in float32


def distinct(frames: Frames, settings: NearCopies, flip: bool, most: int) -> list[int]:
    """Of pictures in order the places of those that show something new, `most` of them at most: a
    picture that is a near-copy of one taken before is skipped."""
    others = centres(frames)
    left = np.ones(len(frames), np.bool_)
    taken: list[int] = []
    while len(taken) < most and left.any():
        place = int(np.argmax(left))
        taken.append(place)
        left[place] = False
        ahead = np.flatnonzero(left)
        reference = _reference(frames[place].tobytes(), settings, flip)
        left[ahead[reference.copies(others, ahead)]] = False
    return taken


@lru_cache(maxsize=128)
def _reference(frame: bytes, settings: NearCopies, flip: bool) -> Reference:
    # The neighbours of a generation and those of its match are much the same pictures.
    pixels = np.frombuffer(frame, np.uint8).reshape(FRAME, FRAME, 3)
    return Reference(pixels, settings, flip)


def grouped(frames: Frames, settings: NearCopies, flip: bool) -> list[list[int]]:
    """Pictures in order as groups, by the places of their first: each is in the first group whose
    first picture it is a near-copy of, or the other way round; nothing joins by way of another."""
    others = centres(frames)
    own = [Reference(frame, settings, flip).copies(others) for frame in frames]
    groups: list[list[int]] = []
    for place in range(len(frames)):
        same = (group for group in groups if own[group[0]][place] or own[place][group[0]])
        group = next(same, None)
        if group is None:
            groups.append([place])
        else:
            group.append(place)
    return groups


class Reference:
    """A picture that others may be near-copies of: with `flip`, of its mirror image as well."""

    def __init__(self, frame: NDArray[np.uint8], settings: NearCopies, flip: bool) -> None:
        self._settings = settings
        self._views = views_of(np.stack([frame, frame[:, ::-1]] if flip else [frame]))

    def copies(self, others: Centres, among: NDArray[np.intp] | None = None) -> NDArray[np.bool_]:
        """Which of the centres, or of those at the places `among`, are near-copies: (n,) bool."""
        among = np.arange(len(others)) if among is None else among
        found = np.zeros(len(among), np.bool_)
        possible = self._possible(others.summary.of(among))
        if len(possible):
            places = among[possible]
            fits = self._fits(others.rows[places], others.summary.of(places))
            found[possible] = fits.any(axis=0)
        return found

    def possible(
        self, others: CutSummary, among: NDArray[np.intp] | None = None
    ) -> NDArray[np.intp]:
        """Those of the cuts, or of those at the places `among`, that can be near-copies, and few
        others: no pixels are looked at."""
        if among is None:
            return self._possible(others)
        return among[self._possible(others.of(among))]

    def _possible(self, others: CutSummary) -> NDArray[np.intp]:
        settings, mine = self._settings, self._views.summary
        colour, contrast = settings.colour + _SLACK, settings.contrast + _SLACK
        deviations = others.deviations
        plain = deviations < settings.plain
        if (mine.deviations < settings.plain).any():
            plain[:] = True
        near = deviations <= contrast * mine.deviations.max()
        near &= contrast * deviations >= mine.deviations.min()
        near |= plain
        for means, of_channel in zip(others.means.T, mine.means.T, strict=True):
            near &= means >= of_channel.min() - colour
            near &= means <= of_channel.max() + colour
        places = np.flatnonzero(near)
        directions, least = others.directions[places], settings.correlation - _SLACK
        alike = plain[places]
        unlike = np.flatnonzero(~alike)
        unlike = unlike[self._views.nearby(directions[unlike], least)]
        bounds = mine.directions @ directions[unlike].T
        alike[unlike] = bounds.max(axis=0, initial=-1.0) >= least
        return np.asarray(places[alike])

    def _fits(self, rows: NDArray[np.uint8], others: CutSummary) -> NDArray[np.bool_]:
        """By view and centre, whether they fit: (views, n) bool."""
        inner = products(self._views.rows(), rows)
        return _fit(self._views.summary, others, inner, self._settings)


def fit_unmoved(first: Centres, others: Centres, settings: NearCopies) -> NDArray[np.bool_]:
    """Which of `others` fit on the centres as they are, and so are near-copies of their frames:
    (first, others) bool. It costs a thousandth of `Reference`, which finds more."""
    inner = products(first.rows, others.rows)
    return _fit(first.summary, others.summary, inner, settings)


def _fit(
    mine: CutSummary, others: CutSummary, inner: NDArray[np.float64], settings: NearCopies
) -> NDArray[np.bool_]:
    """By cut and centre, from their inner products, whether they fit: (cuts, n) bool."""
    covariance = inner.copy()
    for plane in range(mine.planes.shape[1]):  # one by one: always the same order
        covariance -= mine.planes[:, plane, None] * others.planes[None, :, plane]
    first, second = mine.deviations[:, None], others.deviations[None, :]
    scale = VALUES * 255.0**2
    alike = covariance >= settings.correlation * scale * first * second
    alike &= np.maximum(first, second) <= settings.contrast * np.minimum(first, second)
    for channel in range(3):
        apart = mine.means[:, channel, None] - others.means[None, :, channel]
        alike &= np.abs(apart) <= settings.colour
    squared = mine.norms[:, None] + others.norms[None, :] - 2.0 * inner
    plain = np.minimum(first, second) < settings.plain
    return np.where(plain, squared <= settings.plain_l2**2 * scale, alike)
