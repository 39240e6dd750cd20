"""Which training image a generation repeats, and whether it counts as extracted.

Definition 1 of Carlini et al. 2023 (arXiv 2301.13188, section 4.1): extracted if some training
image lies within a small l2. On small images that says little, and the adaptive score of the
paper's CIFAR-10 attack (section 5.1) decides as well: the l2 relative to how far the nearest other
training images are. What is memorised is repeated in training sets, so these are *distinct* ones:
near-copies of the match, and of each other, count once (`near_copies`).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from seedsweep.storage.prompt_results import Match, Transform
from seedsweep.storage.settings.analysis import Verification
from seedsweep.workers.analysis.agreement import agreements
from seedsweep.workers.analysis.distances import paired_squared, paired_tiled
from seedsweep.workers.analysis.frames import Frames, frame_of
from seedsweep.workers.analysis.near_copies import distinct
from seedsweep.workers.analysis.nearest import Nearest, TrainingImages, nearest_images
from seedsweep.workers.analysis.running_nearest import content_digest

SMALL_IMAGE_SIDE = 256

SPARE = 50
"""At first so many more than the neighbours are compared, since some may be near-copies."""

FEW_COPIES = 5
"""Of so many more than the neighbours the frames are made at first: most pictures have no copy."""

GROWTH = 4
"""If too many were, so many times as many are compared next."""


@dataclass(frozen=True, slots=True)
class TrainingMatch:
    """The training image nearest to a generation.

    `index` is its place in the training set, `l2` and `tiled_l2` its distances from the generation,
    those of its mirror image if `flip`. `adaptive_training` and `adaptive_generation` are the l2
    relative to how far the distinct neighbours of the training image are and those of the
    generation, itself the first: 1 or less is closer than alpha times their mean. None, "not
    scored", if the training set has too few distinct ones. `adaptive` is the one that decides.
    `agreement` is that of `agreement.agreement`.
    """

    index: int
    l2: float
    tiled_l2: float
    adaptive: float | None
    adaptive_training: float | None
    adaptive_generation: float | None
    agreement: float | None
    flip: bool = False


def nearest_training(
    image: NDArray[np.uint8], training: TrainingImages, tiles: int, settings: Verification
) -> TrainingMatch:
    """The training image x nearest to the generation `image` by plain l2, of equals the one with
    the smallest digest; `image` is (height, width, 3) uint8. The result is that of comparing all
    pixels, whatever the order of the training images and however often each is there.

    adaptive = l2(image, x) / (alpha * mean), the mean being that of the l2 from x to its
    `neighbours` nearest distinct training images, or from `image` to its own, x the first of them.
    Implementations disagree on which of the two section 5.1 means; `neighbours_of` says which
    decides. With `flip` each training image is as far as it or its mirror image is, whichever is
    nearer. ValueError if `training` is empty, sizes differ or tiles < 1.
    """
    if not len(training):
        raise ValueError("the training set is empty: there is nothing to match with")
    neighbours, flip = settings.neighbours, settings.flip
    near = _Around(image, training, settings)
    index, l2 = near.nearest()
    picture = training.pictures[index]
    frame = frame_of(picture)
    around = _Around(picture, training, settings)
    flipped = flip and is_nearer_mirrored(image, picture)
    as_compared = picture[:, ::-1] if flipped else picture
    return match_of(
        index=index,
        l2=l2,
        image=image,
        picture=as_compared,
        tiles=tiles,
        flip=flipped,
        of_training=around.distinct(frame, neighbours),
        of_generation=[l2, *near.distinct(frame, neighbours - 1)],
        settings=settings,
    )


def match_of(
    index: int,
    l2: float,
    image: NDArray[np.uint8],
    picture: NDArray[np.uint8],
    tiles: int,
    flip: bool,
    of_training: Sequence[float],
    of_generation: Sequence[float],
    settings: Verification,
) -> TrainingMatch:
    """The match of an image with the training `picture` at `index`, mirrored already if `flip`,
    from the l2 to the distinct neighbours of either."""
    pair = PossibleMatch(index, l2, flip, of_training, of_generation)
    [match] = matches_of([pair], image[None], picture[None], tiles, settings)
    return match


@dataclass(frozen=True, slots=True)
class PossibleMatch:
    """What is known of a match before its pixels are looked at: `index`, `l2` and `flip` as of
    `TrainingMatch`, and the l2 to the distinct neighbours `of_training` and `of_generation`."""

    index: int
    l2: float
    flip: bool
    of_training: Sequence[float]
    of_generation: Sequence[float]


def matches_of(
    pairs: Sequence[PossibleMatch],
    images: NDArray[np.uint8],
    pictures: NDArray[np.uint8],
    tiles: int,
    settings: Verification,
) -> Iterator[TrainingMatch]:
    """As `match_of`, of each of the images and the training picture at its place."""
    tiled = paired_tiled(images, pictures, tiles).tolist()
    alike = agreements(images, pictures)
    for one, tiled_l2, agreed in zip(pairs, tiled, alike, strict=True):
        by_training = adaptive_score(one.l2, one.of_training, settings)
        by_generation = adaptive_score(one.l2, one.of_generation, settings)
        yield TrainingMatch(
            index=one.index,
            l2=one.l2,
            tiled_l2=tiled_l2,
            adaptive=by_training if settings.neighbours_of == "training" else by_generation,
            adaptive_training=by_training,
            adaptive_generation=by_generation,
            agreement=agreed,
            flip=one.flip,
        )


def record_of(
    match: TrainingMatch, training_id: str, transform: Transform, threshold: float, side: int
) -> Match:
    """The match as it is stored, judged by the threshold; `side` is the image's smallest."""
    return Match(
        training_id=training_id,
        l2=match.l2,
        tiled_l2=match.tiled_l2,
        adaptive=match.adaptive,
        extracted=is_extracted(match, threshold, side),
        transform=transform,
        adaptive_training=match.adaptive_training,
        adaptive_generation=match.adaptive_generation,
        agreement=match.agreement,
        distinct=True,
    )


