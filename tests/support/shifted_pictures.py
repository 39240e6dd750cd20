"""Pictures that show one square elsewhere in each, and a slow comparison of what they show."""

from fractions import Fraction

import numpy as np

from tests.support.templates import noise


def shifted(rng, count, most, side=32, mirror=False):
    """Pictures that show the same square, each elsewhere and tinted anew, and its shifts."""
    made, [fixed] = noise(rng, count, side), noise(rng, side=side)
    first, size = 3 * side // 16, 5 * side // 8
    fixed = fixed[:size, :size] // 2 + 64
    shifts = []
    for picture in made:
        down, right = rng.integers(-most, most + 1, 2).tolist()
        mirrored = bool(mirror and rng.random() < 0.5)
        turned = picture[:, ::-1] if mirrored else picture
        rows, columns = (slice(first + step, first + step + size) for step in (down, right))
        turned[rows, columns] = fixed + rng.integers(-9, 10, 3)
        shifts.append((down, right, mirrored))
    return made, shifts


def tiles_of(height, width, grid):
    cuts = [np.array_split(np.arange(length), grid) for length in (height, width)]
    return [(rows.tolist(), columns.tolist()) for rows in cuts[0] for columns in cuts[1]]


def is_same(one, other, rule):
    """Whether two regions, lists of channels of values, are the same: by whole numbers and exact
    fractions."""
    pixels = len(one[0])

    def inner(a, b):
        pairs = zip(a, b, strict=True)
        return sum(
            pixels * sum(x * y for x, y in zip(c, d, strict=True)) - sum(c) * sum(d)
            for c, d in pairs
        )

    scale = 255**2 * len(one) * pixels**2
    texture, distance, correlation = (
        Fraction(str(limit)) ** 2 for limit in (rule.texture, rule.distance, rule.correlation)
    )
    a, b, both = inner(one, one), inner(other, other), inner(one, other)
    near = min(a, b) >= texture * scale and a + b - 2 * both <= distance * scale
    return near and both >= 0 and both**2 >= correlation * a * b


def slow_same(one, other, way, rule):
    """In which tiles of the first picture the second is the same at that shift, pixel by pixel."""
    down, right, mirrored = way
    height, width = one.shape[:2]
    if mirrored:
        other = other[:, ::-1]
    found = []
    for rows, columns in tiles_of(height, width, rule.grid):
        ys, xs = [y + down for y in rows], [x + right for x in columns]
        if min(ys + xs) < 0 or max(ys) >= height or max(xs) >= width:
            found.append(False)
            continue
        pairs = [
            [[int(p[y, x, c]) for y in rows_ for x in columns_] for c in range(one.shape[2])]
            for p, rows_, columns_ in ((one, rows, columns), (other, ys, xs))
        ]
        found.append(is_same(*pairs, rule))
    return found


def waves(rng):
    """A picture that can be read anywhere: three colours' levels at any heights and widths, in
    64ths of its side from its middle."""
    pitch, turn, start = (rng.uniform(*span, (3, 8)) for span in ((0.5, 1.1), (0, 3.2), (0, 6.3)))

    def at(ys, xs):
        ways = np.sin(
            pitch * (np.cos(turn) * ys[:, None, None, None] + np.sin(turn) * xs[:, None, None])
            + start
        )
        return 128 + 25 * ways.sum(axis=-1) / np.sqrt(2)

    return at


def scaled(rng, how, side, half):
    """Pictures of noise that show one square of waves, so many pixels to each side of its middle,
    each as `how` says: at so many thousandths of the size, so many pixels further down and to the
    right, and mirrored or not."""
    made, subject = noise(rng, len(how), side), waves(rng)
    away = np.arange(side) - (side - 1) / 2
    for picture, (thousandths, down, right, mirrored) in zip(made, how, strict=True):
        ys, xs = ((away - step) * 1000 / thousandths for step in (down, right))
        there = (abs(ys) <= half)[:, None] & (abs(xs) <= half)
        turned = picture[:, ::-1] if mirrored else picture
        levels = np.clip(
            np.rint(subject(64 / side * ys, 64 / side * xs) + rng.integers(-9, 10, 3)), 0, 255
        )
        turned[there] = levels[there]
    return made
