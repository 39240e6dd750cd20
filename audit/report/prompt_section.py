"""What one flagged prompt shows: its clique's pictures, its training picture, its distances."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Self

import cv2
import numpy as np

from seedsweep.audit.findings.matched_pictures import (
    Pixels,
    TrainingPictures,
    as_compared,
    has_changed,
)
from seedsweep.audit.report.histogram import Histogram, bin_distances
from seedsweep.storage import keys
from seedsweep.storage.errors import ShardCorruptError
from seedsweep.storage.prompt_results import Clique, Match, PromptResult
from seedsweep.storage.record import SeedRange
from seedsweep.storage.records import Submission
from seedsweep.storage.settings.campaign import Campaign
from seedsweep.storage.shards import StoredImage
from seedsweep.storage.store import Store
from seedsweep.workers.analysis.distances import tiled_pairs
from seedsweep.workers.images import digest_pixels, encode_png
from seedsweep.workers.stored_images import decode_pixels, read_images

PICTURES_SHOWN = 16
HISTOGRAM_SEEDS = 45
PIXEL_ART_SIDE = 128
"""Pictures up to this size are shown pixel by pixel, larger ones reduced and smoothed."""
_LARGE, _MEDIUM, _THUMB = 512, 192, 64


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture as data: URIs; `uri` is None if `missing` says why there is nothing to show."""

    caption: str
    uri: str | None
    thumb: str | None
    missing: str = ""


@dataclass(frozen=True, slots=True)
class Repeated:
    """A further clique of a prompt: its representative, and the picture of its match if any."""

    clique: Clique
    representative: Picture
    training: Picture | None


@dataclass(frozen=True, slots=True)
class PromptSection:
    """What a flagged prompt's section shows.

    `others` are the clique's pictures beside the representative, by seed; with it they are at most
    `PICTURES_SHOWN`. `training` is None if the prompt has no match. `histogram` is of the first
    `HISTOGRAM_SEEDS` usable pictures; `clique_in_histogram` of these are in the clique. `further`:
    the other pictures that the prompt repeats. `shown`: the digests of representative and training
    picture, empty if one is not there. `provenance`: what made the pictures that were read.
    """

    representative: Picture
    others: tuple[Picture, ...]
    training: Picture | None
    histogram: Histogram | None
    clique_in_histogram: int
    further: tuple[Repeated, ...]
    shown: tuple[str, str]
    notes: tuple[str, ...]
    provenance: frozenset[tuple[str, str]]


@dataclass
class PromptImages:
    """One prompt's stored images, read a unit at a time and only when they are asked for."""

    store: Store
    campaign: Campaign
    cuts: Sequence[SeedRange]
    prompt_id: str
    notes: list[str] = field(default_factory=list)
    _read: dict[SeedRange, dict[int, StoredImage]] = field(default_factory=dict)

    @classmethod
    def of(cls, store: Store, submission: Submission, result: PromptResult) -> Self:
        """The images of a result's prompt, which may have settings of its own."""
        submission = submission.of(result.settings)
        return cls(store, submission.campaign, submission.cuts, result.prompt_id)

    def image(self, seed: int) -> StoredImage | None:
        """The image of this seed, or None if no readable shard holds it."""
        cut = next((cut for cut in self.cuts if cut.first <= seed <= cut.last), None)
        return self._unit(cut).get(seed) if cut else None

    def pixels(self, seed: int) -> Pixels | None:
        """The pixels of this seed, as they were made, or None if no readable shard has them."""
        image = self.image(seed)
        try:
            return decode_pixels(image, self.campaign.sampling) if image else None
        except ShardCorruptError as error:
            self.notes.append(str(error))
            return None

    def usable(self, count: int) -> list[StoredImage]:
        """The first `count` images, by seed, that have no flaw."""
        images: list[StoredImage] = []
        for cut in self.cuts:
            if len(images) >= count:
                break
            images += [image for image in self._unit(cut).values() if image.flaw is None]
        return images[:count]

    def provenance(self) -> frozenset[tuple[str, str]]:
        """What made the images read so far: (label, value)."""
        images = [image for unit in self._read.values() for image in unit.values()]
        records = {image.provenance for image in images}
        shared = frozenset(
            ("made for another prompt, the same to the model", image.same_as)
            for image in images
            if image.same_as
        )
        return shared | frozenset(
            pair
            for record in records
            for pair in (
                ("device", record.device),
                ("dtype", record.dtype),
                ("threads", str(record.threads)),
                ("batch size", str(record.batch_size)),
                ("versions", record.versions),
                ("settings not used", ", ".join(record.unused)),
            )
            if pair[1]
        )

    def _unit(self, cut: SeedRange) -> dict[int, StoredImage]:
        if cut not in self._read:
            key = keys.shard(self.campaign.generation_id, self.prompt_id, cut)
            try:
                images = read_images(self.store, key)
                if images is None:
                    why = ' (keep = "flagged")' if self.campaign.keep == "flagged" else ""
                    self.notes.append(f"Seeds {cut.first}-{cut.last} have no shard{why}.")
            except ShardCorruptError as error:
                images = None
                self.notes.append(str(error))
            self._read[cut] = {image.seed: image for image in images or ()}
        return self._read[cut]


