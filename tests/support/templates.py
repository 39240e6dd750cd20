"""Pictures that repeat a part, and pictures that repeat nothing."""

import numpy as np


def noise(rng, count=1, side=32):
    """Pictures of smooth noise, alike in nothing."""
    small = rng.integers(0, 256, (count, side // 4, side // 4, 3))
    made = small.repeat(4, axis=1).repeat(4, axis=2).astype(np.uint8)
    return np.pad(made, ((0, 0), (0, side % 4), (0, side % 4), (0, 0)), mode="edge")


def template(rng, count, rows, columns, side=32):
    """Pictures that show the same in these rows and columns of pixels, each tinted anew."""
    made, [fixed] = noise(rng, count, side), noise(rng, side=side) // 2 + 64
    for picture in made:
        picture[rows, columns] = fixed[rows, columns] + rng.integers(-20, 21, 3)
    return made