def adaptive_score(l2: float, around: Sequence[float], settings: Verification) -> float | None:
    """l2 / (alpha * mean l2 to the neighbours), whatever their order; None if there are fewer
    than `neighbours`, or all are at 0."""
    mean = math.fsum(around) / settings.neighbours
    scored = len(around) == settings.neighbours and mean > 0
    return l2 / (settings.alpha * mean) if scored else None


def distinct_l2(
    frame: NDArray[np.uint8],
    frames: Frames,
    l2: Sequence[float],
    most: int,
    settings: Verification,
) -> list[float]:
    """The l2 of those of the pictures, nearest first, that show neither what `frame` does nor what
    a nearer one of them does; `most` of them at most."""
    pictures = np.concatenate([frame[None], frames])
    kept = distinct(pictures, settings.near_copies, settings.flip, most + 1)
    return [l2[place - 1] for place in kept[1:]]


class _Around:
    """The training images around an image, nearest first, as many as are asked for."""

    def __init__(
        self, image: NDArray[np.uint8], training: TrainingImages, settings: Verification
    ) -> None:
        self._image, self._training, self._settings = image, training, settings
        self._count = settings.neighbours + SPARE
        self._look()

    def nearest(self) -> tuple[int, float]:
        while not len(self._sure):
            self._look_further()
        return int(self._nearest.indexes[self._sure[0]]), float(self._nearest.l2[self._sure[0]])

    def distinct(self, frame: NDArray[np.uint8], most: int) -> list[float]:
        """As of `distinct_l2`."""
        seen = most + FEW_COPIES
        while True:
            sure = self._sure[:seen]
            frames = [frame_of(self._training.pictures[at]) for at in self._nearest.indexes[sure]]
            l2 = self._nearest.l2[sure].tolist()
            stacked = np.stack(frames) if frames else np.empty((0, *frame.shape), np.uint8)
            found = distinct_l2(frame, stacked, l2, most, self._settings)
            if len(found) == most:
                return found
            if seen < len(self._sure):
                seen *= GROWTH
            elif self._whole:
                return found
            else:
                self._look_further()

    def _look_further(self) -> None:
        self._count *= GROWTH
        self._look()

    def _look(self) -> None:
        self._nearest = _nearest(self._image, self._training, self._count, self._settings.flip)
        l2 = self._nearest.l2
        self._whole = len(l2) == len(self._training)
        # Those as far as the last may not be all of them, and it is their digests that order them.
        known = np.arange(len(l2)) if self._whole else np.flatnonzero(l2 < l2[-1])
        same = np.zeros(len(known), np.bool_)
        same[1:] = l2[known][1:] == l2[known][:-1]
        same[:-1] |= same[1:]
        digests = np.zeros(len(known), np.uint64)
        for place in np.flatnonzero(same):
            picture = self._training.pictures[self._nearest.indexes[known[place]]]
            digests[place] = content_digest(picture)
        self._sure = known[np.lexsort((self._nearest.indexes[known], digests, l2[known]))]


def _nearest(image: NDArray[np.uint8], training: TrainingImages, count: int, flip: bool) -> Nearest:
    """As `nearest_images`, with `flip` by the distance to each of them as it is or mirrored."""
    upright = nearest_images(image, training, count)
    if not flip:
        return upright
    mirrored = nearest_images(image[:, ::-1], training, count)
    l2 = np.concatenate([upright.l2, mirrored.l2])
    indexes = np.concatenate([upright.indexes, mirrored.indexes])
    order = np.lexsort((indexes, l2))
    _, first = np.unique(indexes[order], return_index=True)
    nearest = order[np.sort(first)][:count]
    return Nearest(indexes[nearest], l2[nearest])


def is_nearer_mirrored(image: NDArray[np.uint8], picture: NDArray[np.uint8]) -> bool:
    """Whether `picture` is nearer to `image` by plain l2 once it is mirrored; both (height, width,
    3) uint8."""
    return bool(are_nearer_mirrored(image[None], picture[None])[0])


def are_nearer_mirrored(
    images: NDArray[np.uint8], pictures: NDArray[np.uint8]
) -> NDArray[np.bool_]:
    """As `is_nearer_mirrored`, of each of the images and the picture at its place: (n,) bool."""
    mirrored = paired_squared(images, pictures[:, :, ::-1])
    return np.asarray(mirrored < paired_squared(images, pictures))


def is_extracted(match: TrainingMatch, threshold: float, smallest_side: int) -> bool:
    """Whether the generation repeats the training image: l2 <= `threshold` and, if the image's
    `smallest_side` is below 256 pixels, adaptive <= 1 as well, for which it has to be scored. The
    l2 is compared as float64, the threshold itself being within. If there is texture and none
    of it agrees, only the backgrounds are alike: that is no extraction."""
    if match.l2 > threshold or match.agreement == 0:
        return False
    if smallest_side >= SMALL_IMAGE_SIDE:
        return True
    return match.adaptive is not None and match.adaptive <= 1
