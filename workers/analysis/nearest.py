"""The training images nearest to an image, exactly, without looking at most of them.

Lower bounds on the distances come from descriptors (`bounds`): coarse ones of all training images,
fine ones of those that are left, and pixels only of those that are left then (the multi-step search
of Seidl and Kriegel, SIGMOD 1998).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seedsweep.storage.settings.sampling import DEFAULT_BLOCKS, Blocks
from seedsweep.workers.analysis.bounds import (
    Projections,
    can_bound,
    lower_bounds,
    project_coarse,
    project_fine,
)
from seedsweep.workers.analysis.descriptors import Summaries, describe, summarise
from seedsweep.workers.analysis.distances import Tile, l2_to_all, tile_values

_SMALL = 128 * 128
_COARSE_VALUES = 1 << 17
_FINE_VALUES = 1 << 20
_PICTURE_BYTES = 1 << 25  # fewer at once cost more in calls than in pixels
_FIRST_BLOCK = 16


@dataclass(frozen=True, slots=True, eq=False)
class TrainingImages:
    """N training images of one size, and what tells that most are far from another image. The
    arrays may be memory maps: a search copies a bounded number of rows at a time.

    `pictures` (N, height, width, 3) uint8. The others are the projections of their descriptors in
    the part of the image that bounds are taken of: `colours` (N, any) uint16, `coarse_norms` and
    `coarse_residuals` (N,) float64 those of `project_coarse`; with them `brightness` (N, any)
    uint16, `fine_norms` and `fine_residuals` (N,) float64 those of `project_fine`.
    """

    pictures: NDArray[np.uint8]
    colours: NDArray[np.uint16]
    coarse_norms: NDArray[np.float64]
    coarse_residuals: NDArray[np.float64]
    brightness: NDArray[np.uint16]
    fine_norms: NDArray[np.float64]
    fine_residuals: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.pictures)


@dataclass(frozen=True, slots=True, eq=False)
class Nearest:
    """Training images, nearest first and by index among equals: `indexes` (k,) and their `l2` (k,)
    from the image, the very numbers of `l2_to_all`."""

    indexes: NDArray[np.intp]
    l2: NDArray[np.float64]


def training_blocks(height: int, width: int) -> Blocks:
    """What training images of this size are described with, whatever describes a campaign's
    generations. If pixels are few the smaller blocks cost little, and spare many of them."""
    return Blocks(fine=2, coarse=8) if height * width <= _SMALL else DEFAULT_BLOCKS


def describe_training(pictures: NDArray[np.uint8]) -> TrainingImages:
    """Describe training images (N, height, width, 3) uint8; N may be 0."""
    pictures = np.ascontiguousarray(pictures)  # or single ones cannot be taken without copying all
    summaries, part = _describe(pictures)
    coarse, fine = project_coarse(summaries, part), project_fine(summaries, part)
    [(_, colours)], [(_, brightness), *_] = coarse.parts, fine.parts
    return TrainingImages(
        pictures,
        colours.astype(np.uint16),  # sums over 16 x 16 values at most, each up to 255
        coarse.norms,
        coarse.residuals,
        brightness.astype(np.uint16),
        fine.norms,
        fine.residuals,
    )


def nearest_images(image: NDArray[np.uint8], training: TrainingImages, count: int) -> Nearest:
    """The `count` training images nearest to `image` (height, width, 3) uint8 by plain l2, or all
    if there are fewer.

    Beside the arguments it holds some 20 bytes for each training image, and 100 MB or a few images.
    ValueError if the sizes differ.
    """
    if image.shape != training.pictures.shape[1:]:
        raise ValueError(f"the image is {image.shape}, the others {training.pictures.shape[1:]}")
    search = _Search(image, training)
    lower = search.coarse()
    wanted = min(count, int(np.isfinite(lower).sum()))
    if not wanted:
        return search.nearest
    # The most promising first: how near they are decides how many others have to be looked at.
    first = np.argpartition(lower, wanted - 1)[:wanted]
    search.look_at(first, wanted)
    lower[first] = np.inf
    left = np.flatnonzero(lower <= search.nearest.l2[-1])
    lower = search.fine(left)
    order = np.argsort(lower, kind="stable")
    left, lower = left[order], lower[order]
    for block in _growing(len(left), image.size):
        near = lower[block] <= search.nearest.l2[-1]
        if not near.any():
            break
        search.look_at(left[block][near], wanted)
    return search.nearest


class _Search:
    """What is known of the training images nearest to one image."""

    def __init__(self, image: NDArray[np.uint8], training: TrainingImages) -> None:
        self._image = image
        self._training = training
        self._query, self._part = _describe(image[None])
        self.nearest = Nearest(np.empty(0, np.intp), np.empty(0))

    def coarse(self) -> NDArray[np.float64]:
        """Lower bounds on the l2 to all training images."""
        training, query = self._training, project_coarse(self._query, self._part)
        lower = np.empty(len(training))
        for rows in _blocks(len(training), _COARSE_VALUES // max(1, training.colours.shape[1])):
            vectors = (training.colours[rows],)
            norms, residuals = training.coarse_norms[rows], training.coarse_residuals[rows]
            lower[rows] = self._bounds(query, vectors, norms, residuals)
        return lower

    def fine(self, images: NDArray[np.intp]) -> NDArray[np.float64]:
        """Lower bounds on the l2 to these training images, at least those of `coarse`."""
        training, query = self._training, project_fine(self._query, self._part)
        lower = np.empty(len(images))
        for rows in _blocks(len(images), _FINE_VALUES // max(1, training.brightness.shape[1])):
            some = images[rows]
            colours = np.take(training.colours, some, axis=0)
            sums = colours.reshape(len(some), 3, colours.shape[1] // 3).sum(axis=1, dtype=np.int32)
            vectors = np.take(training.brightness, some, axis=0), colours, sums
            norms, residuals = training.fine_norms[some], training.fine_residuals[some]
            lower[rows] = self._bounds(query, vectors, norms, residuals)
        return lower

    def look_at(self, images: NDArray[np.intp], count: int) -> None:
        """Compare with the pixels of these, and keep the `count` nearest of all looked at."""
        indexes, l2 = self.nearest.indexes, self.nearest.l2
        for rows in _blocks(len(images), _PICTURE_BYTES // self._image.size):
            some = images[rows]
            indexes = np.concatenate([indexes, some])
            l2 = np.concatenate(
                [l2, l2_to_all(self._image, np.take(self._training.pictures, some, axis=0))]
            )
        order = np.lexsort((indexes, l2))[:count]
        self.nearest = Nearest(indexes[order], l2[order])

    def _bounds(
        self,
        query: Projections,
        vectors: Sequence[NDArray[Any]],
        norms: NDArray[np.float64],
        residuals: NDArray[np.float64],
    ) -> NDArray[np.float64]:
        """Lower bounds on the l2 to images with these projections, in parts as of the query's."""
        weights = [weight for weight, _ in query.parts]
        parts = tuple(
            (weight, rows.astype(np.float64)) for weight, rows in zip(weights, vectors, strict=True)
        )
        others = Projections(query.scale, parts, norms, residuals)
        squared = lower_bounds(query, others, slice(0, 1), slice(0, None))[0] / query.scale
        # The very operations of `l2_to_all`: rounding keeps order, so bounds stay bounds.
        return np.asarray(np.sqrt(squared / self._image.size) / 255.0)


