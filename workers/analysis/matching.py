"""Which training image a generation repeats, and whether it counts as extracted.

Definition 1 of Carlini et al. 2023 (arXiv 2301.13188, section 4.1): extracted if some training
image lies within a small l2. On small images that says little, and the adaptive score of the
paper's CIFAR-10 attack (section 5.1) decides as well.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from workers.analysis.distances import tiled_to
from workers.analysis.nearest import TrainingImages, nearest_images

DEFAULT_ALPHA = 0.5
DEFAULT_NEIGHBOURS = 50
SMALL_IMAGE_SIDE = 256


@dataclass(frozen=True, slots=True)
class TrainingMatch:
    """The training image nearest to a generation.

    `index` is its place in the training set, `l2` and `tiled_l2` its distances from the generation,
    `adaptive` the l2 relative to how far the training image's own neighbours are: 1 or less is
    closer than alpha times their mean. None where that mean is 0 or there is no neighbour: then
    there is nothing to compare with.
    """

    index: int
    l2: float
    tiled_l2: float
    adaptive: float | None


def neighbour_mean(
    index: int, training: TrainingImages, neighbours: int = DEFAULT_NEIGHBOURS
) -> float:
    """Mean l2 from training image `index` to its `neighbours` nearest other training images.

    The image itself is left out by its index, so an exact copy of it elsewhere counts, at distance
    0. All others count if there are fewer than `neighbours`; nan if there are none. IndexError
    unless 0 <= index < N; ValueError if neighbours < 1.
    """
    if not 0 <= index < len(training):
        raise IndexError(f"no training image {index} among {len(training)}")
    if neighbours < 1:
        raise ValueError(f"neighbours must be >= 1, got {neighbours}")
    nearest = nearest_images(training.pictures[index], training, neighbours, without=index)
    distances = nearest.l2.tolist()
    return math.fsum(distances) / len(distances) if distances else math.nan


def nearest_training(
    image: NDArray[np.uint8],
    training: TrainingImages,
    tiles: int,
    alpha: float = DEFAULT_ALPHA,
    neighbours: int = DEFAULT_NEIGHBOURS,
) -> TrainingMatch:
    """The training image x nearest to the generation `image` by plain l2, the smallest index among
    equals; `image` is (height, width, 3) uint8. The result is that of comparing all pixels.

    adaptive = l2(image, x) / (alpha * neighbour_mean(x)), the neighbours being those of the
    training image x among the training images, as in the paper's untargeted extraction from
    CIFAR-10 models (section 5.1); implementations disagree, and some take the generation's own.
    ValueError if `training` is empty, sizes differ, alpha <= 0, neighbours < 1 or tiles < 1.
    """
    if not len(training):
        raise ValueError("the training set is empty: there is nothing to match with")
    if not alpha > 0:
        raise ValueError(f"alpha must be > 0, got {alpha}")
    nearest = nearest_images(image, training, 1)
    index, l2 = int(nearest.indexes[0]), float(nearest.l2[0])
    mean = neighbour_mean(index, training, neighbours)
    return TrainingMatch(
        index=index,
        l2=l2,
        tiled_l2=tiled_to(image, training.pictures[index], tiles),
        adaptive=l2 / (alpha * mean) if mean > 0 else None,
    )


def is_extracted(match: TrainingMatch, threshold: float, smallest_side: int) -> bool:
    """Whether the generation repeats the training image: l2 <= `threshold` and, where the image's
    `smallest_side` is below 256 pixels, adaptive <= 1 as well. There an undefined adaptive score
    extracts nothing. The l2 is compared as float64, the threshold itself being within."""
    if match.l2 > threshold:
        return False
    if smallest_side >= SMALL_IMAGE_SIDE:
        return True
    return match.adaptive is not None and match.adaptive <= 1
