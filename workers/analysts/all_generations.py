"""All generations of a campaign without prompts, from what is stored of them to their result.

Cliques are looked for among all of them, and each is compared with the training set, if there is
one (Carlini et al. 2023, arXiv 2301.13188, section 5.1).
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from seedsweep.storage.errors import TrainingSetError
from seedsweep.storage.extractions import ExtractedPicture, Extractions, NearestTraining
from seedsweep.storage.prompt_results import Match, PromptResult
from seedsweep.storage.settings.analysis import Analysis, AnalysisSettings, Verification
from seedsweep.workers.analysis.distances import tiled_distances
from seedsweep.workers.analysis.matching import record_of
from seedsweep.workers.analysis.near_copies import frames_of, grouped
from seedsweep.workers.analysis.near_pairs import near_pairs
from seedsweep.workers.analysis.sparse_verdict import verdict_of_pairs
from seedsweep.workers.analysis.verdict import Verdict
from seedsweep.workers.analysts.prompt_result import result_of
from seedsweep.workers.analysts.stored_prompt import StoredPrompt
from seedsweep.workers.analysts.summaries import summaries_of
from seedsweep.workers.training.fingerprint import fingerprint_training_set
from seedsweep.workers.training.picture_set import PictureSet, open_set
from seedsweep.workers.training.search import Matched, TrainingSearch
from seedsweep.workers.training.search_actors import Searchers
from seedsweep.workers.training.slices import PictureColumn

PAIRS = 1 << 25
"""So many pairs of generations are looked at, in a gigabyte; of more than that only some of the
generations are."""

Crew = Callable[[], AbstractContextManager[Searchers]]
"""What searches a training set, for the time of a block."""


@dataclass(frozen=True, slots=True)
class Judged:
    """The result of all generations, and what they extract, if there is a training set: each with
    the training picture nearest to it, best first."""

    result: PromptResult
    extractions: Extractions | None
    ranked: tuple[NearestTraining, ...]


def analyse_generations(stored: StoredPrompt, settings: AnalysisSettings, crew: Crew) -> Judged:
    """Judge all generations, and match those that are usable.

    Equal generations, settings and training set give an equal result, that of comparing all pixels.
    If more than `PAIRS` pairs would have to be looked at, since most generations are one picture,
    cliques are looked for among fewer: their size is then not proven. Raises `BrokenShardError` for
    the first shard whose pictures are wanted and cannot be had, and as `TrainingSearch.match`.
    """
    usable = [place for place, image in enumerate(stored.images) if image.flaw is None]
    verdict = _verdict(stored, usable, settings.analysis)
    seeds = [image.seed for image in stored.images]
    excluded = len(seeds) - len(usable)
    wanted = settings.verification
    if wanted is None or not usable:
        matches: list[Match | None] = [None] * len(verdict.cliques)
        return Judged(result_of(stored.text, seeds, excluded, verdict, matches), None, ())
    with stored.tally.step("match"), crew() as searchers:
        training = _submitted_set(wanted)
        search = TrainingSearch(
            searchers, training, wanted, settings.analysis.tiles, lambda _, __: None
        )
        matched = search.match(stored.pixels(usable), 0, counted=False)
    side = min(stored.sampling.width, stored.sampling.height)
    places = {seeds[place]: row for row, place in enumerate(usable)}
    matches = [
        _match(matched, places[clique.representative_seed], wanted, side)
        for clique in verdict.cliques
    ]
    result = result_of(stored.text, seeds, excluded, verdict, matches)
    ranked = sorted(
        (_nearest(seed, _match(matched, row, wanted, side)) for seed, row in places.items()),
        key=lambda nearest: nearest.rank,
    )
    extracted = [nearest for nearest in ranked if nearest.extracted]
    found = Extractions(
        seeds_digest=result.seeds_digest,
        searched=len(ranked),
        extracted=len(extracted),
        pictures=_distinct(extracted, matched, places, wanted),
        coverage=matched.coverage,
    )
    return Judged(result, found, tuple(ranked))


def _submitted_set(settings: Verification) -> PictureSet:
    """The training set; raises `TrainingSetError` if it is not the one that was submitted."""
    path = Path(settings.training_set)
    fingerprint = fingerprint_training_set(path, PictureColumn.of(settings))
    if fingerprint != settings.fingerprint:
        raise TrainingSetError(
            f"The training set {path} is not the one that was submitted ({fingerprint}, not "
            f"{settings.fingerprint}); restore it, or submit the campaign again."
        )
    return open_set(path)


def _verdict(stored: StoredPrompt, usable: Sequence[int], settings: Analysis) -> Verdict:
    size = stored.sampling.height, stored.sampling.width

    def pictures(places: Sequence[int] | NDArray[np.intp]) -> NDArray[np.uint8]:
        return stored.pixels([usable[place] for place in places])

    with stored.tally.step("prune"):
        summaries = summaries_of(stored, usable)
    judged, pairs = len(usable), None
    while pairs is None:
        some = summaries if judged == len(usable) else summaries.take(np.arange(judged))
        with stored.tally.step("compare"):
            pairs = near_pairs(some, size, settings.tiles, settings.edge_threshold, pictures, PAIRS)
        judged = judged if pairs is not None else judged // 2
    stored.tally.judge(len(usable), len(pairs))

    def distances(members: tuple[int, ...]) -> NDArray[np.float64]:
        return tiled_distances(pictures(members), settings.tiles)

    with stored.tally.step("clique"):
        verdict = verdict_of_pairs(
            pairs,
            distances,
            [stored.images[place].seed for place in usable],
            settings.min_clique_size,
            settings.max_steps,
        )
    if judged == len(usable):
        return verdict
    return Verdict(verdict.edges, verdict.cliques, False, len(usable))


def _match(matched: Matched, row: int, settings: Verification, side: int) -> Match:
    fetched = matched.fetched[row]
    return record_of(
        matched.matches[row], fetched.name, fetched.transform, settings.threshold, side
    )


def _nearest(seed: int, match: Match) -> NearestTraining:
    return NearestTraining(
        seed=seed,
        training_id=match.training_id,
        l2=match.l2,
        tiled_l2=match.tiled_l2,
        adaptive=match.adaptive,
        agreement=match.agreement,
        flip=match.transform is not None and match.transform.flip,
        extracted=match.extracted,
    )


def _distinct(
    extracted: Sequence[NearestTraining],
    matched: Matched,
    places: dict[int, int],
    settings: Verification,
) -> tuple[ExtractedPicture, ...]:
    """The distinct training pictures that these generations extract, best first."""
    if not extracted:
        return ()
    positions = [matched.fetched[places[nearest.seed]].position for nearest in extracted]
    rows = {position: row for row, position in reversed([*enumerate(positions)])}
    known = sorted(rows, key=lambda position: rows[position])
    pictures = [matched.fetched[places[extracted[rows[each]].seed]].pixels for each in known]
    groups = grouped(frames_of(np.stack(pictures)), settings.near_copies, settings.flip)
    group_of = {known[place]: number for number, group in enumerate(groups) for place in group}
    of_groups: dict[int, list[NearestTraining]] = {}
    for nearest, position in zip(extracted, positions, strict=True):
        of_groups.setdefault(group_of[position], []).append(nearest)
    return tuple(
        ExtractedPicture(
            training_id=mine[0].training_id,
            generations=len(mine),
            copies=matched.copies[matched.fetched[places[mine[0].seed]].position],
            best_seed=mine[0].seed,
            l2=mine[0].l2,
            adaptive=mine[0].adaptive,
            flip=mine[0].flip,
        )
        for mine in of_groups.values()
    )
