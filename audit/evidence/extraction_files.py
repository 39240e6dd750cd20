"""What a campaign without prompts extracts, in a bundle: every generation, ranked, and for each
distinct training picture itself and the best generation of it."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import groupby

import numpy as np

from seedsweep.audit.evidence.findings_page import BundleExtraction
from seedsweep.audit.evidence.verify_bundle import GENERATION_COLUMNS
from seedsweep.audit.evidence.writer import Bundle
from seedsweep.audit.findings.match_words import extraction_words
from seedsweep.audit.findings.matched_pictures import (
    Pixels,
    TrainingPictures,
    is_at_distance,
    read_named,
)
from seedsweep.audit.findings.people import extraction_item, picture_id
from seedsweep.storage.errors import ShardCorruptError
from seedsweep.storage.extractions import (
    ExtractedPicture,
    Extractions,
    NearestTraining,
    read_ranked,
)
from seedsweep.storage.records import Submission
from seedsweep.storage.settings.analysis import AnalysisSettings
from seedsweep.storage.shards import StoredImage
from seedsweep.storage.store import Store
from seedsweep.workers.analysts.stored_prompt import StoredPrompt, read_prompt
from seedsweep.workers.images import digest_pixels, encode_png
from seedsweep.workers.stored_images import decode_pixels, read_images


@dataclass(frozen=True, slots=True)
class ExtractionFile:
    """A picture: its file and the digest of its pixels, or why it is `missing`."""

    file: str | None
    sha256: str | None
    missing: str = ""


@dataclass(frozen=True, slots=True)
class ExtractionFiles:
    """What was put in, how many pictures lack a file, and the whole in words. `shown`: by item, as
    of `extraction_item`, the digests of the two pictures that people label, empty if one is
    missing."""

    extracted: tuple[BundleExtraction, ...]
    missing: int
    in_words: str
    shown: dict[str, tuple[str, str]]


def add_extractions(
    store: Store,
    submission: Submission,
    settings: AnalysisSettings,
    found: Extractions,
    bundle: Bundle,
) -> ExtractionFiles:
    """Add what generations extract; pictures that cannot be read stop nothing.

    Raises `ShardCorruptError` if the ranked generations are not what was written.
    """
    campaign = submission.campaign
    ranked = read_ranked(store, settings.analysis_id, campaign.campaign_id)
    stored = read_prompt(store, submission, "")
    digests = {image.seed: image.sha256 for image in stored.images}
    bundle.add("generations.json", _ranked_rows(ranked, digests))
    best = _best_generations(stored, [each.best_seed for each in found.pictures])
    ids = {each.training_id for each in found.pictures}
    training = read_named(settings.verification, campaign.sampling, ids)
    entries, files, extracted = [], list[ExtractionFile](), list[BundleExtraction]()
    shown: dict[str, tuple[str, str]] = {}
    for each in found.pictures:
        generation = best[each.best_seed]
        made = generation if isinstance(generation, str) else _add_generation(bundle, generation)
        pixels = None if isinstance(generation, str) else generation[1]
        trained = _add_training(bundle, training, each, pixels)
        generated = ExtractionFile(None, None, made) if isinstance(made, str) else made
        entries.append(
            {**each.model_dump(), "generation": asdict(generated), "training": asdict(trained)}
        )
        files += [generated, trained]
        item = extraction_item(each.training_id)
        shown[item] = generated.sha256 or "", trained.sha256 or ""
        told = each.model_dump(exclude={"flip"})
        extracted.append(BundleExtraction(**told, made=generated.file, trained=trained.file))
    whole = found.model_dump(mode="json", exclude={"pictures"})
    bundle.add_json("extractions.json", {**whole, "pictures": entries})
    missing = sum(bool(file.missing) for file in files)
    return ExtractionFiles(tuple(extracted), missing, f"{extraction_words(found)}.", shown)


def _ranked_rows(ranked: Sequence[NearestTraining], digests: dict[int, str]) -> bytes:
    """The names of the columns, then a row for each generation, best first: each on a line."""
    rows: list[Sequence[object]] = [GENERATION_COLUMNS]
    for each in ranked:
        values = {**each.model_dump(), "sha256": digests.get(each.seed)}
        rows.append([values[name] for name in GENERATION_COLUMNS])
    lines = (json.dumps(row, ensure_ascii=False) for row in rows)
    return ("[\n" + ",\n".join(lines) + "\n]\n").encode()


_Best = tuple[StoredImage, Pixels]


def _best_generations(stored: StoredPrompt, seeds: Sequence[int]) -> dict[int, _Best | str]:
    """By seed the generation with its pixels, or why there is none."""
    found: dict[int, _Best | str] = dict.fromkeys(
        seeds, "it is not stored, or its shard is corrupt"
    )
    wanted = [
        (key or "", image.seed)
        for key, image in zip(stored.shards, stored.images, strict=True)
        if image.seed in found
    ]
    for key, group in groupby(wanted, key=lambda each: each[0]):
        of_shard = [seed for _, seed in group]
        try:
            for image in read_images(stored.store, key, of_shard) or ():
                found[image.seed] = image, decode_pixels(image, stored.sampling)
        except ShardCorruptError as error:
            found |= dict.fromkeys(of_shard, str(error))
    return found


def _add_generation(bundle: Bundle, generation: _Best) -> ExtractionFile:
    image, _ = generation
    file = f"extractions/{image.seed}.png"
    bundle.add(file, image.png)
    return ExtractionFile(file, image.sha256)


def _add_training(
    bundle: Bundle, training: TrainingPictures, found: ExtractedPicture, generation: Pixels | None
) -> ExtractionFile:
    pixels = training.pictures.get(found.training_id)
    reason = training.problem or "the training set no longer holds this picture"
    if pixels is None:
        return ExtractionFile(None, None, reason)
    if generation is not None and not is_at_distance(generation, pixels, found.l2, found.flip):
        return ExtractionFile(None, None, "the picture now under this id is another one")
    file = f"training/{picture_id(found.training_id)}.png"
    bundle.add(file, encode_png(np.ascontiguousarray(pixels)))
    return ExtractionFile(file, digest_pixels(pixels))
