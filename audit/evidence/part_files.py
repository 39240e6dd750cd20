"""The parts of pictures in a bundle: their masks, generations that show them, training pictures."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from seedsweep.audit.evidence.writer import Bundle
from seedsweep.audit.findings.matched_pictures import read_named
from seedsweep.audit.findings.memories import parts_matched
from seedsweep.storage.errors import PermanentError
from seedsweep.storage.prompt_results import Part, PromptResult
from seedsweep.storage.records import Submission
from seedsweep.storage.settings.analysis import PartRule
from seedsweep.storage.store import Store
from seedsweep.storage.verification_results import VerificationResult
from seedsweep.workers.analysis.parts import mask_of
from seedsweep.workers.analysts.prompt_parts import laid_alike
from seedsweep.workers.analysts.stored_prompt import StoredPrompt, read_prompt
from seedsweep.workers.images import digest_pixels, encode_png


@dataclass(frozen=True, slots=True)
class PartFile:
    """A picture of a part: its file and the digest of its pixels, or why it is `missing`; the seed
    of a generation."""

    file: str | None
    sha256: str | None
    missing: str = ""
    seed: int | None = None


@dataclass(frozen=True, slots=True)
class PartEntry:
    """A part of a prompt's result: its mask, white on black, the generations that show all of it,
    by seed, and the training picture that it matches, if it was compared with any."""

    prompt_id: str
    number: int
    mask: PartFile
    images: tuple[PartFile, ...]
    training_id: str | None
    training: PartFile | None


def add_parts(
    store: Store,
    submission: Submission,
    results: Sequence[PromptResult],
    rule: PartRule,
    search: VerificationResult | None,
    bundle: Bundle,
) -> int:
    """Add all parts of the results, and their list; returns how many files are missing."""
    ids = {(result.prompt_id, part.part_id) for result in results for part in result.parts}
    matched = {part: match for part, match in parts_matched(search).items() if part in ids}
    wanted = {match.training_id for match in matched.values()}
    trained = read_named(search.settings if search else None, submission.campaign.sampling, wanted)
    problem = trained.problem or "the training set no longer holds this picture"
    training: dict[str, PartFile] = {}
    for training_id in sorted(wanted):
        name = hashlib.sha256(training_id.encode()).hexdigest()[:16]
        pixels = trained.pictures.get(training_id)
        training[training_id] = _file(bundle, f"parts/training/{name}.png", pixels, problem)
    entries = []
    for result in results:
        if not result.parts:
            continue
        stored = read_prompt(store, submission.of(result.settings), result.prompt)
        for number, part in enumerate(result.parts):
            match = matched.get((result.prompt_id, part.part_id))
            folder = f"parts/{result.prompt_id}-{number}"
            mask, images = _pictures(bundle, stored, part, folder, rule)
            entries.append(
                PartEntry(
                    prompt_id=result.prompt_id,
                    number=number,
                    mask=mask,
                    images=images,
                    training_id=match.training_id if match else None,
                    training=training[match.training_id] if match else None,
                )
            )
    bundle.add_json("parts.json", {"parts": entries})
    files = [each for entry in entries for each in (entry.mask, *entry.images)]
    return sum(bool(each.missing) for each in (*files, *training.values()))


def _pictures(
    bundle: Bundle, stored: StoredPrompt, part: Part, folder: str, rule: PartRule
) -> tuple[PartFile, tuple[PartFile, ...]]:
    """The mask, made anew from the generations that show all of the part, and these."""
    places: Mapping[int, int] = {image.seed: place for place, image in enumerate(stored.images)}
    try:
        members = stored.pixels([places[seed] for seed in part.whole_seeds])
    except (KeyError, PermanentError) as error:
        told = str(error) if isinstance(error, PermanentError) else "one of them is not stored"
        reason = f"the pictures that show the part cannot all be had: {told}"
        images = tuple(PartFile(None, None, reason, seed) for seed in part.whole_seeds)
        return PartFile(None, None, reason), images
    laid = laid_alike(part, members)
    mask = mask_of(laid, part.tiles, rule).astype(np.uint8)[..., None].repeat(3, axis=2) * 255
    images = tuple(
        replace(_file(bundle, f"{folder}/{seed}.png", pixels), seed=seed)
        for seed, pixels in zip(part.whole_seeds, members, strict=True)
    )
    return _file(bundle, f"{folder}/mask.png", mask), images


def _file(
    bundle: Bundle, name: str, pixels: NDArray[np.uint8] | None, missing: str = ""
) -> PartFile:
    if pixels is None:
        return PartFile(None, None, missing)
    bundle.add(name, encode_png(pixels))
    return PartFile(name, digest_pixels(pixels))
