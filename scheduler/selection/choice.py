"""Which groups of a training set's pictures become prompts."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from seedsweep.workers.analysis.outliers import Space, furthest
from seedsweep.workers.training.slice_description import NO_CAPTION

Why = Literal["most-duplicated", "outlier", "random"]
Places = NDArray[np.intp]

_GOLDEN = 0x9E3779B97F4A7C15
_MASK = (1 << 64) - 1


@dataclass(frozen=True, slots=True, eq=False)
class Groups:
    """The groups of which a picture has a caption, each with the most common one; of captions that
    are equally common the one that comes first.

    `firsts`: the place of a group's first picture. `copies`: how many pictures it has, those
    without a caption too. `captions`: the caption's digest. `pictures`: the place of the first
    picture that has it. All (groups,), in the order of `firsts`.
    """

    firsts: Places
    copies: NDArray[np.intp]
    captions: NDArray[np.uint64]
    pictures: Places


@dataclass(frozen=True, slots=True)
class Choice:
    """A prompt, by the place of its picture, and why it was chosen. `copies`: those of the most
    copied picture with this caption, whichever picture that is."""

    picture: int
    copies: int
    why: tuple[Why, ...]


def captioned_groups(all_firsts: Places, all_captions: NDArray[np.uint64]) -> Groups:
    """The groups that can become prompts, from the first picture of each one's group (n,) and the
    digest of its caption (n,)."""
    places = np.flatnonzero(all_captions != NO_CAPTION)
    firsts, captions = all_firsts[places], all_captions[places]
    order = np.lexsort((places, captions, firsts))
    places, firsts, captions = places[order], firsts[order], captions[order]
    begins = np.flatnonzero(_changes(firsts) | _changes(captions))
    times = np.diff(begins, append=len(places))
    places, firsts, captions = places[begins], firsts[begins], captions[begins]
    order = np.lexsort((places, -times, firsts))
    chosen = order[_changes(firsts[order])]
    copies = np.bincount(all_firsts, minlength=len(all_firsts))
    return Groups(firsts[chosen], copies[firsts[chosen]], captions[chosen], places[chosen])


def most_duplicated(groups: Groups, count: int) -> Places:
    """The groups of the `count` prompts whose pictures have most copies, two at least: the most
    copied first, of equal ones the first in the set; each caption once."""
    ordered = _once_by_copies(groups)
    return ordered[groups.copies[ordered] > 1][:count]


def outliers(
    groups: Groups,
    distinct: Places,
    pictures: Space,
    neighbours: int,
    count: int,
    progress: Callable[[int, int], None],
) -> Places:
    """The groups of the `count` prompts whose pictures are furthest from their nearest
    `neighbours`: the furthest first; each caption once. Copies count once: `pictures` are the first
    ones of groups, at the places `distinct` in the set."""
    wanted = np.isin(distinct, groups.firsts)
    ordered = furthest(pictures, wanted, neighbours, progress)
    places = (int(np.searchsorted(groups.firsts, distinct[place])) for place, _ in ordered)
    return np.array([*islice(_once(places, groups), count)], np.intp)


def drawn(groups: Groups, seed: int, count: int) -> Places:
    """The groups of `count` prompts drawn at random, each prompt with the same chance, whatever its
    copies; of a caption of several groups the most copied one.

    A prompt's turn follows from the seed and its text alone (by splitmix64): another order of the
    set draws the same, and a larger `count` the same and more.
    """
    ordered = _once_by_copies(groups)
    turns = _mixed(groups.captions[ordered] ^ np.uint64(_mixed_whole(seed)))
    return ordered[np.argsort(turns, kind="stable")][:count]


def choices(groups: Groups, chosen: dict[Why, Places]) -> list[Choice]:
    """The prompts that were chosen, in that order, each once: with all its reasons, and the picture
    of the first one."""
    reasons: dict[int, list[Why]] = {}
    first: dict[int, int] = {}
    for why, places in chosen.items():
        for place in places.tolist():
            caption = int(groups.captions[place])
            first.setdefault(caption, place)
            reasons.setdefault(caption, []).append(why)
    most = _once_by_copies(groups)
    copies = dict(zip(groups.captions[most].tolist(), groups.copies[most].tolist(), strict=True))
    return [
        Choice(int(groups.pictures[place]), copies[caption], tuple(reasons[caption]))
        for caption, place in first.items()
    ]


def _once_by_copies(groups: Groups) -> Places:
    """Of each caption its most copied group, the most copied first."""
    order = np.lexsort((groups.firsts, -groups.copies))
    _, begins = np.unique(groups.captions[order], return_index=True)
    return order[np.sort(begins)]


def _once(places: Iterator[int], groups: Groups) -> Iterator[int]:
    """Those of these groups whose caption none before has."""
    seen = set()
    for place in places:
        if (caption := int(groups.captions[place])) not in seen:
            seen.add(caption)
            yield place


def _changes(values: NDArray[np.intp] | NDArray[np.uint64]) -> NDArray[np.bool_]:
    """Where a value is another one than before, the first place too."""
    return np.concatenate([np.ones(min(1, len(values)), np.bool_), values[1:] != values[:-1]])


def _mixed(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The finaliser of splitmix64 (Steele, Lea and Flood, OOPSLA 2014)."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(values ^ (values >> np.uint64(31)))


def _mixed_whole(seed: int) -> int:
    return int(_mixed(np.array([(seed + 1) * _GOLDEN & _MASK], np.uint64))[0])
