"""The parts of pictures in a bundle: their masks, generations that show them, training pictures."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Self

import numpy as np
from numpy.typing import NDArray

from seedsweep.audit.evidence.writer import Bundle
from seedsweep.audit.findings.matched_pictures import read_named
from seedsweep.audit.findings.memories import parts_matched
from seedsweep.audit.findings.part_search import masked_picture, showing_rule
from seedsweep.audit.findings.people import item_of
from seedsweep.storage.errors import PermanentError
from seedsweep.storage.prompt_results import Part, PromptResult, Shift
from seedsweep.storage.records import Submission
from seedsweep.storage.settings.analysis import PartRule, Verification
from seedsweep.storage.store import Store
from seedsweep.storage.verification_results import VerificationResult
from seedsweep.workers.analysis.part_mask import mask_of
from seedsweep.workers.analysis.part_matching import MaskedPicture, PartReference
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
class SharedFile:
    """A further training picture that shows a part, and where: its file, as of `PartFile`."""

    training_id: str
    file: str | None
    sha256: str | None
    missing: str
    shift: Shift


@dataclass(frozen=True, slots=True)
class PartEntry:
    """A part of a prompt's result: its mask, white on black, the generations that show all of it,
    by seed, the training picture that it matches, if it was compared with any, and others that the
    search named, which show it too."""

    prompt_id: str
    number: int
    part_id: str
    mask: PartFile
    images: tuple[PartFile, ...]
    training_id: str | None
    training: PartFile | None
    shared: tuple[SharedFile, ...] = ()


@dataclass(frozen=True, slots=True)
class PartFiles:
    """What was added of parts: how many files are `missing`, and by item, as of `item_of`, the
    digests of the two pictures that people label: the representative, and the match. Empty if one
    is not known."""

    missing: int = 0
    shown: Mapping[str, tuple[str, str]] = field(default_factory=dict)


def add_parts(
    store: Store,
    submission: Submission,
    results: Sequence[PromptResult],
    rule: PartRule,
    search: VerificationResult | None,
    bundle: Bundle,
) -> PartFiles:
    """Add all parts of the results, and their list."""
    ids = {(result.prompt_id, part.part_id) for result in results for part in result.parts}
    matched = {part: match for part, match in parts_matched(search).items() if part in ids}
    wanted = {match.training_id for match in matched.values()}
    wanted |= {name for match in matched.values() for name in match.showing}
    trained = read_named(search.settings if search else None, submission.campaign.sampling, wanted)
    problem = trained.problem or "the training set no longer holds this picture"
    training: dict[str, PartFile] = {}
    for training_id in sorted(wanted):
        name = hashlib.sha256(training_id.encode()).hexdigest()[:16]
        pixels = trained.pictures.get(training_id)
        training[training_id] = _file(bundle, f"parts/training/{name}.png", pixels, problem)
    entries: list[PartEntry] = []
    shown: dict[str, tuple[str, str]] = {}
    for result in results:
        if not result.parts:
            continue
        stored = read_prompt(store, submission.of(result.settings), result.prompt)
        for number, part in enumerate(result.parts):
            match = matched.get((result.prompt_id, part.part_id))
            folder = f"parts/{result.prompt_id}-{number}"
            mask, images, middle = _pictures(bundle, stored, part, folder, rule)
            ways = _Ways.of(middle, rule, search.settings) if middle and search else None
            shared = [
                _shared(name, training[name], ways, trained.pictures.get(name))
                for name in (match.showing if match else ())
            ]
            entries.append(
                PartEntry(
                    prompt_id=result.prompt_id,
                    number=number,
                    part_id=part.part_id,
                    mask=mask,
                    images=images,
                    training_id=match.training_id if match else None,
                    training=training[match.training_id] if match else None,
                    shared=tuple(shared),
                )
            )
            shown |= _shown(part, entries[-1])
    bundle.add_json("parts.json", {"parts": entries})
    files = [each for entry in entries for each in (entry.mask, *entry.images)]
    missing = sum(bool(each.missing) for each in (*files, *training.values()))
    return PartFiles(missing, shown)


def _shown(part: Part, entry: PartEntry) -> dict[str, tuple[str, str]]:
    if entry.training is None:
        return {}
    digests = {image.seed: image.sha256 or "" for image in entry.images}
    made = digests.get(part.representative_seed, "")
    return {item_of(entry.prompt_id, entry.part_id): (made, entry.training.sha256 or "")}


@dataclass(frozen=True, slots=True)
class _Ways:
    """All ways in which a training picture may show a part."""

    shifts: tuple[Shift, ...]
    references: tuple[PartReference, ...]

    @classmethod
    def of(cls, part: MaskedPicture, rule: PartRule, settings: Verification) -> Self:
        shifts, showing = part.ways(settings.flip), showing_rule(rule, settings)
        return cls(shifts, tuple(PartReference(part.at(shift), showing) for shift in shifts))

    def shown_by(self, pixels: NDArray[np.uint8]) -> Shift | None:
        """The way in which the picture shows the part, the nearest if there are several."""
        met = [reference.shown_by(pixels[None]) for reference in self.references]
        ways = [(float(m.squared[0]), n) for n, m in enumerate(met) if m.same[0]]
        return self.shifts[min(ways)[1]] if ways else None


def _shared(
    training_id: str, known: PartFile, ways: _Ways | None, pixels: NDArray[np.uint8] | None
) -> SharedFile:
    """A training picture that the search named, unless that shows the part no longer."""
    if ways is None or pixels is None:
        reason = known.missing or "the pictures that show the part cannot all be had"
        return SharedFile(training_id, None, None, reason, Shift())
    shift = ways.shown_by(pixels)
    if shift is None:
        reason = "it no longer shows the part: the training set has changed"
        return SharedFile(training_id, None, None, reason, Shift())
    return SharedFile(training_id, known.file, known.sha256, "", shift)


def _pictures(
    bundle: Bundle, stored: StoredPrompt, part: Part, folder: str, rule: PartRule
) -> tuple[PartFile, tuple[PartFile, ...], MaskedPicture | None]:
    """The mask, made anew from the generations that show all of the part, these, and the part."""
    places: Mapping[int, int] = {image.seed: place for place, image in enumerate(stored.images)}
    try:
        members = stored.pixels([places[seed] for seed in part.whole_seeds])
    except (KeyError, PermanentError) as error:
        told = str(error) if isinstance(error, PermanentError) else "one of them is not stored"
        reason = f"the pictures that show the part cannot all be had: {told}"
        images = tuple(PartFile(None, None, reason, seed) for seed in part.whole_seeds)
        return PartFile(None, None, reason), images, None
    laid = laid_alike(part, members)
    inside = mask_of(laid, part.tiles, rule)
    mask = inside.astype(np.uint8)[..., None].repeat(3, axis=2) * 255
    middle = masked_picture(part, laid, inside) if inside.any() else None
    images = tuple(
        replace(_file(bundle, f"{folder}/{seed}.png", pixels), seed=seed)
        for seed, pixels in zip(part.whole_seeds, members, strict=True)
    )
    return _file(bundle, f"{folder}/mask.png", mask), images, middle


def _file(
    bundle: Bundle, name: str, pixels: NDArray[np.uint8] | None, missing: str = ""
) -> PartFile:
    if pixels is None:
        return PartFile(None, None, missing)
    bundle.add(name, encode_png(pixels))
    return PartFile(name, digest_pixels(pixels))
