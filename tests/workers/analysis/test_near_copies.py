"""Which training pictures count as one, against a slow comparison of its own."""

import itertools
from functools import cache
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw

from seedsweep.audit.findings.intervals import rate
from seedsweep.storage.settings.analysis import NearCopies, Verification
from seedsweep.workers.analysis.cuts import VALUES, centres
from seedsweep.workers.analysis.frames import frames_of
from seedsweep.workers.analysis.near_copies import Reference, distinct, fit_unmoved, grouped
from seedsweep.workers.training.pictures import prepare
from tests.support.pictures import cut, drawings, scaled_and_back, stored_anew

few = settings(max_examples=15, derandomize=True, deadline=None)
RULE = NearCopies()
TRAINING = Path("examples/emoji/train.parquet")
EDITS = {
    "JPEG of quality 90": lambda picture: stored_anew(picture, 90),
    "JPEG of quality 75": lambda picture: stored_anew(picture, 75),
    "half the size and back": lambda picture: scaled_and_back(picture, 0.5),
    "three quarters and back": lambda picture: scaled_and_back(picture, 0.75),
    "twice the size and back": lambda picture: scaled_and_back(picture, 2),
    "a fiftieth cut off all around": lambda picture: cut(picture, 0.02, 0.02, 0.02, 0.02),
    "a twentieth cut off at the left": lambda picture: cut(picture, 0.05, 0, 0, 0),
    "a corner cut off": lambda picture: cut(picture, 0.03, 0.03, 0, 0),
}


def near(first, second, rule=RULE, flip=False):
    frames = frames_of(np.stack([second]))
    reference = Reference(frames_of(np.stack([first]))[0], rule, flip)
    return bool(reference.copies(centres(frames))[0])


@cache
def plane_solver(side):
    """Of a square a plane's basis, and what solves for its parts by least squares."""
    down, across = np.mgrid[:side, :side].reshape(2, -1)
    basis = np.stack([np.ones(side * side), down, across], axis=1)
    return basis, np.linalg.pinv(basis)


def without_plane(cut):
    """What a least-squares plane leaves of each channel, by a solver that knows nothing else."""
    basis, solver = plane_solver(cut.shape[0])
    values = cut.reshape(-1, 3).astype(float)
    return values - basis @ (solver @ values)


def interpolated(values, places):
    """The rows at these places between them."""
    flat = values.reshape(len(values), -1)
    columns = [np.interp(places, np.arange(len(values)), column) for column in flat.T]
    return np.stack(columns, axis=1).reshape(len(places), *values.shape[1:])


def slow(first, second, rule=RULE, flip=False):
    """The rule in words, over every view of the first frame."""
    [a, b] = frames_of(np.stack([first, second]))
    centre = b[5:59, 5:59]
    left = without_plane(centre)
    for frame in [a, a[:, ::-1]] if flip else [a]:
        for scale in (0.95, 0.975, 1.0, 1.025, 1.05):
            places = (np.arange(60) - 29.5) / scale + 31.5
            rows = interpolated(frame.astype(float), places)
            canvas = interpolated(rows.swapaxes(0, 1), places).swapaxes(0, 1)
            for y, x in itertools.product(range(7), range(7)):
                view = canvas[y : y + 54, x : x + 54]
                mine = without_plane(view)
                deviations = sorted([mine.std() / 255, left.std() / 255])
                if deviations[0] < rule.plain:
                    apart = np.sqrt(np.mean((view / 255 - centre / 255) ** 2))
                    fits = apart <= rule.plain_l2
                else:
                    means = np.abs(view.mean(axis=(0, 1)) - centre.mean(axis=(0, 1))) / 255
                    alike = np.corrcoef(mine.ravel(), left.ravel())[0, 1]
                    fits = (
                        alike >= rule.correlation
                        and deviations[1] <= rule.contrast * deviations[0]
                        and means.max() <= rule.colour
                    )
                if fits:
                    return True
    return False