def gather_section(
    images: PromptImages,
    result: PromptResult,
    training: TrainingPictures,
    tiles: int,
    threshold: float | None,
) -> PromptSection:
    """Gather what a flagged prompt's section shows.

    What cannot be read is said in place of the picture and stops nothing. `threshold` is the edge
    threshold, None if it is not known. Raises `StoreUnavailableError` if the store fails.
    """
    chosen = result.representative_seed
    others = [seed for seed in result.clique_seeds if seed != chosen][: PICTURES_SHOWN - 1]
    representative = None if chosen is None else images.pixels(chosen)
    seeds, histogram = _histogram(images, tiles, threshold)
    return PromptSection(
        representative=draw_picture(f"seed {chosen}", representative, _LARGE),
        others=tuple(draw_picture(f"seed {s}", images.pixels(s), _MEDIUM) for s in others),
        training=_training_picture(result.match, representative, training),
        histogram=histogram,
        clique_in_histogram=len(seeds & set(result.clique_seeds)),
        further=tuple(_repeated(clique, images, training) for clique in result.further_cliques),
        shown=_digests(result.match, representative, training),
        notes=tuple(images.notes),
        provenance=images.provenance(),
    )


def _digests(
    match: Match | None, representative: Pixels | None, training: TrainingPictures
) -> tuple[str, str]:
    """The digests of the two pictures that people label; empty if one is not there."""
    trained = training.pictures.get(match.training_id) if match else None
    made, known = (
        "" if pixels is None else digest_pixels(pixels) for pixels in (representative, trained)
    )
    return made, known


def _histogram(
    images: PromptImages, tiles: int, threshold: float | None
) -> tuple[frozenset[int], Histogram | None]:
    decoded = {image.seed: images.pixels(image.seed) for image in images.usable(HISTOGRAM_SEEDS)}
    readable = {seed: pixels for seed, pixels in decoded.items() if pixels is not None}
    seeds = frozenset(readable)
    if len(readable) < 2:
        return seeds, None
    stack = np.stack(list(readable.values()))
    pairs = tiled_pairs(stack, tiles, threshold or 0.0)
    edges = pairs.edges if threshold is not None else np.zeros_like(pairs.edges)
    return seeds, bin_distances(pairs.distances, edges, threshold)


def _repeated(clique: Clique, images: PromptImages, training: TrainingPictures) -> Repeated:
    seed = clique.representative_seed
    pixels = images.pixels(seed)
    picture = draw_picture(f"seed {seed}", pixels, _LARGE)
    return Repeated(clique, picture, _training_picture(clique.match, pixels, training))


def _training_picture(
    match: Match | None, representative: Pixels | None, training: TrainingPictures
) -> Picture | None:
    """The picture of the match, unless it is no longer the one that was matched."""
    if match is None:
        return None
    name, reason = match.training_id, training.problem
    pixels = training.pictures.get(name)
    if pixels is None:
        reason = reason or "the training set no longer holds this picture"
    elif representative is not None and has_changed(representative, pixels, match):
        pixels = None
        reason = "the picture now under this id is another one: the training set has changed"
    else:
        pixels = as_compared(pixels, match)
    return draw_picture(name, pixels, _LARGE, reason)


def draw_picture(caption: str, pixels: Pixels | None, side: int, missing: str = "") -> Picture:
    """A picture as the page has it, reduced to `side`; if None, the page says what is `missing`."""
    if pixels is None:
        return Picture(caption, None, None, missing or "not stored")
    return Picture(caption, data_uri(pixels, side), data_uri(pixels, _THUMB))


def data_uri(pixels: Pixels, side: int) -> str:
    """The picture as a data: URI: exact if it is small, else reduced to `side` and lossy."""
    longest = max(pixels.shape[:2])
    if longest <= PIXEL_ART_SIDE:
        return f"data:image/png;base64,{base64.b64encode(encode_png(pixels)).decode()}"
    scale = min(1.0, side / longest)
    size = (max(1, round(pixels.shape[1] * scale)), max(1, round(pixels.shape[0] * scale)))
    reduced = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
    bgr = cv2.cvtColor(reduced, cv2.COLOR_RGB2BGR)
    _, jpeg = cv2.imencode(".jpg", bgr, (cv2.IMWRITE_JPEG_QUALITY, 88))
    return f"data:image/jpeg;base64,{base64.b64encode(jpeg.tobytes()).decode()}"
