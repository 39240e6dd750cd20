"""A large set of pictures in groups of near-copies, without comparing all pairs.

As of `near_copies.distinct`: in order, a picture is in the group of the first picture before it
that it is a near-copy of and that itself began a group; nothing is joined by way of another. Only
those pairs are judged that sketches let pass, and pictures are only compared with those that began
a group: a group of most of the set costs no more than any other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from math import inf
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from seedsweep.storage.settings.analysis import NearCopies
from seedsweep.workers.analysis.cells import Cells, Visit, looked_up, runs
from seedsweep.workers.analysis.sketches import (
    Sketches,
    have_forms,
    match_by_forms,
    match_loosely,
    match_plainly,
    may_be_copies,
    may_be_plain,
    mirrored,
    squared_reach,
)

Places = NDArray[np.intp]
Judge = Callable[[Sequence[tuple[int, Places]]], Sequence[NDArray[np.bool_]]]
"""For each picture and the places of others, which of these are near-copies of it."""

Progress = Callable[[int, int], None]


class Proposals(Protocol):
    """Another opinion on which pictures may be near-copies; what it says counts if forms are alike
    a little, and it takes nothing away."""

    def hold(self, rows: Places) -> None:
        """Have the pictures at these places be found."""

    def near(self, rows: Places) -> tuple[Places, Places]:
        """Pairs of one of these and one that is held."""

    def among(self, rows: Places) -> NDArray[np.bool_]:
        """Which pairs of these it proposes: (n, n)."""


BLOCK = 2048
"""So many pictures are compared at once: all their pairs take some 100 MB."""

LOOKED_UP = 1 << 14
"""So many at least are looked up at once, so that many visit each cell."""

HELD = 1 << 22
"""If so many pairs may be near-copies, fewer pictures are looked up at once."""


def with_others(
    sketches: Sketches,
    rule: NearCopies,
    flip: bool,
    progress: Progress,
    proposals: Proposals | None = None,
) -> NDArray[np.bool_]:
    """Which of the pictures may be a near-copy of another, or have one: (n,) bool. `proposals` hold
    none yet."""
    found = may_be_plain(sketches, rule)
    formed = np.flatnonzero(have_forms(sketches, rule))
    cells = Cells(sketches.forms[formed])
    cells.add(sketches.forms[formed], formed)
    if proposals:
        proposals.hold(formed)
    step = looked_up(LOOKED_UP, len(formed))
    for at in range(0, len(formed), step):
        rows = formed[at : at + step]
        for first, second in _alike(cells, sketches, rows, rule, flip, found):
            found[first[first != second]] = True
            found[second[first != second]] = True
        if proposals:
            first, second = _proposed(proposals, sketches, rows, rule, flip)
            found[first[first != second]] = True
        progress(min(at + step, len(formed)), len(formed))
    return found


def group_copies(
    sketches: Sketches,
    rule: NearCopies,
    flip: bool,
    judge: Judge,
    progress: Progress,
    proposals: Proposals | None = None,
) -> Places:
    """Of each picture the place of the first of its group: (n,). `proposals` hold none yet."""
    groups = _Groups(sketches, rule, flip, judge, proposals)
    cells = Cells(sketches.forms)
    at, size = 0, looked_up(BLOCK, len(sketches))
    while at < len(sketches):
        some = np.arange(at, min(at + size, len(sketches)))
        most = HELD if size > BLOCK else inf
        earlier = _gathered(_alike(cells, sketches, some, rule, flip), most)
        if len(earlier[0]) > most:
            size = max(BLOCK, size // 2)
            continue
        # What begins a group among these lies in cells of their own, which are fewer.
        fresh, formed = Cells(sketches.forms[some]), []
        for begin in range(0, len(some), BLOCK):
            rows = some[begin : begin + BLOCK]
            pairs = _alike(fresh, sketches, rows, rule, flip)
            formed.append(groups.join(rows, [_of(earlier, rows), *pairs]))
            fresh.add(sketches.forms[formed[-1]], formed[-1])
            progress(at + begin + len(rows), len(sketches))
        began = np.concatenate(formed)
        cells.add(sketches.forms[began], began)
        at += len(some)
    return groups.firsts


class _Groups:
    """The groups so far: `firsts` has of each picture the place of the first of its group."""

    def __init__(
        self,
        sketches: Sketches,
        rule: NearCopies,
        flip: bool,
        judge: Judge,
        proposals: Proposals | None,
    ) -> None:
        self._sketches, self._rule, self._flip = sketches, rule, flip
        self._judge, self._proposals = judge, proposals
        self._plain: Places = np.empty(0, np.intp)
        self.firsts = np.arange(len(sketches))

    def join(self, rows: Places, alike: Sequence[tuple[Places, Places]]) -> Places:
        """Put the next pictures into groups; `alike` are the pairs of one and an earlier first one
        that may be near-copies by their forms. Returns those that begin a group and have forms."""
        sketches, rule, firsts = self._sketches, self._rule, self.firsts
        pairs = [*alike, _plain(self._plain, sketches, rows, rule)]
        if self._proposals:
            pairs.append(_proposed(self._proposals, sketches, rows, rule, self._flip))
        _join_earlier(firsts, pairs, self._judge)
        left = rows[firsts[rows] == rows]
        firsts[left] = left[_in_order(self._possible(left), left, self._judge)]
        new = left[firsts[left] == left]
        formed: Places = new[have_forms(sketches.of(new), rule)]
        if self._proposals:
            self._proposals.hold(formed)
        self._plain = np.concatenate([self._plain, new[may_be_plain(sketches.of(new), rule)]])
        return formed

    def _possible(self, rows: Places) -> NDArray[np.bool_]:
        """Which pairs of these may be near-copies: (n, n)."""
        sketches, rule, flip = self._sketches, self._rule, self._flip
        possible = may_be_copies(sketches.of(rows), sketches.of(rows), rule, flip)
        if self._proposals:
            first, second = np.nonzero(self._proposals.among(rows))
            loosely = match_loosely(sketches.of(rows[first]), sketches.of(rows[second]), rule, flip)
            possible[first[loosely], second[loosely]] = True
        return possible


def _gathered(pairs: Iterator[tuple[Places, Places]], enough: float) -> tuple[Places, Places]:
    """The pairs as one, in the order of the first; once there are `enough`, no more of them."""
    parts, count = [(np.empty(0, np.intp), np.empty(0, np.intp))], 0
    for part in pairs:
        parts.append(part)
        count += len(part[0])
        if count > enough:
            break
    mine, theirs = (np.concatenate(each) for each in zip(*parts, strict=True))
    order = np.argsort(mine, kind="stable")
    return mine[order], theirs[order]


def _of(pairs: tuple[Places, Places], rows: Places) -> tuple[Places, Places]:
    """The pairs of these rows, which follow each other."""
    begin, end = np.searchsorted(pairs[0], [rows[0], rows[-1] + 1])
    return pairs[0][begin:end], pairs[1][begin:end]


def _alike(
    cells: Cells,
    sketches: Sketches,
    rows: Places,
    rule: NearCopies,
    flip: bool,
    found: NDArray[np.bool_] | None = None,
) -> Iterator[tuple[Places, Places]]:
    """Of these pictures and those in cells, the pairs that may be near-copies by their forms, cell
    by cell; without those of two that are `found` (n,) by then."""
    rows = rows[have_forms(sketches.of(rows), rule)]
    forms = sketches.forms[rows]
    for way in [forms, mirrored(forms)] if flip else [forms]:
        for whole in cells.near(way):
            for visit in [whole] if found is None else _open(whole, rows, found):
                first, second = np.nonzero(visit.squared() <= squared_reach())
                if not len(first):
                    continue
                mine, theirs = rows[visit.rows[first]], visit.names[second]
                possible = match_by_forms(sketches.tones(mine), sketches.tones(theirs), rule)
                yield mine[possible], theirs[possible]


def _open(visit: Visit, rows: Places, found: NDArray[np.bool_]) -> Iterator[Visit]:
    """The pairs of a visit of which one is not found yet: of very many that are alike the first
    visits find all, and the others compare none."""
    mine, theirs = found[rows[visit.rows]], found[visit.names]
    every = np.ones_like(theirs)
    if not mine.all():
        yield visit.of(~mine, every)
    if mine.any() and not theirs.all():
        yield visit.of(mine, ~theirs)


def _proposed(
    proposals: Proposals, sketches: Sketches, rows: Places, rule: NearCopies, flip: bool
) -> tuple[Places, Places]:
    mine, theirs = proposals.near(rows)
    possible = match_loosely(sketches.of(mine), sketches.of(theirs), rule, flip)
    return mine[possible], theirs[possible]


def _plain(
    leaders: Places, sketches: Sketches, rows: Places, rule: NearCopies
) -> tuple[Places, Places]:
    rows = rows[may_be_plain(sketches.of(rows), rule)]
    first, second = np.nonzero(match_plainly(sketches.of(rows), sketches.of(leaders), rule))
    return rows[first], leaders[second]


def _join_earlier(firsts: Places, pairs: Sequence[tuple[Places, Places]], judge: Judge) -> None:
    """Put pictures into the first group that they belong to, of pairs of one and a first one."""
    mine = np.concatenate([pair[0] for pair in pairs])
    leaders = np.concatenate([pair[1] for pair in pairs])
    order = np.lexsort((mine, leaders))
    mine, leaders = mine[order], leaders[order]
    new = np.ones(len(mine), np.bool_)
    new[1:] = (mine[1:] != mine[:-1]) | (leaders[1:] != leaders[:-1])
    mine, leaders = mine[new], leaders[new]
    jobs = [(int(leaders[start]), mine[start:end]) for start, end in runs(leaders)]
    for (leader, others), is_copy in zip(jobs, judge(jobs), strict=True):
        found = others[is_copy]  # leaders come in order: the first one holds
        firsts[found] = np.where(firsts[found] == found, leader, firsts[found])


def _in_order(possible: NDArray[np.bool_], places: Places, judge: Judge) -> Places:
    """The first of its group of each of the pictures at these places, by its row, where `possible`
    (n, n) says which pairs may be near-copies.

    What is sure is settled in rounds, so that many are judged at once (Blelloch, Fineman and Shun,
    SPAA 2012): a picture is settled when every picture that it may be a copy of, up to the first
    that it is one of, is.
    """
    count = len(places)
    earlier = np.tril(possible, -1)
    none = count
    first = np.full(count, none)  # the first known picture that it is a near-copy of
    open_ = np.ones(count, np.bool_)
    while open_.any():
        waits = earlier & open_[None, :]
        blocked = np.where(waits.any(axis=1), waits.argmax(axis=1), none)
        joined = open_ & (first < blocked)
        if joined.any():
            open_[joined] = False
            continue  # what waited for these may be sure now
        leaders = np.flatnonzero(open_ & (blocked == none))
        open_[leaders] = False
        jobs, rows = [], []
        for leader in leaders.tolist():
            others = np.flatnonzero(earlier[:, leader] & open_ & (first > leader))
            if len(others):
                rows.append((leader, others))
                jobs.append((int(places[leader]), places[others]))
        for (leader, others), is_copy in zip(rows, judge(jobs), strict=True):
            first[others[is_copy]] = np.minimum(first[others[is_copy]], leader)
    return np.where(first == none, np.arange(count), first)
