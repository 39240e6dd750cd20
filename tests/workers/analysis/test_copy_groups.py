"""Groups of near-copies, against a comparison of all pictures with all."""

from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seedsweep.storage.settings.analysis import NearCopies
from seedsweep.workers.analysis import cells, copy_groups
from seedsweep.workers.analysis.copy_groups import group_copies, with_others
from seedsweep.workers.analysis.cuts import centres
from seedsweep.workers.analysis.frames import frames_of
from seedsweep.workers.analysis.near_copies import Reference, distinct
from seedsweep.workers.analysis.sketches import (
    ALIKE,
    FORMS,
    joined,
    match_loosely,
    match_plainly,
    may_be_copies,
    mirrored,
    sketch,
)
from tests.support.pictures import cut, drawings, scaled_and_back, stored_anew

few = settings(max_examples=6, derandomize=True, deadline=None)
RULE = NearCopies()
EDITS = (
    np.array,
    lambda picture: stored_anew(picture, 60),
    lambda picture: scaled_and_back(picture, 0.5),
    lambda picture: cut(picture, 0.02, 0.02, 0.02, 0.02),
    lambda picture: cut(picture, 0.05, 0, 0, 0),
    lambda picture: picture[:, ::-1],
)


def quiet(done, total):
    pass


def slow_groups(frames, flip, possible=True):
    """Each picture with the first one that began a group and that it is a near-copy of, of the
    pairs that are `possible`."""
    known, firsts = centres(frames), np.arange(len(frames))
    possible = np.broadcast_to(possible, (len(frames), len(frames)))
    settled = np.zeros(len(frames), bool)
    for place in range(len(frames)):
        if not settled[place]:
            settled[place] = True
            copies = Reference(frames[place], RULE, flip).copies(known) & ~settled & possible[place]
            firsts[copies] = place
            settled |= copies
    return firsts


class Judge:
    """Judges by pixels, and counts how many pairs it was asked for."""

    def __init__(self, frames, flip):
        self.frames, self.flip, self.pairs = frames, flip, 0
        self.known = centres(frames)

    def __call__(self, jobs):
        self.pairs += sum(len(others) for _, others in jobs)
        return [
            Reference(self.frames[first], RULE, self.flip).copies(self.known, others)
            for first, others in jobs
        ]


def groups_of(frames, flip=False):
    sketches, judge = sketch(frames, centres(frames)), Judge(frames, flip)
    return group_copies(sketches, RULE, flip, judge, quiet), judge.pairs


@pytest.fixture(params=[4096, 8])
def whole(request, monkeypatch):
    """As few pictures as are looked at at once and lie in one cell, and pairs as are held."""
    monkeypatch.setattr(cells, "WHOLE", request.param)
    monkeypatch.setattr(cells, "LOOKS", 2)
    monkeypatch.setattr(copy_groups, "BLOCK", request.param)
    monkeypatch.setattr(copy_groups, "HELD", request.param)


@cache
def kinds():
    """Drawings and all their edits, and pictures of one colour."""
    made = [edit(picture) for picture in drawings(12, 1) for edit in EDITS]
    plain = [np.full((64, 64, 3), level, np.uint8) for level in (90, 93, 97, 99, 104, 200)]
    return np.stack([*made, *plain])


@pytest.mark.parametrize("flip", [False, True])
@given(places=st.lists(st.integers(0, 77), min_size=1, max_size=40))
@settings(few, suppress_health_check=["function_scoped_fixture"])
def test_they_are_those_of_comparing_all(whole, flip, places):
    frames = frames_of(kinds()[places])
    expected = slow_groups(frames, flip)
    assert groups_of(frames, flip)[0].tolist() == expected.tolist()
    assert sorted(set(expected)) == distinct(frames, RULE, flip, len(frames))
    sketches = sketch(frames, centres(frames))
    alone = np.flatnonzero(~with_others(sketches, RULE, flip, quiet))
    assert all((expected == place).sum() == 1 for place in alone)


def test_a_group_of_most_of_the_set_costs_a_comparison_a_picture(whole):
    [one, *others] = drawings(9, 4)
    many = [stored_anew(one, quality) for quality in range(40, 95, 2)]
    frames = frames_of(np.stack([*others[:4], *many, *others[4:]]))
    firsts, pairs = groups_of(frames)
    assert (firsts == 4).sum() == len(many)
    assert pairs < 2 * len(frames)


def test_of_very_many_alike_few_pairs_are_compared_to_find_them(whole, monkeypatch):
    [one] = drawings(1, 4)
    frames = frames_of(np.stack([stored_anew(one, quality) for quality in range(40, 95)] * 8))
    sketches, pairs = sketch(frames, centres(frames)), []
    squared = cells.Visit.squared
    monkeypatch.setattr(
        cells.Visit, "squared", lambda visit: pairs.append(squared(visit).size) or squared(visit)
    )
    monkeypatch.setattr(cells, "_PAIRS", 8 * len(frames))
    assert with_others(sketches, RULE, False, quiet).all()
    assert sum(pairs) < len(frames) ** 2 / 8


