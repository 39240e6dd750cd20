"""The training pictures that matches name."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from seedsweep.storage.errors import TrainingSetError
from seedsweep.storage.prompt_results import PromptResult
from seedsweep.storage.records import AnalysisSettings, Sampling
from seedsweep.workers.analysis.distances import l2_to_all
from seedsweep.workers.training.pictures import read_pictures

_SAME_L2 = 1e-6


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

    Reads nothing where there is no match, and never raises for a training set that cannot be read.
    """
    wanted = {match.training_id for result in results for match in result.matches}
    if not wanted:
        return TrainingPictures({})
    if settings.verification is None:
        return TrainingPictures({}, "the campaign's file names no training set")
    try:
        width, height = sampling.width, sampling.height
        read = read_pictures(settings.verification, width, height, wanted.__contains__)
        return TrainingPictures({name: pixels for name, pixels, _ in read})
    except TrainingSetError as error:
        return TrainingPictures({}, str(error))


def has_changed(representative: Pixels, pixels: Pixels, l2: float) -> bool:
    return abs(float(l2_to_all(representative, pixels[None])[0]) - l2) > _SAME_L2
