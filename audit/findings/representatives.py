"""The pictures that stand for the cliques of flagged prompts, read from the store."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from seedsweep.storage import keys
from seedsweep.storage.errors import PermanentError, ShardCorruptError
from seedsweep.storage.prompt_results import PromptResult
from seedsweep.storage.records import Submission
from seedsweep.storage.store import Store
from seedsweep.storage.verification_results import UnverifiedClique
from seedsweep.workers.stored_images import decode_pixels, naming_shard, read_images

Pixels = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class FlaggedClique:
    """A clique of a flagged prompt, by the seed of its representative."""

    result: PromptResult
    seed: int


def read_representatives(
    store: Store, submission: Submission, flagged: Iterable[PromptResult]
) -> tuple[list[FlaggedClique], list[Pixels], list[UnverifiedClique]]:
    """The cliques whose representatives could be read, these, and the other cliques."""
    known, pictures, unknown = [], [], []
    for result in flagged:
        for seed in (clique.representative_seed for clique in result.cliques):
            try:
                pictures.append(_representative(store, submission, result, seed))
                known.append(FlaggedClique(result, seed))
            except PermanentError as error:
                unknown.append(
                    UnverifiedClique(
                        prompt_id=result.prompt_id,
                        prompt=result.prompt,
                        seed=seed,
                        reason=str(error),
                    )
                )
    return known, pictures, unknown


def _representative(
    store: Store, submission: Submission, result: PromptResult, seed: int
) -> Pixels:
    submission = submission.of(result.settings)
    campaign = submission.campaign
    for cut in submission.cuts:
        if cut.first <= seed <= cut.last:
            key = keys.shard(campaign.generation_id, result.prompt_id, cut)
            with naming_shard(key):
                for image in read_images(store, key, [seed]) or ():
                    return decode_pixels(image, campaign.sampling)
    raise ShardCorruptError(f"The image of seed {seed} is not in the store.")
