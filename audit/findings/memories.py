"""What prompts repeat: whole pictures, and parts of pictures."""

from typing import Literal

from seedsweep.storage import keys
from seedsweep.storage.prompt_results import Match, PromptResult
from seedsweep.storage.records import Record


class Memory(Record):
    """What generations of a prompt repeat.

    `share` is that of the picture's area; `mask` the key of a PNG of the picture's size, white
    where the part is, and None of a whole picture.
    """

    kind: Literal["whole", "partial"]
    seeds: tuple[int, ...]
    share: float
    mask: str | None
    representative_seed: int
    match: Match | None


def memories(result: PromptResult, analysis_id: str, campaign_id: str) -> tuple[Memory, ...]:
    """All of a prompt: its cliques, the largest first, then its parts."""
    whole = [
        Memory(
            kind="whole",
            seeds=clique.clique_seeds,
            share=1.0,
            mask=None,
            representative_seed=clique.representative_seed,
            match=clique.match,
        )
        for clique in result.cliques
    ]
    partial = [
        Memory(
            kind="partial",
            seeds=part.seeds,
            share=part.share,
            mask=keys.mask(analysis_id, campaign_id, result.prompt_id, number),
            representative_seed=part.representative_seed,
            match=part.match,
        )
        for number, part in enumerate(result.parts)
    ]
    return (*whole, *partial)
