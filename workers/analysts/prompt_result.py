"""One prompt, from what is stored of it to its result."""

from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from seedsweep.storage.prompt_results import Clique, Match, PromptResult
from seedsweep.storage.record import digest
from seedsweep.storage.records import Prompt, Submission
from seedsweep.storage.settings.analysis import Analysis, AnalysisSettings, Verification
from seedsweep.storage.store import Store
from seedsweep.workers.analysis.bounds import candidates
from seedsweep.workers.analysis.distances import tiled_pairs
from seedsweep.workers.analysis.inner_products import Products, products
from seedsweep.workers.analysis.matching import nearest_training, record_of
from seedsweep.workers.analysis.verdict import Verdict, verdict_of
from seedsweep.workers.analysts.cost import Tally
from seedsweep.workers.analysts.prompt_parts import candidates_of_parts, parts_of_prompt
from seedsweep.workers.analysts.stored_prompt import StoredPrompt, read_prompt
from seedsweep.workers.analysts.summaries import summaries_of
from seedsweep.workers.stored_images import BrokenShardError
from seedsweep.workers.training.index import TrainingSet

Judged = TypeVar("Judged")


def analyse_stored(
    store: Store,
    submission: Submission,
    text: str,
    settings: AnalysisSettings,
    training: TrainingSet | None,
    inner: Products = products,
    tally: Tally | None = None,
    units: int | None = None,
) -> tuple[PromptResult, StoredPrompt]:
    """Read and analyse a prompt; returns its result, and what was read of it: the result does
    without the images of shards that are corrupt or missing. `tally` counts what is done; `units`:
    only the first so many units of the prompt are looked at.

    Raises `ImagesNotKeptError` if pictures are wanted that were not to stay.
    """

    def judge(stored: StoredPrompt) -> PromptResult:
        known = recorded(stored, settings)
        return known or analyse_prompt(stored, settings, training, inner)

    return judge_stored(store, submission, text, judge, tally or Tally(), units)


def judge_stored(
    store: Store,
    submission: Submission,
    text: str,
    judge: Callable[[StoredPrompt], Judged],
    tally: Tally,
    units: int | None,
) -> tuple[Judged, StoredPrompt]:
    """Read the first so many units of a prompt, all if None, and judge them; returns what `judge`
    says and what was read. A shard that proves broken while it judges is left out, and all the rest
    read and judged again."""
    without: frozenset[str] = frozenset()
    while True:
        with tally.step("read"):
            stored = read_prompt(store, submission, text, without, tally, units)
        try:
            return judge(stored), stored
        except BrokenShardError as error:
            without |= {error.key}


def recorded(stored: StoredPrompt, settings: AnalysisSettings) -> PromptResult | None:
    """What the prompt's receipt says, if it was read and this very analysis would say it."""
    receipt = stored.receipt
    if receipt is None:
        return None
    same = receipt.analysis_id == settings.analysis_id
    # Without a clique there is no match, which is all that changed.
    as_before = receipt.analysis_id in settings.earlier_ids and not receipt.result.flagged
    return receipt.result if same or as_before else None


def analyse_prompt(
    stored: StoredPrompt,
    settings: AnalysisSettings,
    training: TrainingSet | None,
    inner: Products = products,
) -> PromptResult:
    """Judge a prompt's images, and match the representatives of its cliques.

    Equal images, settings and training set give an equal result, whatever `inner` computes the
    distances and whether the matrix is pruned or full. Raises `BrokenShardError` for the first
    shard whose pictures are wanted and cannot be had.
    """
    usable = [place for place, image in enumerate(stored.images) if image.flaw is None]
    analysis = settings.analysis
    survivors = _survivors(stored, usable, analysis)
    parts_of = candidates_of_parts(stored, usable, analysis) if analysis.partial else None
    wanted = survivors if parts_of is None else np.union1d(survivors, parts_of.images)
    decoded = stored.pixels([usable[i] for i in wanted.tolist()])
    pixels = _chosen(decoded, wanted, survivors)
    verdict, representatives = _judge(stored, usable, analysis, inner, survivors, pixels)
    matches: list[Match | None] = [None] * len(representatives)
    if training and (verification := settings.verification):
        tiles = settings.analysis.tiles
        with stored.tally.step("match"):
            matches = [_match(one, tiles, verification, training) for one in representatives]
    seeds = [image.seed for image in stored.images]
    result = result_of(stored.text, seeds, len(seeds) - len(usable), verdict, matches)
    if parts_of is None:
        return result
    pixels = _chosen(decoded, wanted, parts_of.images)
    parts, proven = parts_of_prompt(stored, usable, analysis, inner, parts_of, pixels)
    # What one clique alone shows is the clique's picture.
    whole = [set(clique.seeds) for clique in verdict.cliques]
    parts = tuple(part for part in parts if not any(set(part.seeds) <= each for each in whole))
    return result.model_copy(update={"parts": parts, "parts_proven": proven})


