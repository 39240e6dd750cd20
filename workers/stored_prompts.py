"""What the store holds of one prompt: descriptors of all its images, and the pictures asked for."""

import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

from storage import keys
from storage.errors import ShardCorruptError
from storage.records import Prompt, Sampling, SeedRange, Submission
from storage.shards import Described, StoredImage, decode_shard, read_described
from storage.store import Store
from workers.analysis.descriptors import descriptor_size
from workers.pictures import decode_png, digest_pixels

IN_MEMORY_BYTES = 1 << 30
"""Pictures beyond that lie in a temporary file: 1,365 of 512 x 512 pixels."""


class BrokenShardError(ShardCorruptError):
    """The shard `key` is corrupt, or gone."""

    def __init__(self, key: str, reason: str) -> None:
        super().__init__(f"The shard {key} cannot be used: {reason}")
        self.key = key


@dataclass(frozen=True, slots=True)
class StoredPrompt:
    """A prompt as the store has it.

    `images`: all that could be read, by ascending seed; `shards`: the key of each one's shard;
    `corrupt`: the keys of the shards that could not be read. A shard that is missing is in none.
    """

    store: Store
    text: str
    sampling: Sampling
    images: tuple[Described, ...]
    shards: tuple[str, ...]
    corrupt: tuple[str, ...]

    def pixels(self, places: Sequence[int]) -> NDArray[np.uint8]:
        """The pictures of the images at these places, ascending: (n, height, width, 3) uint8.

        Their shards are read whole, each once. Beyond `IN_MEMORY_BYTES` the pictures lie in a
        temporary file. Raises `BrokenShardError` for a shard that is gone, or a picture that is not
        the one whose digest was recorded.
        """
        room = _room(len(places), self.sampling.height, self.sampling.width)
        done = 0
        for key, group in groupby(places, key=self.shards.__getitem__):
            seeds = [self.images[place].seed for place in group]
            try:
                for place, image in enumerate(self._read(key, seeds), start=done):
                    room[place] = decode_pixels(image, self.sampling)
            except ShardCorruptError as error:
                raise BrokenShardError(key, str(error)) from error
            done += len(seeds)
        return room

    def _read(self, key: str, seeds: Sequence[int]) -> list[StoredImage]:
        data = self.store.read(key)
        if data is None:
            raise ShardCorruptError("It is gone.")
        return decode_shard(data, key, seeds)


def read_prompt(
    store: Store, submission: Submission, text: str, without: frozenset[str] = frozenset()
) -> StoredPrompt:
    """Read the descriptors of all images of a prompt; a corrupt shard is named and left out.

    `without`: the keys of shards that are known to be corrupt already.
    """
    campaign = submission.campaign
    images: list[Described] = []
    shards: list[str] = []
    corrupt: list[str] = []
    for cut in submission.cuts:
        key = keys.shard(campaign.generation_id, Prompt(text=text).prompt_id, cut)
        try:
            found = _described(store, key, campaign.sampling, without)
        except ShardCorruptError:
            corrupt.append(key)
            continue
        images += found
        shards += [key] * len(found)
    return StoredPrompt(
        store, text, campaign.sampling, tuple(images), tuple(shards), tuple(corrupt)
    )


def corrupt_shards(
    store: Store,
    generation_id: str,
    prompt_id: str,
    cuts: Iterable[SeedRange],
    sampling: Sampling,
) -> list[str]:
    """The keys of the prompt's shards that are not what was written, every picture decoded."""
    corrupt = []
    for cut in cuts:
        key = keys.shard(generation_id, prompt_id, cut)
        data = store.read(key)
        try:
            for image in decode_shard(data, key) if data is not None else ():
                decode_pixels(image, sampling)
        except ShardCorruptError:
            corrupt.append(key)
    return corrupt


def decode_pixels(image: StoredImage, sampling: Sampling) -> NDArray[np.uint8]:
    """Decode a picture of the campaign's size to (height, width, 3) uint8.

    Raises `ShardCorruptError` where it has another size, or pixels whose digest is not the
    recorded one.
    """
    pixels = decode_png(image.png)
    height, width = pixels.shape[:2]
    if (width, height) != (sampling.width, sampling.height):
        raise ShardCorruptError(
            f"The image of seed {image.seed} is {width} x {height} and not {sampling.width} x "
            f"{sampling.height} pixels; make its shard anew."
        )
    if digest_pixels(pixels) != image.sha256:
        raise ShardCorruptError(
            f"The image of seed {image.seed} has not the pixels that its sha256 names; "
            "make its shard anew."
        )
    return pixels


def _described(
    store: Store, key: str, sampling: Sampling, without: frozenset[str]
) -> list[Described]:
    if key in without:
        raise ShardCorruptError("It is known to be corrupt.")
    found = read_described(store, key) or []
    for image in found:
        if len(image.descriptor) != descriptor_size(sampling.height, sampling.width, image.blocks):
            raise ShardCorruptError("A descriptor is that of another size.")
    return found


def _room(count: int, height: int, width: int) -> NDArray[np.uint8]:
    shape = (count, height, width, 3)
    if count * height * width * 3 <= IN_MEMORY_BYTES:
        return np.empty(shape, np.uint8)
    with tempfile.TemporaryFile() as file:
        return np.memmap(file, np.uint8, "w+", shape=shape)
