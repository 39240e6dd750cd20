"""One prompt as the store holds it: descriptors of all its images, and the pictures asked for."""

import contextlib
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain, groupby

import numpy as np
from numpy.typing import NDArray

from seedsweep.storage import keys
from seedsweep.storage.errors import ImagesNotKeptError, ShardCorruptError
from seedsweep.storage.image_rows import Described
from seedsweep.storage.receipts import Receipt, read_receipt, receipt_key
from seedsweep.storage.records import Prompt, Submission
from seedsweep.storage.settings.campaign import Campaign
from seedsweep.storage.settings.sampling import Sampling
from seedsweep.storage.shards import StoredImage, read_described
from seedsweep.storage.store import Store
from seedsweep.workers.analysis.descriptors import descriptor_size
from seedsweep.workers.analysts.cost import Tally
from seedsweep.workers.stored_images import decode_pixels, naming_shard, read_images

IN_MEMORY_BYTES = 1 << 30
"""Pictures beyond that lie in a temporary file: 1,365 of 512 x 512 pixels."""


@dataclass(frozen=True, slots=True)
class StoredPrompt:
    """A prompt as the store has it.

    `images`: all that could be read, by ascending seed; `shards`: the key of each one's shard, None
    if only the prompt's `receipt` knows it; `corrupt`: the keys of the objects that could not be
    read; `missing`: the cuts of which there is neither, by their places in the submission, but for
    those whose shard is corrupt. `receipt` is read only if it is needed. `tally` counts what is
    done with the prompt.
    """

    store: Store
    text: str
    sampling: Sampling
    images: tuple[Described, ...]
    shards: tuple[str | None, ...]
    corrupt: tuple[str, ...] = ()
    missing: tuple[int, ...] = ()
    receipt: Receipt | None = None
    tally: Tally = field(default_factory=Tally, compare=False)

    @property
    def whole(self) -> bool:
        """Whether all images of the prompt are known."""
        return not self.corrupt and not self.missing

    def pixels(self, places: Sequence[int]) -> NDArray[np.uint8]:
        """The pictures of the images at these places, ascending: (n, height, width, 3) uint8.

        Their shards are read whole, each once. Beyond `IN_MEMORY_BYTES` the pictures lie in a
        temporary file. Raises `BrokenShardError` for a shard that is gone, or a picture that is not
        the one whose digest was recorded, and `ImagesNotKeptError` if one was not to stay.
        """
        if any(self.shards[place] is None for place in places):
            raise ImagesNotKeptError(
                f"The images of {self.text[:80]!r} were deleted once they were analysed, since "
                'keep = "flagged"; submit the campaign with keep = "all" and another name to make '
                "them again."
            )
        room = _room(len(places), self.sampling.height, self.sampling.width)
        done = 0
        for key, group in groupby(places, key=lambda place: self.shards[place] or ""):
            seeds = [self.images[place].seed for place in group]
            with naming_shard(key), self.tally.step("decode"):
                for place, image in enumerate(self._read(key, seeds), start=done):
                    self.tally.decoded += 1
                    decode_pixels(image, self.sampling, into=room[place])
            done += len(seeds)
        return room

    def _read(self, key: str, seeds: Sequence[int]) -> list[StoredImage]:
        with self.tally.step("read"):
            images = read_images(self.store, key, seeds)
        if images is None:
            raise ShardCorruptError("It is gone.")
        return images


def read_prompt(
    store: Store,
    submission: Submission,
    text: str,
    without: frozenset[str] = frozenset(),
    tally: Tally | None = None,
    units: int | None = None,
) -> StoredPrompt:
    """Read the descriptors of all images of a prompt; a corrupt shard is named and left out.

    What has no shard that can be read is taken from the prompt's receipt, if it has one. `without`:
    the keys of shards that are known to be corrupt already, or gone. `units`: only the first so
    many cuts of the seeds are looked at.
    """
    campaign, cuts = submission.campaign, submission.cuts[:units]
    prompt_id = Prompt(text=text).prompt_id
    shards: list[str | None] = []
    described: list[Sequence[Described] | None] = []
    corrupt: list[str] = []
    for cut in cuts:
        key = keys.shard(campaign.generation_id, prompt_id, cut)
        images = None
        with _noting_corrupt(corrupt, key):
            images = _described(key, store, campaign.sampling, without)
        shards.append(key)
        described.append(images)
    receipt = None
    if None in described and campaign.keep == "flagged":
        # Only now: it was stored before the first of the shards was deleted.
        with _noting_corrupt(corrupt, receipt_key(campaign, prompt_id)):
            receipt = _receipt(store, campaign, prompt_id)
    if receipt:
        for place in [place for place, images in enumerate(described) if images is None]:
            described[place], shards[place] = receipt.of(cuts[place]), None
        corrupt = []
    return StoredPrompt(
        store=store,
        text=text,
        sampling=campaign.sampling,
        images=tuple(chain.from_iterable(images or () for images in described)),
        shards=tuple(
            key for key, images in zip(shards, described, strict=True) for _ in images or ()
        ),
        corrupt=tuple(corrupt),
        missing=tuple(
            i for i, key in enumerate(shards) if described[i] is None and key not in corrupt
        ),
        receipt=receipt,
        tally=tally or Tally(),
    )


@contextlib.contextmanager
def _noting_corrupt(corrupt: list[str], key: str) -> Iterator[None]:
    """Leave what is corrupt unread and note its key."""
    try:
        yield
    except ShardCorruptError:
        corrupt.append(key)


def _described(
    key: str, store: Store, sampling: Sampling, without: frozenset[str]
) -> list[Described] | None:
    if key in without:
        if store.exists(key):
            raise ShardCorruptError("It is known to be corrupt.")
        return None
    images = read_described(store, key)
    _check_descriptors(images or (), sampling)
    return images


def _receipt(store: Store, campaign: Campaign, prompt_id: str) -> Receipt | None:
    receipt = read_receipt(store, campaign, prompt_id)
    _check_descriptors(receipt.images if receipt else (), campaign.sampling)
    return receipt


def _check_descriptors(images: Iterable[Described], sampling: Sampling) -> None:
    for image in images:
        if len(image.descriptor) != descriptor_size(sampling.height, sampling.width, image.blocks):
            raise ShardCorruptError("A descriptor is that of another size.")


def _room(count: int, height: int, width: int) -> NDArray[np.uint8]:
    shape = (count, height, width, 3)
    if count * height * width * 3 <= IN_MEMORY_BYTES:
        return np.empty(shape, np.uint8)
    with tempfile.TemporaryFile() as file:
        return np.memmap(file, np.uint8, "w+", shape=shape)
