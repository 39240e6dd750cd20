"""Pictures that are laid on others: read between pixels as exact fractions say."""

from fractions import Fraction
from math import floor

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from seedsweep.storage.prompt_results import Scaling, Shift
from seedsweep.workers.analysis.moved_pictures import moved, moved_back

few = settings(max_examples=25, derandomize=True, deadline=None)
sixteenths, steps = st.integers(0, 15), st.integers(-3, 3)
shifts = st.builds(
    Shift,
    down=steps,
    right=steps,
    mirrored=st.booleans(),
    scaling=st.builds(
        Scaling, thousandths=st.integers(900, 1100), down=sixteenths, right=sixteenths
    ),
)
shapes = st.sampled_from([(9, 12), (12, 9), (7, 7)])


def cubic(t):
    """Catmull and Rom's weights of the four pixels around a place, as exact fractions."""
    half = Fraction(1, 2)
    return [
        half * (-(t**3) + 2 * t**2 - t),
        half * (3 * t**3 - 5 * t**2 + 2),
        half * (-3 * t**3 + 4 * t**2 + t),
        half * (t**3 - t**2),
    ]


def nearest(value, part=1):
    return floor(value / part + Fraction(1, 2)) * part


def place(y, length, scale, step):
    """Where a row or column is read: scaled about the middle, to the next sixteenth, and moved."""
    middle = Fraction(length - 1, 2)
    return nearest((y - middle) * scale, Fraction(1, 16)) + middle + step


def line(values, at):
    """What a list of values has at a place."""
    first = floor(at)
    taps = zip(range(first - 1, first + 3), cubic(at - first), strict=True)
    return sum(weight * values[max(0, min(len(values) - 1, tap))] for tap, weight in taps)


def slowly(picture, shift):
    """The picture laid at the shift, pixel by pixel."""
    height, width = picture.shape[:2]
    turned = picture[:, ::-1] if shift.mirrored else picture
    scale = Fraction(shift.scaling.thousandths, 1000)
    down, right = (
        whole + Fraction(part, 16)
        for whole, part in ((shift.down, shift.scaling.down), (shift.right, shift.scaling.right))
    )
    laid = np.zeros_like(picture)
    for y in range(height):
        for x in range(width):
            row, column = place(y, height, scale, down), place(x, width, scale, right)
            if not (0 <= row <= height - 1 and 0 <= column <= width - 1):
                continue
            if picture.dtype == bool:
                laid[y, x] = turned[nearest(row), nearest(column)]
                continue
            # Rows first, kept to a part in 128.
            between = [
                nearest(line([int(v) for v in turned[:, c]], row), Fraction(1, 128))
                for c in range(width)
            ]
            laid[y, x] = max(0, min(255, nearest(line(between, column))))
    return laid


@few
@given(shift=shifts, shape=shapes, seed=st.integers(0, 99), is_mask=st.booleans())
def test_a_scaled_picture_is_read_as_exact_fractions_say(shift, shape, seed, is_mask):
    rng = np.random.default_rng(seed)
    picture = rng.integers(0, 256, shape).astype(np.uint8)
    picture = picture > 128 if is_mask else picture
    assert (moved(picture, shift) == slowly(picture, shift)).all()


@few
@given(down=steps, right=steps, mirrored=st.booleans(), seed=st.integers(0, 99))
def test_at_its_own_size_a_picture_is_moved_by_whole_pixels(down, right, mirrored, seed):
    picture = np.random.default_rng(seed).integers(0, 256, (8, 11, 3), dtype=np.uint8)
    plain = Shift(down=down, right=right, mirrored=mirrored)
    scaled = plain.model_copy(update={"scaling": Scaling(thousandths=1000)})
    assert (moved(picture, scaled) == moved(picture, plain)).all()
    assert (moved_back(picture, scaled) == moved_back(picture, plain)).all()


@few
@given(shift=shifts, shape=shapes)
def test_a_mask_that_is_moved_back_lies_within_a_pixel_of_where_it_was(shift, shape):
    height, width = shape
    for y in range(3, height - 3):
        for x in range(3, width - 3):
            mask = np.zeros(shape, np.bool_)
            mask[y - 1 : y + 2, x - 1 : x + 2] = True
            laid = moved(mask, shift)
            back = np.argwhere(moved_back(laid, shift))
            if laid[1:-1, 1:-1].sum() == laid.sum() >= 9:
                assert abs(back.mean(axis=0) - (y, x)).max() <= 1
