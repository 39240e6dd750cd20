"""What the report shows of parts: generations with the part outlined and the rest dimmed."""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from seedsweep.audit.findings.matched_pictures import Pixels, read_named
from seedsweep.audit.findings.memories import Memory, memories, parts_matched
from seedsweep.audit.report.prompt_section import Picture, PromptImages, draw_picture
from seedsweep.storage.errors import ShardCorruptError
from seedsweep.storage.prompt_results import PromptResult, Shift
from seedsweep.storage.records import Submission
from seedsweep.storage.store import Store
from seedsweep.storage.verification_results import PartMatch, VerificationResult
from seedsweep.workers.analysis.part_shifts import moved, moved_back
from seedsweep.workers.images import decode_png

PARTS_SHOWN, GENERATIONS_SHOWN = 50, 8
_SIDE = 256
"""Smaller pictures are enlarged by a whole number up to that, so that the outline is thin."""

_DIMMED, _GREY, _OUTLINE = 0.3, 190, (214, 0, 110)


@dataclass(frozen=True, slots=True)
class PartShown:
    """One part: `median` is the middle of the generations shown, `training` the picture that it
    matches, None if it was compared with nothing. `missing` says what cannot be shown, and why."""

    result: PromptResult
    memory: Memory
    match: PartMatch | None
    median: Picture
    generations: tuple[Picture, ...]
    training: Picture | None
    missing: str


@dataclass(frozen=True, slots=True)
class PartsShown:
    """The parts of all prompts: extracted ones first, common ones last, larger ones before smaller.

    `shown` are the first of them. `extracted` and `common` count parts, `prompts` those that repeat
    one. `examined`: the parts were compared with training pictures."""

    prompts: int
    count: int
    examined: bool
    extracted: int
    common: int
    shown: tuple[PartShown, ...]


def gather_parts(
    store: Store,
    submission: Submission,
    analysis_id: str,
    results: Sequence[PromptResult],
    search: VerificationResult | None,
) -> PartsShown | None:
    """Gather what is shown of the results' parts; None if there are none.

    What cannot be read is said in place of the picture. Raises `StoreUnavailableError` if the
    store fails.
    """
    campaign_id = submission.campaign.campaign_id
    of_parts = parts_matched(search)
    found = [
        (result, memory)
        for result in results
        for memory in memories(result, analysis_id, campaign_id, of_parts)
        if memory.kind != "whole"
    ]
    if not found:
        return None
    found.sort(key=_rank)
    chosen = found[:PARTS_SHOWN]
    wanted = {m.match.training_id for _, m in chosen if isinstance(m.match, PartMatch)}
    sampling = submission.campaign.sampling
    training = read_named(search.settings if search else None, sampling, wanted)
    return PartsShown(
        prompts=len({result.prompt_id for result, _ in found}),
        count=len(found),
        examined=bool(of_parts),
        extracted=sum(memory.extracted is True for _, memory in found),
        common=sum(memory.kind == "common" for _, memory in found),
        shown=tuple(
            _shown(store, submission, result, memory, training.pictures, training.problem)
            for result, memory in chosen
        ),
    )


def _rank(found: tuple[PromptResult, Memory]) -> tuple[bool, bool, float, str]:
    result, memory = found
    return (memory.extracted is not True, memory.kind == "common", -memory.share, result.prompt_id)


def highlight(pixels: Pixels, mask: NDArray[np.bool_]) -> Pixels:
    """The picture with what is outside of the mask dimmed, and the mask outlined; a small one is
    enlarged."""
    times = max(1, _SIDE // max(pixels.shape[:2]))
    large = pixels.repeat(times, axis=0).repeat(times, axis=1)
    inside = mask.repeat(times, axis=0).repeat(times, axis=1)
    dimmed = (large * _DIMMED + _GREY * (1 - _DIMMED)).astype(np.uint8)
    drawn = np.ascontiguousarray(np.where(inside[..., None], large, dimmed))
    outlines, _ = cv2.findContours(inside.astype(np.uint8), cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
    return np.asarray(cv2.drawContours(drawn, outlines, -1, _OUTLINE, 1), dtype=np.uint8)


def _shown(
    store: Store,
    submission: Submission,
    result: PromptResult,
    memory: Memory,
    pictures: dict[str, Pixels],
    problem: str,
) -> PartShown:
    sampling = submission.campaign.of(result.settings).sampling
    mask, missing = np.ones((sampling.height, sampling.width), np.bool_), ""
    try:
        stored = store.read(memory.mask or "")
        if stored is None:
            raise ShardCorruptError("it is not in the store")
        mask = decode_png(stored, sampling.width, sampling.height)[..., 0] > 127
    except (ShardCorruptError, ValueError) as error:
        missing = f"The part's mask {memory.mask} cannot be shown: {error}."
    images = PromptImages.of(store, submission, result)
    others = [seed for seed in memory.seeds if seed != memory.representative_seed]
    seeds = [memory.representative_seed, *others][:GENERATIONS_SHOWN]
    decoded = {seed: images.pixels(seed) for seed in seeds}
    there = [
        moved(pixels, memory.shift(seed)) for seed, pixels in decoded.items() if pixels is not None
    ]
    laid = np.sort(np.stack(there), axis=0) if there else None
    median = None if laid is None else laid[(len(laid) - 1) // 2]
    match = memory.match if isinstance(memory.match, PartMatch) else None
    trained = pictures.get(match.training_id) if match else None
    reason = problem or "the training set no longer holds this picture"
    return PartShown(
        result=result,
        memory=memory,
        match=match,
        median=_picture(f"middle of {len(there)} pictures", median, mask, Shift()),
        generations=tuple(
            _picture(f"seed {seed}", pixels, mask, memory.shift(seed))
            for seed, pixels in decoded.items()
        ),
        training=(
            _picture(match.training_id, trained, mask, match.shift, reason) if match else None
        ),
        missing=missing or " ".join(images.notes[:1]),
    )


def _picture(
    caption: str,
    pixels: Pixels | None,
    mask: NDArray[np.bool_],
    shift: Shift,
    missing: str = "",
) -> Picture:
    drawn = None if pixels is None else highlight(pixels, moved_back(mask, shift))
    return draw_picture(caption, drawn, _SIDE, missing)
