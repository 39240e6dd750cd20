"""Which training image a generation repeats, and whether it counts as extracted.

Definition 1 of Carlini et al. 2023 (arXiv 2301.13188, section 4.1): extracted if some training
image lies within a small l2. On small images that says little, and the adaptive score of the
paper's CIFAR-10 attack (section 5.1) decides as well.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.sparse.csgraph import connected_components

from seedsweep.workers.analysis.distances import edge_limit, l2_to_all, tiled_to
from seedsweep.workers.analysis.inner_products import products
from seedsweep.workers.analysis.nearest import Nearest, TrainingImages, nearest_images
from seedsweep.workers.analysis.running_nearest import squared_norms

DEFAULT_ALPHA = 0.5
DEFAULT_NEIGHBOURS = 50
SMALL_IMAGE_SIDE = 256

NeighboursOf = Literal["training", "generation"]
"""Whose nearest training images the adaptive score compares with: implementations disagree."""


@dataclass(frozen=True, slots=True)
class TrainingMatch:
    """The training image nearest to a generation.

    `index` is its place in the training set, `l2` and `tiled_l2` its distances from the generation,
    those of its mirror image if `flip`,
    `adaptive` the l2 relative to how far the neighbours are: 1 or less is closer than alpha times
    their mean. None where that mean is 0 or there is no neighbour: then there is nothing to compare
    with.
    """

    index: int
    l2: float
    tiled_l2: float
    adaptive: float | None
    flip: bool = False


def neighbour_mean(
    index: int,
    training: TrainingImages,
    neighbours: int = DEFAULT_NEIGHBOURS,
    flip: bool = False,
) -> float:
    """Mean l2 from training image `index` to its `neighbours` nearest other training images.

    The image itself is left out by its index, so an exact copy of it elsewhere counts, at distance
    0. All others count if there are fewer than `neighbours`; nan if there are none. With `flip`
    each is as near as it or its mirror image is. IndexError unless 0 <= index < N; ValueError if
    neighbours < 1.
    """
    if not 0 <= index < len(training):
        raise IndexError(f"no training image {index} among {len(training)}")
    if neighbours < 1:
        raise ValueError(f"neighbours must be >= 1, got {neighbours}")
    nearest = _nearest(training.pictures[index], training, neighbours, flip, without=index)
    return mean_of(nearest.l2.tolist())


def _nearest(
    image: NDArray[np.uint8],
    training: TrainingImages,
    count: int,
    flip: bool,
    without: int | None = None,
) -> Nearest:
    """As `nearest_images`, with `flip` by the distance to each of them as it is or mirrored."""
    upright = nearest_images(image, training, count, without)
    if not flip:
        return upright
    mirrored = nearest_images(image[:, ::-1], training, count, without)
    l2 = np.concatenate([upright.l2, mirrored.l2])
    indexes = np.concatenate([upright.indexes, mirrored.indexes])
    order = np.lexsort((indexes, l2))
    _, first = np.unique(indexes[order], return_index=True)
    nearest = order[np.sort(first)][:count]
    return Nearest(indexes[nearest], l2[nearest])


def mean_of(distances: Sequence[float]) -> float:
    """Their mean, whatever their order; nan of none."""
    return math.fsum(distances) / len(distances) if distances else math.nan


def adaptive_score(l2: float, mean: float, alpha: float = DEFAULT_ALPHA) -> float | None:
    """l2 / (alpha * mean), `mean` being the mean l2 to the neighbours; None where it is 0 or nan.

    Carlini et al. 2023, section 5.1. ValueError unless alpha > 0.
    """
    if not alpha > 0:
        raise ValueError(f"alpha must be > 0, got {alpha}")
    return l2 / (alpha * mean) if mean > 0 else None


def nearest_training(
    image: NDArray[np.uint8],
    training: TrainingImages,
    tiles: int,
    alpha: float = DEFAULT_ALPHA,
    neighbours: int = DEFAULT_NEIGHBOURS,
    neighbours_of: NeighboursOf = "training",
    flip: bool = False,
) -> TrainingMatch:
    """The training image x nearest to the generation `image` by plain l2, the smallest index among
    equals; `image` is (height, width, 3) uint8. The result is that of comparing all pixels.

    adaptive = l2(image, x) / (alpha * mean), the mean being `neighbour_mean(x)`: the neighbours are
    those of the training image x among the training images, as in the paper's untargeted extraction
    from CIFAR-10 models (section 5.1). With `neighbours_of` "generation" it is that of l2 from
    `image` to its own nearest training images, x among them, as some implementations have it. With
    `flip` each training image is as far as it or its mirror image is, whichever is nearer.
    ValueError if `training` is empty, sizes differ, alpha <= 0, neighbours < 1 or tiles < 1.
    """
    if not len(training):
        raise ValueError("the training set is empty: there is nothing to match with")
    own = neighbours_of == "generation"
    nearest = _nearest(image, training, neighbours if own else 1, flip)
    index, l2 = int(nearest.indexes[0]), float(nearest.l2[0])
    near = (
        mean_of(nearest.l2.tolist()) if own else neighbour_mean(index, training, neighbours, flip)
    )
    picture = training.pictures[index]
    flipped = flip and is_nearer_mirrored(image, picture)
    return TrainingMatch(
        index=index,
        l2=l2,
        tiled_l2=tiled_to(image, picture[:, ::-1] if flipped else picture, tiles),
        adaptive=adaptive_score(l2, near, alpha),
        flip=flipped,
    )


def is_nearer_mirrored(image: NDArray[np.uint8], picture: NDArray[np.uint8]) -> bool:
    """Whether `picture` is nearer to `image` by plain l2 once it is mirrored; both (height, width,
    3) uint8."""
    upright, mirrored = l2_to_all(image, np.stack([picture, picture[:, ::-1]]))
    return bool(mirrored < upright)


def is_extracted(match: TrainingMatch, threshold: float, smallest_side: int) -> bool:
    """Whether the generation repeats the training image: l2 <= `threshold` and, where the image's
    `smallest_side` is below 256 pixels, adaptive <= 1 as well. There an undefined adaptive score
    extracts nothing. The l2 is compared as float64, the threshold itself being within."""
    if match.l2 > threshold:
        return False
    if smallest_side >= SMALL_IMAGE_SIDE:
        return True
    return match.adaptive is not None and match.adaptive <= 1


def match_limit(threshold: float, spread: float, alpha: float, smallest_side: int) -> float:
    """How near a picture has to be to a training image to count as extracted, `spread` being the
    mean l2 of that one to its neighbours: `threshold`, and on small images alpha * spread if that
    is less, 0 where it is nan."""
    if smallest_side >= SMALL_IMAGE_SIDE:
        return threshold
    return 0.0 if math.isnan(spread) else min(threshold, alpha * spread)


def near_groups(
    pictures: NDArray[np.uint8], limits: Sequence[float], flip: bool = False
) -> list[list[int]]:
    """Put near-duplicates among pictures (n, height, width, 3) uint8 in one group: indexes,
    ascending in each group and by its first.

    Two are near-duplicates if their l2, or with `flip` that of one to the other's mirror image, is
    within the limit of either, and so are those that others join. ValueError unless there is a
    limit for each.
    """
    if len(limits) != len(pictures):
        raise ValueError(f"{len(pictures)} pictures, but {len(limits)} limits")
    rows = pictures.reshape(len(pictures), -1)
    mirrored = pictures[:, :, ::-1].reshape(rows.shape) if flip else rows
    norms = squared_norms(rows)
    within = np.array([edge_limit(limit, rows.shape[1]) for limit in limits], dtype=np.float64)
    near = np.zeros((len(rows), len(rows)), np.bool_)
    for place in range(len(rows)):
        alike = products(np.stack([rows[place], mirrored[place]]), rows).max(axis=0)
        near[place] = norms - 2 * alike + norms[place] <= np.maximum(within, within[place])
    count, labels = connected_components(near, directed=False)
    return sorted(np.flatnonzero(labels == label).tolist() for label in range(count))
