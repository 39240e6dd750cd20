"""What the report shows of parts: generations with the part outlined and the rest dimmed."""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from seedsweep.audit.findings.matched_pictures import Pixels, TrainingPictures, read_named
from seedsweep.audit.findings.memories import Memory, memories, parts_matched
from seedsweep.audit.findings.people import Reviewer, item_of, said_words
from seedsweep.audit.report.prompt_section import Picture, PromptImages, draw_picture
from seedsweep.storage.errors import ShardCorruptError
from seedsweep.storage.prompt_results import PromptResult, Shift
from seedsweep.storage.records import Submission
from seedsweep.storage.store import Store
from seedsweep.storage.verification_results import PartMatch, VerificationResult
from seedsweep.workers.analysis.moved_pictures import moved, moved_back
from seedsweep.workers.images import decode_png, digest_pixels

PARTS_SHOWN, GENERATIONS_SHOWN = 50, 8
_SIDE = 256
"""Smaller pictures are enlarged by a whole number up to that, so that the outline is thin."""

_DIMMED, _GREY, _OUTLINE = 0.3, 190, (214, 0, 110)


@dataclass(frozen=True, slots=True)
class PartShown:
    """One part: `median` is the middle of the generations shown, `training` the picture that it
    matches, None if it was compared with nothing. `said`: what people said of the two, empty if
    nobody looked. `missing` says what cannot be shown, and why."""

    result: PromptResult
    memory: Memory
    match: PartMatch | None
    median: Picture
    generations: tuple[Picture, ...]
    training: Picture | None
    said: str
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
    reviewers: Sequence[Reviewer],
) -> PartsShown | None:
    """Gather what is shown of the results' parts, with what reviewers said; None if there are none.

    What cannot be read is said in place of the picture. Raises `StoreUnavailableError` if the
    store fails.
    """
    campaign_id = submission.campaign.campaign_id
    of_parts = parts_matched(search)
    found = []
    for result in results:
        shown = memories(result, analysis_id, campaign_id, of_parts)[len(result.cliques) :]
        found += [
            _Found(result, memory, item_of(result.prompt_id, part.part_id))
            for memory, part in zip(shown, result.parts, strict=True)
        ]
    if not found:
        return None
    found.sort(key=_rank)
    chosen = found[:PARTS_SHOWN]
    matches = [each.memory.match for each in chosen]
    wanted = {match.training_id for match in matches if match}
    sampling = submission.campaign.sampling
    training = read_named(search.settings if search else None, sampling, wanted)
    return PartsShown(
        prompts=len({each.result.prompt_id for each in found}),
        count=len(found),
        examined=bool(of_parts),
        extracted=sum(each.memory.extracted is True for each in found),
        common=sum(each.memory.kind == "common" for each in found),
        shown=tuple(_shown(store, submission, each, training, reviewers) for each in chosen),
    )


@dataclass(frozen=True, slots=True)
class _Found:
    """A part of a prompt, by the name that labels have for it."""

    result: PromptResult
    memory: Memory
    item: str


def _rank(found: _Found) -> tuple[bool, bool, float, str]:
    memory = found.memory
    is_common = memory.kind == "common"
    return (memory.extracted is not True, is_common, -memory.share, found.result.prompt_id)


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
    found: _Found,
    training: TrainingPictures,
    reviewers: Sequence[Reviewer],
) -> PartShown:
    result, memory = found.result, found.memory
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
    trained = training.pictures.get(match.training_id) if match else None
    labelled = decoded[memory.representative_seed], trained
    digests = ["" if pixels is None else digest_pixels(pixels) for pixels in labelled]
    reason = training.problem or "the training set no longer holds this picture"
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
        said=said_words(reviewers, found.item, (digests[0], digests[1])),
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
