"""How alike a prompt's stored images are, for every threshold: calibrations are made of these
scores."""

import contextlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import cache
from multiprocessing import get_context

import numpy as np
from numpy.typing import NDArray

from seedsweep.storage.records import Submission
from seedsweep.storage.settings.analysis import Analysis, AnalysisSettings, Verification
from seedsweep.storage.settings.sampling import PromptSettings
from seedsweep.storage.stores import open_store
from seedsweep.workers.analysis.distances import tiled_distances
from seedsweep.workers.analysis.flag_threshold import Critical, critical_steps
from seedsweep.workers.analysis.matching import is_extracted, nearest_training
from seedsweep.workers.analysis.part_scales import LaidPictures
from seedsweep.workers.analysis.part_shifts import reduce_pictures, reduction
from seedsweep.workers.analysis.parts import critical_least, same_tiles
from seedsweep.workers.analysis.shifted_parts import ShiftedParts
from seedsweep.workers.analysts.stored_prompt import StoredPrompt, read_prompt
from seedsweep.workers.cluster.private_ray import ONE_THREAD
from seedsweep.workers.stored_images import BrokenShardError
from seedsweep.workers.training.index import TrainingSet, load_training_set

_ANY_L2 = 1.0


@dataclass(frozen=True, slots=True)
class PromptScore:
    """One prompt's critical edge thresholds, one of each size that was asked for.

    `whole`: all of the campaign's images of the prompt were there, `usable` of which are evidence.
    `l2`: for each size, how far the
    medoid of the clique at the critical threshold is from its nearest training picture; None if
    no threshold would call that an extraction, and without a training set. `parts`: for each size,
    the most tiles that make a part, 0 if none do, of parts that may be anywhere only if these are
    as many as the rule's least; empty if nobody asked.
    """

    prompt: str
    whole: bool
    usable: int
    critical: tuple[Critical, ...]
    l2: tuple[float | None, ...]
    parts: tuple[int, ...] = ()
    parts_proven: bool = True


@dataclass(frozen=True, slots=True)
class Scoring:
    """How prompts are scored: everything that another process needs for it.

    `own`: the settings that prompts have of their own, by text, if they have any.
    """

    store_url: str
    submission: Submission
    settings: AnalysisSettings
    sizes: tuple[int, ...]
    partial: bool = False
    own: Mapping[str, PromptSettings] = field(default_factory=dict)

    def __call__(self, text: str) -> PromptScore:
        """Score a prompt from all its pixels, without the images of shards that are corrupt.

        Raises `ImagesNotKeptError` if pictures were not to stay, `TrainingSetError` if the
        training set cannot be read.
        """
        store = open_store(self.store_url)
        without: frozenset[str] = frozenset()
        while True:
            submission = self.submission.of(self.own.get(text))
            stored = read_prompt(store, submission, text, without)
            try:
                return self._score(stored)
            except BrokenShardError as error:
                without |= {error.key}

    def _score(self, stored: StoredPrompt) -> PromptScore:
        analysis, verification = self.settings.analysis, self.settings.verification
        evidence = [place for place, image in enumerate(stored.images) if image.flaw is None]
        pixels = stored.pixels(evidence)
        distances = tiled_distances(pixels, analysis.tiles)
        critical = critical_steps(distances, self.sizes, analysis.max_steps)
        l2: tuple[float | None, ...] = (None,) * len(critical)
        if verification:
            sampling = stored.sampling
            training = _training(verification, sampling.width, sampling.height)
            medoids = [_medoid(distances, each) for each in critical]
            matched = {
                place: _match(pixels[place], analysis, verification, training)
                for place in {place for place in medoids if place is not None}
            }
            l2 = tuple(None if place is None else matched[place] for place in medoids)
        parts = self._parts(pixels) if self.partial and evidence else ()
        return PromptScore(
            stored.text,
            stored.whole,
            len(evidence),
            critical,
            l2,
            tuple(least for least, _ in parts),
            all(proven for _, proven in parts),
        )

    def _parts(self, pixels: NDArray[np.uint8]) -> tuple[tuple[int, bool], ...]:
        analysis = self.settings.analysis
        rule, steps = analysis.parts, analysis.max_steps
        same = same_tiles(pixels, rule)
        fixed = [critical_least(same, size, steps) for size in self.sizes]
        if not rule.anywhere:
            return tuple(fixed)
        height, width = pixels.shape[1:3]
        laid = LaidPictures(reduce_pictures(pixels), rule, reduction(height, width))
        search = ShiftedParts(same, laid, lambda places: pixels[list(places)], rule)
        shifted = [search.critical_least(size, steps) for size in self.sizes]
        return tuple(
            (max(one[0], other[0]), one[1] and other[1])
            for one, other in zip(fixed, shifted, strict=True)
        )


def score_prompts(
    scoring: Scoring, prompts: Sequence[str], processes: int, progress: Callable[[int, int], None]
) -> list[PromptScore]:
    """Score prompts, in their order; `progress` is called with how many are done, and of how many.

    With one process all is done in this one; errors as of `Scoring`.
    """
    scores = []
    for score in _scored(scoring, prompts, min(processes, len(prompts))):
        scores.append(score)
        progress(len(scores), len(prompts))
    return scores


def _scored(scoring: Scoring, prompts: Sequence[str], processes: int) -> Iterator[PromptScore]:
    if processes <= 1:
        yield from map(scoring, prompts)
        return
    # Spawned, since a fork copies locks that threads of this process may hold.
    with _one_thread_each(), ProcessPoolExecutor(processes, get_context("spawn")) as pool:
        try:
            yield from pool.map(scoring, prompts)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


@contextlib.contextmanager
def _one_thread_each() -> Iterator[None]:
    """Have processes that start meanwhile compute with one thread each: with one for every core in
    each of them they wait for each other, and take three times as long."""
    before = dict(os.environ)
    os.environ.update(ONE_THREAD)
    try:
        yield
    finally:
        for name in ONE_THREAD:
            os.environ.pop(name, None)
        os.environ.update(before)


def _medoid(distances: NDArray[np.float64], critical: Critical) -> int | None:
    if not critical.members:
        return None
    members = list(critical.members)
    sums = distances[np.ix_(members, members)].sum(axis=1)
    return members[int(sums.argmin())]


def _match(
    picture: NDArray[np.uint8],
    analysis: Analysis,
    verification: Verification,
    training: TrainingSet,
) -> float | None:
    nearest = nearest_training(picture, training.images, analysis.tiles, verification)
    return nearest.l2 if is_extracted(nearest, _ANY_L2, min(picture.shape[:2])) else None


@cache
def _training(verification: Verification, width: int, height: int) -> TrainingSet:
    return load_training_set(verification, width, height)