@few
@given(
    st.sampled_from([32, 64, 100]),
    st.sampled_from(sorted(EDITS)),
    st.sampled_from([None, 0.6, 1.0]),
    st.booleans(),
    st.integers(0, 10_000),
)
def test_a_pair_is_judged_as_the_rule_says(side, edit, share, flip, seed):
    picture, other = drawings(2, seed, side)
    changed = EDITS[edit](picture)
    if share is not None:  # between the edited picture and another one
        changed = np.rint(share * changed + (1 - share) * other).astype(np.uint8)
    if flip:
        changed = np.ascontiguousarray(changed[:, ::-1])
    for mirrored in (False, True):
        assert near(picture, changed, flip=mirrored) == slow(picture, changed, flip=mirrored)
    assert near(picture, other) == slow(picture, other)


@few
@given(st.integers(1, 90), st.integers(1, 90), st.integers(0, 100))
def test_a_frame_is_the_mean_of_areas_and_smoothed(height, width, seed):
    picture = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    rows = picture.repeat(64, axis=0).reshape(64, height, width, 3).mean(axis=1)
    means = rows.repeat(64, axis=1).reshape(64, 64, width, 3).mean(axis=2)
    padded = np.pad(means, ((1, 1), (1, 1), (0, 0)), mode="edge")
    weights = np.outer([1, 2, 1], [1, 2, 1]) / 16
    smooth = sum(weights[y, x] * padded[y : y + 64, x : x + 64] for y in range(3) for x in range(3))
    assert np.abs(frames_of(picture[None])[0] - smooth).max() <= 1.01  # rounded twice


