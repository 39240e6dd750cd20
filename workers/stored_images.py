"""The images of a shard as they are stored, and their pixels, held to the recorded digest."""

import contextlib
from collections.abc import Collection, Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from seedsweep.storage import keys
from seedsweep.storage.corrupt import corrupt_where_wrong
from seedsweep.storage.errors import ShardCorruptError
from seedsweep.storage.image_rows import REMEDY
from seedsweep.storage.record import SeedRange
from seedsweep.storage.settings.sampling import Sampling
from seedsweep.storage.shards import StoredImage, decode_shard
from seedsweep.storage.store import Store
from seedsweep.workers.images import decode_png, digest_pixels


class BrokenShardError(ShardCorruptError):
    """The shard `key` is corrupt, or gone."""

    def __init__(self, key: str, reason: str) -> None:
        super().__init__(f"The shard {key} cannot be used: {reason}")
        self.key = key


@contextlib.contextmanager
def naming_shard(key: str) -> Iterator[None]:
    """Raise what is corrupt or gone as `BrokenShardError`, which names the shard."""
    try:
        yield
    except ShardCorruptError as error:
        raise BrokenShardError(key, str(error)) from error


def read_images(
    store: Store, key: str, seeds: Collection[int] | None = None
) -> list[StoredImage] | None:
    """Read a shard's images in the order of the seeds, only those of `seeds` if they are given.

    Returns None if there is no shard. Raises `ShardCorruptError` as `decode_shard` does; the
    pictures are not decoded.
    """
    data = store.read(key)
    return None if data is None else decode_shard(data, key, seeds)


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
        try:
            for image in read_images(store, key) or ():
                decode_pixels(image, sampling)
        except ShardCorruptError:
            corrupt.append(key)
    return corrupt


def decode_pixels(
    image: StoredImage, sampling: Sampling, into: NDArray[np.uint8] | None = None
) -> NDArray[np.uint8]:
    """Decode a picture of the campaign's size to (height, width, 3) uint8, which is `into` if that
    is given.

    Raises `ShardCorruptError` if it says that it has another size, which is not decoded, or has
    pixels whose digest is not the recorded one.
    """
    with corrupt_where_wrong(f"The image of seed {image.seed}", REMEDY):
        pixels = decode_png(image.png, sampling.width, sampling.height, into)
        if digest_pixels(pixels) != image.sha256:
            raise ValueError("it has other pixels than its sha256 names")
    return pixels
