"""Encode, describe and store units beside the rendering of the next one."""

import queue
import threading
from collections.abc import Callable, Sequence

from storage import keys
from storage.records import WorkUnit
from storage.shards import StoredImage, encode_shard
from storage.store import Store
from workers.analysis.descriptors import describe
from workers.pictures import digest_pixels, encode_png
from workers.pipelines import Generation

BUFFERED_UNITS = 2

Stored = Callable[[WorkUnit], None]
Failed = Callable[[WorkUnit, Exception], None]


class Writer:
    """A thread that stores rendered units in the order they come.

    `stored` is called once a unit's shard exists, `failed` where it could not be stored; both from
    the writer's thread.
    """

    def __init__(self, store: Store, stored: Stored, failed: Failed) -> None:
        self._store, self._stored, self._failed = store, stored, failed
        self._units: queue.Queue[tuple[WorkUnit, Sequence[Generation]] | None] = queue.Queue(
            BUFFERED_UNITS
        )
        self._thread = threading.Thread(target=self._run, name="writer", daemon=True)
        self._thread.start()

    def put(self, unit: WorkUnit, generations: Sequence[Generation]) -> None:
        """Hand a unit over; waits only while `BUFFERED_UNITS` others are not stored yet."""
        self._units.put((unit, generations))

    def close(self) -> None:
        """Store what was handed over, then stop."""
        self._units.put(None)
        self._thread.join()

    def _run(self) -> None:
        while (item := self._units.get()) is not None:
            unit, generations = item
            try:
                store_unit(self._store, unit, generations)
                self._stored(unit)
            except Exception as error:
                self._failed(unit, error)


def store_unit(store: Store, unit: WorkUnit, generations: Sequence[Generation]) -> None:
    """Write the unit's one shard; fine where another worker wrote it first."""
    images = [_describe(generation) for generation in generations]
    store.create(keys.unit_shard(unit), encode_shard(unit, images))


def _describe(generation: Generation) -> StoredImage:
    return StoredImage(
        seed=generation.seed,
        png=encode_png(generation.pixels),
        descriptor=describe(generation.pixels),
        sha256=digest_pixels(generation.pixels),
        flaw=generation.flaw,
        provenance=generation.provenance,
    )
