"""What the report shows of prompts that are not flagged: their texts, and some pictures."""

from collections.abc import Sequence
from dataclasses import dataclass

from seedsweep.audit.findings.counts import has_evidence
from seedsweep.audit.report.prompt_section import Picture, PromptImages, draw_picture
from seedsweep.storage.prompt_results import PromptResult
from seedsweep.storage.records import Submission
from seedsweep.storage.store import Store

UNFLAGGED_SHOWN, STRIPS, PICTURES = 500, 12, 4
"""So many prompts are named, so many of them with pictures, and so many pictures each."""

_SIDE = 192


@dataclass(frozen=True, slots=True)
class Unflagged:
    """A prompt that could be flagged and is not, and its first usable pictures."""

    prompt: str
    pictures: tuple[Picture, ...]


def gather_unflagged(
    store: Store, submission: Submission, results: Sequence[PromptResult], min_clique_size: int
) -> tuple[Unflagged, ...]:
    """The first prompts that are not flagged.

    If no prompt is flagged, they come with pictures, so that the report shows what the model makes.
    Raises `StoreUnavailableError` if the store fails."""
    unflagged = [r for r in results if not r.flagged and has_evidence(r, min_clique_size)]
    strips = 0 if any(result.flagged for result in results) else STRIPS
    return tuple(
        Unflagged(result.prompt, _strip(store, submission, result) if place < strips else ())
        for place, result in enumerate(unflagged[:UNFLAGGED_SHOWN])
    )


def _strip(store: Store, submission: Submission, result: PromptResult) -> tuple[Picture, ...]:
    images = PromptImages.of(store, submission, result)
    return tuple(
        draw_picture(f"seed {image.seed}", images.pixels(image.seed), _SIDE)
        for image in images.usable(PICTURES)
    )