def _describe(pictures: NDArray[np.uint8]) -> tuple[Summaries, Tile]:
    """Their descriptors, and the part of the image that bounds are taken of."""
    _, height, width, _ = pictures.shape
    blocks = training_blocks(height, width)
    descriptors = [describe(picture, blocks) for picture in pictures]
    summaries = summarise(descriptors, height, width, blocks)
    return summaries, _bounded_part(summaries, height, width)


def _bounded_part(summaries: Summaries, height: int, width: int) -> Tile:
    """The whole image, or as many of its rows as bounds are exact of: what a part is apart, the
    whole is at least."""
    part = slice(0, height), slice(0, width)
    while not can_bound(tile_values(part), summaries):
        part = slice(0, part[0].stop // 2), part[1]
    return part


def _blocks(count: int, size: int) -> Iterator[slice]:
    size = max(1, size)
    return (slice(at, min(at + size, count)) for at in range(0, count, size))


def _growing(count: int, picture_bytes: int) -> Iterator[slice]:
    """Runs that double, so that few are read in vain if the first ones settle it."""
    at, size = 0, _FIRST_BLOCK
    while at < count:
        yield slice(at, at + size)
        at, size = at + size, min(2 * size, max(_FIRST_BLOCK, _PICTURE_BYTES // picture_bytes))