def result_of(
    text: str,
    seeds: Sequence[int],
    excluded: int,
    verdict: Verdict,
    matches: Sequence[Match | None],
) -> PromptResult:
    """The result for the prompt `text`: `seeds` are all that were looked at, of which `excluded`
    are no usable, and `matches` those of the verdict's cliques, one for each."""
    first = verdict.cliques[0] if verdict.cliques else None
    return PromptResult(
        prompt_id=Prompt(text=text).prompt_id,
        prompt=text,
        seeds=len(seeds),
        seeds_digest=digest(list(seeds)),
        excluded=excluded,
        edges=verdict.edges,
        clique_size=len(first.seeds) if first else 0,
        clique_seeds=first.seeds if first else (),
        clique_proven=verdict.clique_proven,
        clique_upper_bound=verdict.clique_upper_bound,
        mean_distance=first.mean_distance if first else None,
        flagged=verdict.flagged,
        representative_seed=first.representative_seed if first else None,
        match=matches[0] if matches else None,
        further_cliques=tuple(
            Clique(
                clique_seeds=clique.seeds,
                mean_distance=clique.mean_distance,
                representative_seed=clique.representative_seed,
                match=match,
            )
            for clique, match in zip(verdict.cliques[1:], matches[1:], strict=True)
        ),
    )


def _judge(
    stored: StoredPrompt,
    usable: Sequence[int],
    settings: Analysis,
    inner: Products,
    survivors: NDArray[np.intp],
    pixels: NDArray[np.uint8],
) -> tuple[Verdict, list[NDArray[np.uint8]]]:
    """The verdict on the images at the places `usable`, of which only the `survivors` may join a
    wanted clique and have `pixels`, and the pixels of each clique's representative."""
    with stored.tally.step("compare"):
        pairs = tiled_pairs(pixels, settings.tiles, settings.edge_threshold, inner)
    edges = np.zeros((len(usable), len(usable)), dtype=np.bool_)
    edges[np.ix_(survivors, survivors)] = pairs.edges

    def distances(members: tuple[int, ...]) -> NDArray[np.float64]:
        chosen = np.searchsorted(survivors, members)
        return pairs.distances[np.ix_(chosen, chosen)]

    seeds = [stored.images[place].seed for place in usable]
    size, steps = settings.min_clique_size, settings.max_steps
    with stored.tally.step("clique"):
        verdict = verdict_of(edges, distances, seeds, size, steps)
    places = [seeds.index(clique.representative_seed) for clique in verdict.cliques]
    return verdict, [pixels[int(np.searchsorted(survivors, place))] for place in places]


def _chosen(
    pixels: NDArray[np.uint8], places: NDArray[np.intp], chosen: NDArray[np.intp]
) -> NDArray[np.uint8]:
    """The pixels of the `chosen` ones, of those of ascending `places`; all of them uncopied."""
    return pixels if len(chosen) == len(places) else pixels[np.searchsorted(places, chosen)]


def _survivors(stored: StoredPrompt, usable: Sequence[int], settings: Analysis) -> NDArray[np.intp]:
    """Which of the images at the places `usable` are to be decoded, ascending."""
    count = len(usable)
    if settings.matrix == "full":
        stored.tally.judge(count, count * (count - 1) // 2)
        return np.arange(count)
    with stored.tally.step("prune"):
        possible = possible_edges(stored, usable, settings)
    stored.tally.judge(count, int(np.count_nonzero(possible)) // 2)
    return np.flatnonzero(possible.any(axis=1))


def possible_edges(
    stored: StoredPrompt, usable: Sequence[int], settings: Analysis
) -> NDArray[np.bool_]:
    """Which pairs of the images at the places `usable` may be edges of a clique of the wanted
    size, told from their descriptors: the matrix of `bounds.candidates`."""
    sampling = stored.sampling
    return candidates(
        summaries_of(stored, usable),
        sampling.height,
        sampling.width,
        settings.tiles,
        settings.edge_threshold,
        settings.min_clique_size,
    )


def _match(
    picture: NDArray[np.uint8], tiles: int, settings: Verification, training: TrainingSet
) -> Match:
    nearest = nearest_training(picture, training.images, tiles, settings)
    transform = training.transform_of(nearest.index).model_copy(update={"flip": nearest.flip})
    training_id, side = training.id_of(nearest.index), min(picture.shape[:2])
    return record_of(nearest, training_id, transform, settings.threshold, side)
