"""Encode, describe and store units beside the rendering of the next one."""

import logging
import queue
import threading
import time
from collections.abc import Callable, Sequence

from seedsweep.storage.errors import ConfigError, StoreUnavailableError
from seedsweep.storage.records import WorkUnit
from seedsweep.storage.settings.sampling import DEFAULT_BLOCKS, Blocks
from seedsweep.storage.shards import StoredImage, encode_shard
from seedsweep.storage.store import Store
from seedsweep.workers.analysis.descriptors import describe
from seedsweep.workers.images import digest_pixels, encode_png
from seedsweep.workers.monitoring import health, metrics
from seedsweep.workers.monitoring.log_context import about_unit
from seedsweep.workers.pipelines.protocol import Generation

log = logging.getLogger(__name__)

BUFFERED_UNITS = 2
PATIENCE_SECONDS = 120.0
"""For so long a store that is away, or refuses, is tried again: images cost more to make than to
hold."""

RETRY_SECONDS = 1.0

Encode = Callable[[], bytes]
"""Gives a unit's shard; called once, in the writer's thread."""

Stored = Callable[[WorkUnit], None]
Failed = Callable[[WorkUnit, Exception], None]


class Writer:
    """A thread that stores units in the order they come.

    `failed` is called from the writer's thread if a unit could not be stored.
    """

    def __init__(self, store: Store, failed: Failed) -> None:
        self._store, self._failed = store, failed
        self._units: queue.Queue[tuple[WorkUnit, str, Encode, Stored] | None] = queue.Queue(
            BUFFERED_UNITS
        )
        self._under_way: set[str] = set()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="writer", daemon=True)
        self._thread.start()

    def put(self, unit: WorkUnit, key: str, encode: Encode, stored: Stored) -> None:
        """Hand a unit over, to be stored under this key; waits only while `BUFFERED_UNITS` others
        are not stored yet. `stored` is called, from the writer's thread, once its shard exists."""
        self._under_way.add(key)
        self._units.put((unit, key, encode, stored))

    def holds(self, key: str) -> bool:
        """Whether what was handed over under this key is neither stored nor given up yet."""
        return key in self._under_way

    def close(self) -> None:
        """Store what was handed over, then stop; a store that is away is waited for no longer."""
        self._closing.set()
        self._units.put(None)
        self._thread.join()

    def _run(self) -> None:
        while (item := self._units.get()) is not None:
            with about_unit(item[0]):
                self._store_unit(*item)

    def _store_unit(self, unit: WorkUnit, key: str, encode: Encode, stored: Stored) -> None:
        health.begin(health.STORING)
        try:
            with metrics.STAGE_SECONDS.labels("encode").time():
                shard = encode()
            with metrics.STAGE_SECONDS.labels("upload").time():
                self._create(key, shard)
            stored(unit)
        except Exception as error:
            self._failed(unit, error)
        self._under_way.discard(key)
        health.end(health.STORING)

    def _create(self, key: str, shard: bytes) -> None:
        deadline, is_said = time.monotonic() + PATIENCE_SECONDS, False
        while True:
            try:
                self._store.create(key, shard)
                return
            except (StoreUnavailableError, ConfigError) as error:
                if self._closing.wait(RETRY_SECONDS) or time.monotonic() > deadline:
                    raise
                if not is_said:
                    log.warning("The shard %s is kept and tried again: %s", key, error)
                is_said = True


def encode_unit(
    unit: WorkUnit, generations: Sequence[Generation], blocks: Blocks = DEFAULT_BLOCKS
) -> bytes:
    """Encode a rendered unit as its shard, its images described with these blocks."""
    return encode_shard(unit, [_describe(g, blocks) for g in generations])


def _describe(generation: Generation, blocks: Blocks) -> StoredImage:
    return StoredImage(
        seed=generation.seed,
        png=encode_png(generation.pixels),
        descriptor=describe(generation.pixels, blocks),
        blocks=blocks,
        sha256=digest_pixels(generation.pixels),
        flaw=generation.flaw,
        provenance=generation.provenance,
    )
