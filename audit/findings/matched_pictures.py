"""The training pictures that matches name, as they are now."""

from collections.abc import Sequence, Set
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from seedsweep.storage.errors import TrainingSetError
from seedsweep.storage.prompt_results import Match, PromptResult
from seedsweep.storage.settings.analysis import AnalysisSettings, Verification
from seedsweep.storage.settings.sampling import Sampling
from seedsweep.workers.analysis.distances import l2_to_all
from seedsweep.workers.training.pictures import read_pictures

SAME_L2 = 1e-6

Pixels = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class TrainingPictures:
    """The training pictures that matches name, by id; `problem` says why there are none."""

    pictures: dict[str, Pixels]
    problem: str = ""


def gather_training(
    settings: AnalysisSettings, sampling: Sampling, results: Sequence[PromptResult]
) -> TrainingPictures:
    """Read the training pictures that the results' matches name, and decode no others.

    Reads nothing if there is no match, and never raises for a training set that cannot be read.
    """
    wanted = {match.training_id for result in results for match in result.matches}
    return read_named(settings.verification, sampling, wanted)


def read_named(
    verification: Verification | None, sampling: Sampling, wanted: Set[str]
) -> TrainingPictures:
    """Read the training pictures with these ids, and decode no others; reads nothing without any.

    Never raises for a training set that cannot be read.
    """
    if not wanted:
        return TrainingPictures({})
    if verification is None:
        return TrainingPictures({}, "the campaign's file names no training set")
    try:
        width, height = sampling.width, sampling.height
        read = read_pictures(verification, width, height, wanted=wanted.__contains__)
        return TrainingPictures({name: pixels for name, pixels, _ in read})
    except TrainingSetError as error:
        return TrainingPictures({}, str(error))


def as_compared(pixels: Pixels, match: Match) -> Pixels:
    """The training picture as the match compared it: mirrored if that is nearer."""
    return _mirrored_if(pixels, _is_mirrored(match))


def has_changed(representative: Pixels, pixels: Pixels, match: Match) -> bool:
    """True for a training picture that is not the one that was matched, as its distance from the
    representative is another one."""
    return not is_at_distance(representative, pixels, match.l2, _is_mirrored(match))


def is_at_distance(generation: Pixels, pixels: Pixels, l2: float, flip: bool) -> bool:
    """Whether the training picture, mirrored if `flip`, has this distance from the generation."""
    distance = float(l2_to_all(generation, _mirrored_if(pixels, flip)[None])[0])
    return abs(distance - l2) <= SAME_L2


def _is_mirrored(match: Match) -> bool:
    return match.transform is not None and match.transform.flip


def _mirrored_if(pixels: Pixels, flip: bool) -> Pixels:
    return np.ascontiguousarray(pixels[:, ::-1]) if flip else pixels
