"""The pictures of a bundle: flagged prompts' cliques, and the training pictures matched."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

import PIL

from seedsweep.audit.evidence.findings_page import BundleFinding
from seedsweep.audit.evidence.writer import Bundle
from seedsweep.audit.findings.matched_pictures import Pixels, gather_training, has_changed
from seedsweep.storage.errors import ShardCorruptError
from seedsweep.storage.prompt_results import Match, PromptResult
from seedsweep.storage.records import Provenance, Submission
from seedsweep.storage.settings.analysis import AnalysisSettings
from seedsweep.storage.settings.sampling import Sampling
from seedsweep.storage.shards import StoredImage
from seedsweep.storage.store import Store
from seedsweep.workers.analysts.stored_prompt import StoredPrompt, read_prompt
from seedsweep.workers.images import digest_pixels, encode_png
from seedsweep.workers.stored_images import decode_pixels, read_images


@dataclass(frozen=True, slots=True)
class ImageEntry:
    """An image of a flagged prompt: the recorded digest of its pixels, what made it, by its place
    among the provenances, and its file if it is in a clique.

    `missing` says why a clique's image has no file; digest and provenance are null if not even
    these are known. `same_as`: the id of the prompt for which it was made, if it was taken over
    from that one, which is the same to the model; else empty.
    """

    seed: int
    sha256: str | None
    flaw: str | None
    provenance: int | None
    in_clique: bool
    file: str | None
    missing: str = ""
    same_as: str = ""


@dataclass(frozen=True, slots=True)
class PromptEntry:
    """All images of a flagged prompt that are known, by seed; `corrupt`: objects not readable."""

    prompt_id: str
    representative_seed: int | None
    images: tuple[ImageEntry, ...]
    corrupt: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class TrainingEntry:
    """A training picture that was matched, as it was compared: its file, or why it is `missing`.

    `sha256` is the digest of its pixels, `prompts` the prompt ids whose match it is.
    """

    training_id: str
    sha256: str | None
    file: str | None
    prompts: tuple[str, ...]
    missing: str = ""


@dataclass(frozen=True, slots=True)
class Preparation:
    """How training pictures were brought to the generations' size before they were compared."""

    width: int
    height: int
    resize: str
    crop: str
    pillow: str


@dataclass(frozen=True, slots=True)
class _Matched:
    """A clique that was matched, by its prompt and its representative."""

    prompt_id: str
    seed: int
    match: Match


