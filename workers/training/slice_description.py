"""One slice of a training set described: what tells which pictures are copies, and which captions
they have."""

import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from seedsweep.storage.errors import TrainingSetError
from seedsweep.storage.settings.analysis import Verification
from seedsweep.workers.analysis.cuts import centres
from seedsweep.workers.analysis.frames import FRAME, frames_of
from seedsweep.workers.analysis.outliers import Thumbnails, thumbnails
from seedsweep.workers.analysis.running_nearest import content_digest
from seedsweep.workers.analysis.sketches import Sketches, joined, sketch
from seedsweep.workers.training.embedding_model import BATCH, EmbeddingModel
from seedsweep.workers.training.pictures import Reading, readable_pictures
from seedsweep.workers.training.slice_queries import PLACES
from seedsweep.workers.training.slice_search import Searcher, peak_bytes
from seedsweep.workers.training.slices import Slice, read_captions, read_slice

CAPTION_CHARACTERS = 1_000_000
"""A longer caption is no prompt."""

NO_CAPTION = 0

_BLOCK = 256
_UNFIT = re.compile("[\0\ud800-\udfff]")


@dataclass(frozen=True, slots=True, eq=False)
class Description:
    """What is known of the n pictures that can be read in the slice with this number, in order.

    `positions` (n,) int64 in the training set; `digests` (n,) uint64, equal for exact copies;
    `captions` (n,) uint64, equal for equal ones, `NO_CAPTION` if there is none or it is `unfit`, as
    so many are, to be a prompt. `peak_bytes`: as of `SliceMatches`. `embeddings`: by picture the
    vectors of it, and of its mirror image if that counts, (n, ways, values), if a model was given.
    """

    number: int
    positions: NDArray[np.int64]
    digests: NDArray[np.uint64]
    captions: NDArray[np.uint64]
    sketches: Sketches
    thumbnails: Thumbnails
    unfit: int
    reading: Reading
    peak_bytes: int
    embeddings: NDArray[np.float16] | None = None


@dataclass(frozen=True, slots=True)
class NamedPicture:
    """A training picture: its position, what it is called, and its caption as a prompt."""

    position: int
    name: str
    caption: str


class Describer(Searcher):
    """One actor: it holds nothing but the slice in hand."""

    def describe(
        self,
        number: int,
        part: Slice,
        settings: Verification,
        embedding: EmbeddingModel | None = None,
    ) -> Description:
        """As `describe_slice`."""
        return describe_slice(number, part, settings, embedding)

    def names(self, number: int, part: Slice, places: Sequence[int]) -> list[NamedPicture]:
        """As `name_pictures`."""
        return name_pictures(number, part, places)


def describe_slice(
    number: int, part: Slice, settings: Verification, embedding: EmbeddingModel | None = None
) -> Description:
    """Describe every picture of the slice, the set's `number`-th; what cannot be read is counted.

    Memory is bounded by some 50 MB and 400 bytes a picture.
    """
    reading, names = Reading(), []
    places: list[int] = []
    digests: list[int] = []
    sketches, small = [], [thumbnails(frames_of(np.empty((0, 1, 1, 3), np.uint8)))]
    pictures = readable_pictures(part, settings, (FRAME, FRAME), reading)
    while some := list(islice(pictures, _BLOCK)):
        frames = frames_of(np.stack([pixels for _, _, pixels, _ in some]))
        places += [place for place, _, _, _ in some]
        names += [name for _, name, _, _ in some]
        digests += [content_digest(frame) for frame in frames]
        sketches.append(sketch(frames, centres(frames)))
        small.append(thumbnails(frames))
    captions = read_captions(part, names)
    prompts = [prompt_of(captions.get(name)) for name in names]
    blank = sum(not captions.get(name, "").strip() for name in names)
    return Description(
        number,
        np.array(places, np.int64) + number * PLACES,
        np.array(digests, np.uint64),
        np.array([caption_digest(prompt) for prompt in prompts], np.uint64),
        joined(sketches),
        np.concatenate(small),
        sum(prompt is None for prompt in prompts) - blank,
        reading,
        peak_bytes(),
        _embedded(part, settings, embedding, places) if embedding else None,
    )


def _embedded(
    part: Slice, settings: Verification, embedding: EmbeddingModel, places: list[int]
) -> NDArray[np.float16]:
    """The vectors of the pictures at these places, which are all that can be read: decoded anew,
    since a model takes another size, which costs little beside it."""
    brought = settings.model_copy(update={"resize": embedding.settings.resize})
    size = (embedding.scaled, embedding.scaled)
    pictures = readable_pictures(part, brought, size, Reading(), wanted=set(places).__contains__)
    ways = [slice(None), slice(None, None, -1)] if settings.flip else [slice(None)]
    made, met = [np.empty((0, len(ways), embedding.values), np.float16)], []
    while some := list(islice(pictures, BATCH)):
        met += [place for place, _, _, _ in some]
        pixels = np.stack([picture for _, _, picture, _ in some])
        made.append(np.stack([embedding.embed(pixels[:, :, way]) for way in ways], axis=1))
    if met != places:
        raise TrainingSetError(f"{part.name} changed while it was read; run this again.")
    return np.concatenate(made)


def name_pictures(number: int, part: Slice, places: Sequence[int]) -> list[NamedPicture]:
    """The pictures at these places of the slice by name, none of them decoded, without those that
    have no caption any more."""
    found = dict(_names(part, set(places)))
    captions = read_captions(part, list(found.values()))
    prompts = ((place, name, prompt_of(captions.get(name))) for place, name in found.items())
    return [
        NamedPicture(number * PLACES + place, name, text) for place, name, text in prompts if text
    ]


def prompt_of(caption: str | None) -> str | None:
    """The caption as a prompt: without white space around it, None if nothing is left or it cannot
    be written as text: half a character, a NUL, or more than `CAPTION_CHARACTERS`."""
    text = (caption or "").strip()
    is_fit = text and len(text) <= CAPTION_CHARACTERS and not _UNFIT.search(text)
    return text if is_fit else None


def caption_digest(prompt: str | None) -> int:
    """Eight bytes that name the text; `NO_CAPTION` for none."""
    if prompt is None:
        return NO_CAPTION
    return int.from_bytes(hashlib.sha256(prompt.encode()).digest()[:8], "big") or 1


def _names(part: Slice, wanted: set[int]) -> Iterator[tuple[int, str]]:
    left = len(wanted)
    for place, (name, _) in enumerate(read_slice(part)):
        if place in wanted:
            yield place, name
            left -= 1
        if not left:
            return
