"""When a generation repeats a training picture: the rule that truth is measured with.

It does, if the picture is within an l2 of 0.1 of it, and nearer than every other training picture
and than 100 renderings of the same emoji that nobody was trained on.
"""

import numpy as np

NEAR = 0.1
RENDERINGS = 100


def is_nearer(l2: float, rendering_l2: float | None) -> bool:
    """The rule."""
    return l2 <= NEAR and rendering_l2 is not None and l2 < rendering_l2


def flatten(pixels: np.ndarray) -> np.ndarray:
    """Turn pictures into (n, values) float32 in [0, 1]."""
    return pixels.reshape(len(pixels), -1).astype(np.float32) / 255


def distances(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The l2 of all pairs, (len(a), len(b)): the root of the mean squared difference."""
    squared = (a * a).sum(1)[:, None] + (b * b).sum(1)[None, :] - 2 * a @ b.T
    return np.sqrt(np.maximum(squared, 0) / a.shape[1])