class PictureFiles:
    """Puts pictures into a bundle, prompt by prompt, and keeps the entries for them."""

    def __init__(self, store: Store, submission: Submission, bundle: Bundle) -> None:
        self._store, self._submission, self._bundle = store, submission, bundle
        self._provenances: dict[Provenance, int] = {}
        self._representatives: dict[tuple[str, int], Pixels] = {}
        self._prompts: list[PromptEntry] = []
        self._training: list[TrainingEntry] = []

    @property
    def missing(self) -> int:
        """How many of the cliques' images have no file."""
        return sum(bool(image.missing) for entry in self._prompts for image in entry.images)

    def shown(self, results: Sequence[PromptResult]) -> dict[str, tuple[str, str]]:
        """By prompt id the digests of the two pictures that people label: the representative of the
        largest clique, and its match. Empty if one is not known."""
        made = {
            (prompt.prompt_id, image.seed): image.sha256 or ""
            for prompt in self._prompts
            for image in prompt.images
        }
        trained = {entry.training_id: entry.sha256 or "" for entry in self._training}
        return {
            result.prompt_id: (
                made.get((result.prompt_id, result.representative_seed), ""),
                trained.get(result.match.training_id, ""),
            )
            for result in results
            if result.match and result.representative_seed is not None
        }

    def findings(self, results: Sequence[PromptResult]) -> tuple[BundleFinding, ...]:
        """Each clique of these results, with the files of its representative and of its match."""
        made = {(p.prompt_id, image.seed): image.file for p in self._prompts for image in p.images}
        trained = {entry.training_id: entry.file for entry in self._training}
        return tuple(
            BundleFinding(
                prompt_id=result.prompt_id,
                prompt=result.prompt,
                size=clique.clique_size,
                seeds=result.seeds,
                representative_seed=clique.representative_seed,
                match=clique.match,
                made=made.get((result.prompt_id, clique.representative_seed)),
                trained=trained.get(clique.match.training_id) if clique.match else None,
            )
            for result in results
            for clique in result.cliques
        )

    def add_prompt(self, result: PromptResult) -> None:
        """Add a flagged prompt's cliques, PNGs as they are stored; what is gone stops nothing."""
        prompt = read_prompt(self._store, self._submission.of(result.settings), result.prompt)
        clique = {seed for each in result.cliques for seed in each.clique_seeds}
        reasons = self._read(prompt, clique, result)
        entries = {
            image.seed: ImageEntry(
                seed=image.seed,
                sha256=image.sha256,
                flaw=image.flaw,
                provenance=self._provenances.setdefault(image.provenance, len(self._provenances)),
                in_clique=image.seed in clique,
                file=_file(result, image.seed) if reasons.get(image.seed) == "" else None,
                missing=reasons[image.seed] if image.seed in clique else "",
                same_as=image.same_as,
            )
            for image in prompt.images
        }
        for seed in clique - {*entries}:
            reason = "it is not stored, or its shard is corrupt"
            entries[seed] = ImageEntry(seed, None, None, None, True, None, reason)
        self._prompts.append(
            PromptEntry(
                prompt_id=result.prompt_id,
                representative_seed=result.representative_seed,
                images=tuple(entries[seed] for seed in sorted(entries)),
                corrupt=prompt.corrupt,
            )
        )

    def seal(self) -> None:
        """Add the list of all images of flagged prompts."""
        self._bundle.add_json(
            "images.json", {"provenances": [*self._provenances], "prompts": self._prompts}
        )

    def add_training(self, settings: AnalysisSettings, results: Sequence[PromptResult]) -> int:
        """Add the training pictures that the results match; returns how many could not be."""
        sampling = self._submission.campaign.sampling
        training = gather_training(settings, sampling, results)
        for training_id, matched in _by_training_id(results).items():
            pixels = training.pictures.get(training_id)
            reason = training.problem or "the training set no longer holds this picture"
            if pixels is not None:
                reason = self._changed(matched, pixels)
            file = None
            if pixels is not None and not reason:
                file = f"training/{hashlib.sha256(training_id.encode()).hexdigest()[:16]}.png"
                self._bundle.add(file, encode_png(pixels))
            self._training.append(
                TrainingEntry(
                    training_id=training_id,
                    sha256=digest_pixels(pixels) if pixels is not None and file else None,
                    file=file,
                    prompts=tuple(dict.fromkeys(each.prompt_id for each in matched)),
                    missing=reason,
                )
            )
        self._bundle.add_json(
            "training.json",
            {"pictures": self._training, "preparation": _preparation(settings, sampling)},
        )
        return sum(bool(entry.missing) for entry in self._training)

    def _read(self, prompt: StoredPrompt, clique: set[int], result: PromptResult) -> dict[int, str]:
        """Add the clique's pictures; gives by seed why there is none, empty if there is."""
        reasons = {}
        wanted = [
            (key, image.seed)
            for key, image in zip(prompt.shards, prompt.images, strict=True)
            if image.seed in clique
        ]
        for key, group in groupby(wanted, key=lambda image: image[0]):
            seeds = [seed for _, seed in group]
            images, reason = self._decode(key, seeds)
            for seed in seeds:
                stored = images.get(seed)
                reasons[seed] = reason if stored is None else self._add(result, stored)
        return reasons

    def _decode(self, key: str | None, seeds: list[int]) -> tuple[dict[int, StoredImage], str]:
        try:
            images = read_images(self._store, key, seeds) if key else None
        except ShardCorruptError as error:
            return {}, str(error)
        if images is None:
            return {}, "its picture was not kept"
        return {image.seed: image for image in images}, ""

    def _add(self, result: PromptResult, image: StoredImage) -> str:
        try:
            made_with = self._submission.campaign.of(result.settings).sampling
            pixels = decode_pixels(image, made_with)
        except ShardCorruptError as error:
            return str(error)
        if image.seed in {clique.representative_seed for clique in result.cliques}:
            self._representatives[result.prompt_id, image.seed] = pixels
        self._bundle.add(_file(result, image.seed), image.png)
        return ""

    def _changed(self, matched: Sequence[_Matched], pixels: Pixels) -> str:
        """Why the picture is not the one that was matched; empty if it is, as far as known."""
        for each in matched:
            chosen = self._representatives.get((each.prompt_id, each.seed))
            if chosen is not None and has_changed(chosen, pixels, each.match):
                return "the picture now under this id is another one"
        return ""


def _file(result: PromptResult, seed: int) -> str:
    return f"images/{result.prompt_id}/{seed}.png"


def _by_training_id(results: Sequence[PromptResult]) -> Mapping[str, list[_Matched]]:
    groups: dict[str, list[_Matched]] = {}
    for result in results:
        for clique in result.cliques:
            if match := clique.match:
                matched = _Matched(result.prompt_id, clique.representative_seed, match)
                groups.setdefault(match.training_id, []).append(matched)
    return {training_id: groups[training_id] for training_id in sorted(groups)}


def _preparation(settings: AnalysisSettings, sampling: Sampling) -> Preparation | None:
    verification = settings.verification
    if verification is None:
        return None
    return Preparation(
        width=sampling.width,
        height=sampling.height,
        resize=verification.resize,
        crop=verification.crop,
        pillow=PIL.__version__,
    )
