"""A slow search for how one picture lies on another at other scales, one pixel after the other."""

from fractions import Fraction
from math import floor

from seedsweep.workers.analysis.moved_pictures import places, read_at
from seedsweep.workers.analysis.scaled_laying import Lie
from tests.support.shifted_pictures import is_same, tiles_of


def slow_fitted(mine, other, chosen, lie, most):
    """Where brightness is nearest in the chosen pixels, step by step, from `lie` on."""
    height, width = mine.shape
    at = [(y, x) for y in range(height) for x in range(width) if chosen[y, x]]
    ys, xs = ({place[axis] for place in at} for axis in (0, 1))
    at = [(y, x) for y, x in at if min(ys) < y < max(ys) and min(xs) < x < max(xs)]
    best, nearest = lie, None
    for _ in range(8):
        lines = (lie.down, height), (lie.right, width)
        rows, columns = (places(step, lie.thousandths, length) for step, length in lines)
        theirs = read_at(other, rows, columns)
        inside = [
            (y, x)
            for y, x in at
            if all(0 <= rows[row] <= 16 * (height - 1) for row in (y - 1, y, y + 1))
            and all(0 <= columns[column] <= 16 * (width - 1) for column in (x - 1, x, x + 1))
        ]
        if not inside:
            return best
        slopes, apart = [], []
        for y, x in inside:
            both = {
                (a, b): Fraction(int(mine[a, b]) + int(theirs[a, b]), 2)
                for a, b in ((y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1))
            }
            down = (both[y + 1, x] - both[y - 1, x]) / 2
            right = (both[y, x + 1] - both[y, x - 1]) / 2
            out = (y - Fraction(height - 1, 2)) * down + (x - Fraction(width - 1, 2)) * right
            slopes.append((down, right, out))
            apart.append(Fraction(int(mine[y, x]) - int(theirs[y, x])))
        centred = [without_mean(values) for values in (*zip(*slopes, strict=True), apart)]
        distance = product(centred[3], centred[3]) / len(apart)
        if nearest is not None and distance >= nearest:
            return best
        best, nearest = lie, distance
        solution = solved(
            [[product(one, other) for other in centred[:3]] for one in centred[:3]],
            [product(one, centred[3]) for one in centred[:3]],
        )
        if solution is None:
            return best
        thousandths = lie.thousandths + rounded(1000 * solution[2])
        lie = Lie(
            max(1000 - most, min(1000 + most, thousandths)),
            lie.down + rounded(16 * solution[0]),
            lie.right + rounded(16 * solution[1]),
        )
        if lie == best:
            return best
    return best


def slow_scaled(mine, theirs, how, tiles, rule, wide):
    """How a picture is the same as another in most tiles, from a shift at which it is in these, and
    in which tiles then; None if that is not scaled, or in too few."""
    theirs = theirs[:, ::-1] if how.mirrored else theirs
    height, width = mine.shape
    grid, most = tiles_of(height, width, rule.grid), floor(Fraction(str(rule.scale)) * 1000)
    state = [Lie(1000, 16 * how.down, 16 * how.right), tiles]

    def tried(lie, share):
        lines = (lie.down, height), (lie.right, width)
        rows, columns = (places(step, lie.thousandths, length) for step, length in lines)
        read = read_at(theirs, rows, columns)
        found = [
            all(0 <= rows[y] <= 16 * (height - 1) for y in ys)
            and all(0 <= columns[x] <= 16 * (width - 1) for x in xs)
            and is_same(*([[int(p[y, x]) for y in ys for x in xs]] for p in (mine, read)), wide)
            for ys, xs in grid
        ]
        if sum(found) >= share * sum(state[1]):
            state[:] = lie, found

    def to_nearest():
        chosen = {
            (y, x)
            for (ys, xs), is_in in zip(grid, state[1], strict=True)
            if is_in
            for y in ys
            for x in xs
        }
        marked = mine > 255
        for place in chosen:
            marked[place] = True
        tried(slow_fitted(mine, theirs, marked, state[0], most), Fraction(2, 3))

    def about(thousandths):
        """The middles of the tiles stay where they are at the shift, on average."""
        own = [grid[place] for place, is_in in enumerate(tiles) if is_in]
        steps = []
        for axis, length, step in ((0, height, how.down), (1, width, how.right)):
            middles = [Fraction(each[axis][0] + each[axis][-1] - length + 1, 2) for each in own]
            away = sum(middles) / len(middles)
            steps.append(16 * step + rounded(16 * away * Fraction(1000 - thousandths, 1000)))
        return Lie(thousandths, *steps)

    to_nearest()
    nearest = state[0]
    for away in (-60, -20, 20, 60):
        if abs(away) <= most:
            tried(about(1000 + away), Fraction(9, 8))
    if state[0] != nearest:
        for away in (-20, 20):
            tried(about(state[0].thousandths + away), Fraction(9, 8))
        to_nearest()
        to_nearest()
    lie, found = state
    return (lie, found) if sum(found) >= rule.least and lie.thousandths != 1000 else None


def without_mean(values):
    mean = Fraction(sum(values), len(values))
    return [value - mean for value in values]


def product(one, other):
    return sum(a * b for a, b in zip(one, other, strict=True))


def solved(matrix, wanted):
    """By Gauss' elimination; None if there is no one solution."""
    rows = [[*row, value] for row, value in zip(matrix, wanted, strict=True)]
    for place in range(len(rows)):
        pivot = next((row for row in rows[place:] if row[place]), None)
        if pivot is None:
            return None
        rows.remove(pivot)
        rows.insert(place, pivot)
        for other in rows:
            if other is not pivot:
                share = other[place] / pivot[place]
                other[:] = [a - share * b for a, b in zip(other, pivot, strict=True)]
    return [row[-1] / row[place] for place, row in enumerate(rows)]


def rounded(value):
    return floor(value + Fraction(1, 2))