@few
@given(st.integers(0, 10_000), st.sampled_from([0.2, 0.5, 0.9]), st.integers(1, 60))
def test_bounds_leave_out_no_near_copy(seed, correlation, contrast):
    rule = NearCopies(correlation=correlation, contrast=9, colour=1)
    pictures = drawings(6, seed)
    faint = (pictures[:2] // 16 + contrast).astype(np.uint8)
    known = centres(frames_of(np.concatenate([pictures, faint])))
    for frame in frames_of(pictures):
        reference = Reference(frame, rule, False)
        fits = reference._fits(known.rows, known.summary).any(axis=0)
        assert set(np.flatnonzero(fits)) <= set(
            reference.possible(known.summary, np.arange(len(known)))
        )


def test_what_fits_unmoved_are_the_near_copies_that_the_view_in_the_middle_shows():
    pictures = drawings(12, 5)
    edited = [edit(picture) for picture in pictures[:4] for edit in EDITS.values()]
    plain = [np.full((64, 64, 3), level, np.uint8) for level in (90, 94, 99)]
    frames = frames_of(np.stack([*pictures, *edited, *plain]))
    known = centres(frames)
    unmoved = fit_unmoved(known, known, RULE)
    middle = 2 * 49 + 24  # of five scales and 49 shifts
    for place, frame in enumerate(frames):
        views = Reference(frame, RULE, False)._fits(known.rows, known.summary)
        assert np.array_equal(unmoved[place], views[middle])
    assert unmoved.sum() > len(frames) + 16


def test_one_rule_at_every_size():
    edited = [edit(picture) for picture in drawings(3, 3, 512) for edit in EDITS.values()]

    def pairs(side):
        pictures = drawings(12, 3, side)
        shrunk = [np.asarray(Image.fromarray(e).resize((side, side), 4)) for e in edited]
        known = frames_of(np.concatenate([pictures, np.stack(shrunk)]))
        return np.stack([Reference(f, RULE, False).copies(centres(known)) for f in known])

    joined = pairs(64)
    assert np.array_equal(joined, pairs(128))
    assert np.array_equal(joined, pairs(512))
    assert joined.sum() > 12 + 24


@cache
def hundred(side):
    pictures = drawings(100, 1, side)
    return pictures, [Reference(frame, RULE, False) for frame in frames_of(pictures)]


@pytest.mark.parametrize("side", [64, 192])
@pytest.mark.parametrize("edit", EDITS)
def test_of_copies_that_were_edited_99_of_100_are_joined(edit, side):
    pictures, references = hundred(side)
    edited = [centres(frames_of(EDITS[edit](picture)[None])) for picture in pictures]
    joined = [one.copies(other)[0] for one, other in zip(references, edited, strict=True)]
    assert sum(joined) >= 99


@pytest.fixture(scope="module")
def strangers():
    """Pictures of the example: each another drawing, place, tilt and background."""
    rows = pq.read_table(TRAINING, columns=["image", "group"]).to_pylist()
    settings = Verification(training_set="")
    read = {row["image"]["bytes"] for row in rows if row["group"] in ("copies", "once")}
    return np.stack([prepare(each, settings, 64, 64)[0] for each in sorted(read)[:780]])


def test_of_strangers_at_most_one_pair_in_100_000_is_joined(strangers):
    frames = frames_of(strangers)
    known = centres(frames)
    joined = sum(
        int(Reference(frame, RULE, False).copies(known, np.arange(place)).sum())
        for place, frame in enumerate(frames)
    )
    pairs = len(frames) * (len(frames) - 1) // 2
    assert rate(joined, pairs, side="upper").high <= 1e-5


def heart(colour, side=64, size=1.0):
    """A heart of that colour on white."""
    canvas = Image.new("RGB", (512, 512), "white")
    pen, half = ImageDraw.Draw(canvas), 180 * size
    left, right, top = 256 - half, 256 + half, 256 - half
    pen.ellipse((left, top, 256 + half * 0.1, 256 + half * 0.1), fill=colour)
    pen.ellipse((256 - half * 0.1, top, right, 256 + half * 0.1), fill=colour)
    pen.polygon([(left, 256 - half * 0.3), (right, 256 - half * 0.3), (256, 256 + half)], colour)
    return np.asarray(canvas.resize((side, side), Image.Resampling.BOX))


@pytest.mark.parametrize("size", [0.3, 0.6, 1.0])
@pytest.mark.parametrize("side", [64, 512])
def test_a_picture_that_was_recoloured_is_another_one(side, size):
    red, blue = heart((220, 30, 40), side, size), heart((30, 60, 220), side, size)
    assert not near(red, blue)
    assert near(red, stored_anew(red, 90))


def test_like_backgrounds_join_nobody():
    axis = np.linspace(20, 235, 64)
    gradient = np.broadcast_to(axis[:, None, None], (64, 64, 3))
    pictures = []
    for place in (12, 40):
        picture = gradient.copy()
        picture[20:36, place : place + 12] = 255 - picture[20:36, place : place + 12]
        pictures.append(picture.astype(np.uint8))
    assert not near(*pictures)


def test_without_contrast_plain_l2_decides():
    flat = [np.full((64, 64, 3), level, np.uint8) for level in (100, 105, 106)]
    assert near(flat[0], flat[1])  # 5 levels are 0.0196
    assert not near(flat[0], flat[2])
    assert not near(flat[0], drawings(1, 0)[0])


def test_a_morph_does_not_chain():
    first, last = drawings(2, 8)
    steps = [
        np.rint(first + (last.astype(float) - first) * share).astype(np.uint8)
        for share in np.linspace(0, 1, 20)
    ]
    frames = frames_of(np.stack(steps))
    assert all(near(a, b) for a, b in itertools.pairwise(steps))
    taken = distinct(frames, RULE, False, 20)
    assert taken[0] == 0
    assert 2 <= len(taken) < 20
    groups = grouped(frames, RULE, False)
    assert [group[0] for group in groups] == taken
    assert all(near(steps[group[0]], steps[place]) for group in groups for place in group)


def test_the_first_of_those_that_are_one_picture_is_taken():
    one, two, three = drawings(3, 2)
    pictures = np.stack([one, stored_anew(one, 90), two, one, stored_anew(two, 75), three])
    frames = frames_of(pictures)
    assert distinct(frames, RULE, False, 9) == [0, 2, 5]
    assert distinct(frames, RULE, False, 2) == [0, 2]
    assert distinct(frames[:0], RULE, False, 9) == []
    assert grouped(frames, RULE, False) == [[0, 1, 3], [2, 4], [5]]


def test_mirror_images_are_one_picture_only_where_that_is_asked_for():
    [picture] = drawings(1, 4)
    frames = frames_of(np.stack([picture, picture[:, ::-1]]))
    assert distinct(frames, RULE, False, 9) == [0, 1]
    assert distinct(frames, RULE, True, 9) == [0]


def test_a_pair_is_judged_alike_whatever_is_beside_it(strangers):
    frames = frames_of(np.concatenate([strangers[:40], strangers[:40] // 2]))
    known = centres(frames)
    reference = Reference(frames[0], NearCopies(correlation=0.3, colour=1, contrast=9), False)
    together = reference.copies(known)
    alone = [bool(reference.copies(known, np.array([place]))[0]) for place in range(len(frames))]
    assert together.tolist() == alone
    assert known.rows.shape[1] == VALUES
