"""One prompt, from its stored shards to its result."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from storage import keys
from storage.errors import ShardCorruptError
from storage.records import (
    Analysis,
    AnalysisSettings,
    Match,
    Prompt,
    PromptResult,
    Sampling,
    SeedRange,
    Verification,
    digest,
)
from storage.shards import StoredImage, decode_shard
from storage.store import Store
from workers.analysis.cliques import core
from workers.analysis.descriptors import candidates
from workers.analysis.distances import tiled_distances, tiled_edges
from workers.analysis.matching import is_extracted, nearest_training
from workers.analysis.verdict import Verdict, verdict_of
from workers.pictures import decode_png, digest_pixels
from workers.training_set import TrainingSet


@dataclass(frozen=True, slots=True)
class StoredPrompt:
    """What the store holds of a prompt: its images by ascending seed, and the shards it lost."""

    images: tuple[StoredImage, ...]
    corrupt: tuple[str, ...]


def read_prompt(
    store: Store,
    generation_id: str,
    prompt_id: str,
    cuts: Iterable[SeedRange],
    verified: bool = False,
) -> StoredPrompt:
    """Read all shards of a prompt; one that is missing is skipped, a corrupt one named.

    `verified` also holds every picture's pixels against their recorded digest.
    """
    images: list[StoredImage] = []
    corrupt: list[str] = []
    for cut in cuts:
        key = keys.shard(generation_id, prompt_id, cut)
        data = store.read(key)
        if data is None:
            continue
        try:
            found = decode_shard(data, key)
            if verified:
                decode_pixels(found)
            images += found
        except ShardCorruptError:
            corrupt.append(key)
    return StoredPrompt(tuple(images), tuple(corrupt))


def decode_pixels(images: Iterable[StoredImage]) -> NDArray[np.uint8]:
    """Decode to (n, height, width, 3) uint8.

    Raises `ShardCorruptError` where pixels are not those whose digest was recorded.
    """
    pixels = []
    for image in images:
        decoded = decode_png(image.png)
        if digest_pixels(decoded) != image.sha256:
            raise ShardCorruptError(f"The image of seed {image.seed} is not what was made.")
        pixels.append(decoded)
    return np.stack(pixels)


def analyse_prompt(
    text: str,
    stored: StoredPrompt,
    sampling: Sampling,
    settings: AnalysisSettings,
    training: TrainingSet | None,
) -> PromptResult:
    """Judge a prompt's images, and match the representative if the prompt is flagged.

    Equal images, settings and training set give an equal result.
    """
    evidence = [image for image in stored.images if image.flaw is None]
    seeds = [image.seed for image in stored.images]
    verdict = _judge(evidence, sampling, settings.analysis)
    match = None
    if training and settings.verification and verdict.representative_seed is not None:
        chosen = next(i for i in evidence if i.seed == verdict.representative_seed)
        picture = decode_pixels([chosen])[0]
        match = _match(picture, settings.analysis.tiles, settings.verification, training)
    return PromptResult(
        prompt_id=Prompt(text=text).prompt_id,
        prompt=text,
        seeds=len(seeds),
        seeds_digest=digest(seeds),
        excluded=len(stored.images) - len(evidence),
        edges=verdict.edges,
        clique_size=verdict.clique_size,
        clique_seeds=verdict.clique_seeds,
        clique_proven=verdict.clique_proven,
        clique_upper_bound=verdict.clique_upper_bound,
        mean_distance=verdict.mean_distance,
        flagged=verdict.flagged,
        representative_seed=verdict.representative_seed,
        match=match,
    )


def _judge(evidence: list[StoredImage], sampling: Sampling, settings: Analysis) -> Verdict:
    """Judge from the descriptors first; only images that may join a wanted clique are decoded."""
    possible = candidates(
        [image.descriptor for image in evidence],
        sampling.height,
        sampling.width,
        settings.tiles,
        settings.edge_threshold,
    )
    survivors = np.flatnonzero(core(possible, settings.min_clique_size).any(axis=0))
    edges = np.zeros_like(possible)
    pixels = np.zeros((0, sampling.height, sampling.width, 3), dtype=np.uint8)
    if len(survivors):
        pixels = decode_pixels(evidence[i] for i in survivors)
        edges[np.ix_(survivors, survivors)] = tiled_edges(
            pixels, settings.tiles, settings.edge_threshold
        )

    def distances(members: tuple[int, ...]) -> NDArray[np.float64]:
        chosen = np.searchsorted(survivors, members)
        return tiled_distances(pixels[chosen], settings.tiles)

    return verdict_of(
        edges,
        distances,
        [image.seed for image in evidence],
        settings.min_clique_size,
        settings.max_steps,
    )


def _match(
    picture: NDArray[np.uint8], tiles: int, settings: Verification, training: TrainingSet
) -> Match:
    nearest = nearest_training(
        picture, training.pictures, tiles, settings.alpha, settings.neighbours
    )
    return Match(
        training_id=training.ids[nearest.index],
        l2=nearest.l2,
        tiled_l2=nearest.tiled_l2,
        adaptive=nearest.adaptive,
        extracted=is_extracted(nearest, settings.threshold, min(picture.shape[:2])),
    )