def test_a_morph_does_not_chain(whole):
    first, last = drawings(2, 8)
    steps = [
        np.rint(first + (last.astype(float) - first) * share).astype(np.uint8)
        for share in np.linspace(0, 1, 25)
    ]
    frames = frames_of(np.stack(steps))
    firsts, _ = groups_of(frames)
    assert firsts.tolist() == slow_groups(frames, False).tolist()
    assert len(set(firsts.tolist())) > 1


def test_pictures_that_slide_are_those_of_comparing_all_that_sketches_allow(whole):
    wide = np.concatenate(list(drawings(2, 7)), axis=1)
    frames = frames_of(np.stack([wide[:, at : at + 64] for at in range(0, 64, 2)]))
    sketches = sketch(frames, centres(frames))
    possible = may_be_copies(sketches, sketches, RULE, False)
    firsts, _ = groups_of(frames)
    assert firsts.tolist() == slow_groups(frames, False, possible).tolist()
    assert len(set(firsts.tolist())) > 5


class EveryPair:
    """Proposals of all pairs of those that were named so far."""

    def __init__(self):
        self.held = np.empty(0, np.intp)

    def hold(self, rows):
        self.held = np.concatenate([self.held, rows])

    def near(self, rows):
        return np.repeat(rows, len(self.held)), np.tile(self.held, len(rows))

    def among(self, rows):
        return np.ones((len(rows), len(rows)), bool)


@pytest.mark.parametrize("flip", [False, True])
def test_what_is_proposed_is_compared_if_forms_are_alike_a_little(whole, flip):
    moved = [np.roll(picture, (3, 3), (0, 1)) for picture in drawings(12, 3)]
    turned = [picture[:, ::-1] for picture in moved]
    made = [*drawings(12, 3), *(turned if flip else moved)]
    frames = frames_of(np.stack(made))
    sketches, judge = sketch(frames, centres(frames)), Judge(frames, flip)
    every = np.arange(len(frames))
    loosely = np.stack(
        [
            match_loosely(sketches.of(np.full_like(every, place)), sketches, RULE, flip)
            for place in every
        ]
    )
    possible = may_be_copies(sketches, sketches, RULE, flip)
    firsts = group_copies(sketches, RULE, flip, judge, quiet, EveryPair())
    assert firsts.tolist() == slow_groups(frames, flip, possible | loosely).tolist()
    alone = group_copies(sketches, RULE, flip, judge, quiet)
    assert len(set(firsts.tolist())) < len(set(alone.tolist()))
    assert with_others(sketches, RULE, flip, quiet, EveryPair()).all()
    assert not with_others(sketches, RULE, flip, quiet).all()


def test_an_empty_set_has_no_groups():
    frames = frames_of(np.empty((0, 8, 8, 3), np.uint8))
    assert groups_of(frames)[0].tolist() == []
    assert joined([]).forms.shape == (0, FORMS)


def test_the_forms_of_a_mirror_image_are_known_without_it():
    pictures = drawings(5, 2)
    frames = frames_of(pictures)
    turned = frames_of(pictures[:, :, ::-1])
    forms = sketch(turned, centres(turned)).forms.astype(int)
    assert np.abs(mirrored(sketch(frames, centres(frames)).forms).astype(int) - forms).max() <= 1


def test_forms_do_not_heed_a_gradient():
    [picture] = drawings(1, 3) // 2
    light = np.linspace(0, 60, 64).astype(np.uint8)[:, None, None]
    frames = frames_of(np.stack([picture, picture + light]))
    first, second = sketch(frames, centres(frames)).forms.astype(float)
    assert first @ second >= 0.99 * 127**2


@pytest.mark.parametrize("edit", EDITS[1:5])
def test_sketches_let_99_of_100_copies_pass(edit):
    pictures = drawings(100, 1)
    first, second = (frames_of(each) for each in (pictures, np.stack(list(map(edit, pictures)))))
    known = sketch(first, centres(first))
    possible = may_be_copies(known, sketch(second, centres(second)), RULE, False)
    assert np.diag(possible).sum() >= 99
    assert possible.sum() - np.diag(possible).sum() <= 2
    assert ALIKE > 0


def test_plain_pictures_are_told_by_colour():
    frames = frames_of(np.stack([np.full((9, 9, 3), level, np.uint8) for level in (90, 94, 120)]))
    known = sketch(frames, centres(frames))
    assert match_plainly(known, known, RULE).tolist() == [
        [True, True, False],
        [True, True, False],
        [False, False, True],
    ]
