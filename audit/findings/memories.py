"""What prompts repeat: whole pictures, and parts of pictures."""

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field

from seedsweep.storage import keys
from seedsweep.storage.prompt_results import Match, PromptResult, Shift
from seedsweep.storage.record import Record
from seedsweep.storage.verification_results import PartMatch, VerificationResult


class Memory(Record):
    """What generations of a prompt repeat: a picture, a part of one, or one that is `common`, as
    pictures that have nothing to do with the prompt show it too.

    `share` is that of the picture's area; `mask` the key of a PNG of the picture's size, white
    where the part is, and None of a whole picture. `extracted` says that the match is one, None if
    it was compared with nothing. `shifts`: where each of the seeds shows a part that is not at one
    place, beside the representative, whose place the mask has.
    """

    kind: Literal["whole", "partial", "common"]
    seeds: tuple[int, ...]
    share: float
    mask: str | None
    representative_seed: int
    match: Match | PartMatch | None
    extracted: bool | None
    shifts: Annotated[tuple[Shift, ...], Field(exclude_if=lambda shifts: not shifts)] = ()

    def shift(self, seed: int) -> Shift:
        """Where one of its generations shows it."""
        return self.shifts[self.seeds.index(seed)] if self.shifts else Shift()


def parts_matched(search: VerificationResult | None) -> dict[tuple[str, str], PartMatch]:
    """What a search matched with parts, by the ids of prompt and part: results may have changed."""
    parts = search.parts if search else ()
    return {(part.prompt_id, part.part_id): part.match for part in parts}


def memories(
    result: PromptResult,
    analysis_id: str,
    campaign_id: str,
    of_parts: Mapping[tuple[str, str], PartMatch],
) -> tuple[Memory, ...]:
    """All of a prompt: its cliques, the largest first, then its parts with what they match, as of
    `parts_matched`."""
    whole = [
        Memory(
            kind="whole",
            seeds=clique.clique_seeds,
            share=1.0,
            mask=None,
            representative_seed=clique.representative_seed,
            match=clique.match,
            extracted=clique.match.extracted if clique.match else None,
        )
        for clique in result.cliques
    ]
    found = [of_parts.get((result.prompt_id, part.part_id)) for part in result.parts]
    partial = [
        Memory(
            kind="common" if match and match.is_common else "partial",
            seeds=part.seeds,
            share=part.share,
            mask=keys.mask(analysis_id, campaign_id, result.prompt_id, number),
            representative_seed=part.representative_seed,
            match=match,
            extracted=match.extracted if match else None,
            shifts=part.shifts,
        )
        for number, (part, match) in enumerate(zip(result.parts, found, strict=True))
    ]
    return (*whole, *partial)
