"""Hold every stored shard of a campaign against what was made; have what is wrong made again."""

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scheduler.plan import Plan
from scheduler.restoring import load_plan
from storage import keys
from storage.campaigns import load_campaign, load_parked
from storage.errors import ShardCorruptError
from storage.ledger import Ledger
from storage.records import Sampling, WorkUnit
from storage.results import drop_results
from storage.shards import StoredImage, decode_shard
from storage.store import Store
from workers.analysis.descriptors import describe
from workers.stored_prompts import decode_pixels

READERS = 8
IN_FLIGHT = 2 * READERS
"""So many shards at most are in memory, whatever the campaign's size."""


@dataclass(frozen=True, slots=True)
class Fault:
    """A shard that is not what was made: its unit's index, its key, and what is wrong with it."""

    index: int
    key: str
    reason: str


@dataclass(frozen=True, slots=True)
class Checkup:
    """What was found of a campaign's units; `corrupt` and `holes` are by ascending index.

    Every unit is one of `stored` (`corrupt` ones among them), `holes`, `parked` or `missing`.
    `holes`: the ledger says done, but there is no shard; `missing`: simply not made yet; `parked`:
    given up. `images`: how many pictures the shards that are not corrupt hold.
    """

    units: int
    stored: int
    images: int
    corrupt: tuple[Fault, ...]
    holes: tuple[int, ...]
    missing: int
    parked: int


def check_campaign(
    store: Store, campaign_id: str, ledger: Ledger | None, progress: Callable[[int, int], None]
) -> Checkup:
    """Read every shard of a campaign whole; changes nothing.

    A shard that passes holds exactly its unit's seeds of its prompt, and every picture of it has
    the campaign's size, the pixels whose digest was recorded and the descriptor of those pixels.
    `progress` is called with how many shards are read, and of how many. Without a ledger no holes
    are known. Raises `ConfigError` for an unknown campaign, and whatever the store or the broker
    raises.
    """
    plan = load_plan(store, load_campaign(store, campaign_id))
    # First the ledger: a unit becomes done after its shard, so what is listed later holds it.
    claimed_done = ledger.done_units(campaign_id) if ledger else None
    stored = plan.done(store.list(keys.shards_prefix(plan.campaign.generation_id)))
    indexes = np.flatnonzero(stored).tolist()
    images, corrupt = 0, []
    progress(0, len(indexes))
    examined = zip(indexes, _examine_all(store, plan, indexes), strict=True)
    for count, (index, found) in enumerate(examined, start=1):
        if isinstance(found, Fault):
            corrupt.append(found)
        elif found is None:
            stored[index] = False
        else:
            images += found
        progress(count, len(indexes))
    parked = _parked(store, plan) & ~stored
    holes = np.zeros_like(stored) if claimed_done is None else claimed_done & ~stored & ~parked
    return Checkup(
        units=len(plan),
        stored=int(stored.sum()),
        images=images,
        corrupt=tuple(corrupt),
        holes=tuple(np.flatnonzero(holes).tolist()),
        missing=int((~stored & ~parked & ~holes).sum()),
        parked=int(parked.sum()),
    )


def repair(store: Store, campaign_id: str, ledger: Ledger | None, checkup: Checkup) -> int:
    """Delete corrupt shards and have them and the holes made again; returns how many units.

    With a ledger the units are open again at once and their prompts analysed again; without one
    the campaign's next run finds the shards missing. The results of these prompts are dropped in
    every analysis of the campaign; those of other prompts stay. A broker that does not answer
    raises `BrokerUnavailableError`, and results that cannot be read `ShardCorruptError`, before
    any shard is deleted. Whatever ends this early, another check finds the rest; and one of any
    other campaign that shares a shard finds it as a hole there.
    """
    indexes = sorted({*checkup.holes, *(fault.index for fault in checkup.corrupt)})
    if not indexes:
        return 0
    if ledger:
        ledger.ping()
    plan = load_plan(store, load_campaign(store, campaign_id))
    # Results go first: once a shard is gone, nothing tells any more that a verdict is stale.
    drop_results(store, campaign_id, {plan.unit(index).prompt_id for index in indexes})
    for fault in checkup.corrupt:
        store.delete(fault.key)
    if ledger:
        ledger.reopen(campaign_id, indexes)
    return len(indexes)


def _examine_all(store: Store, plan: Plan, indexes: list[int]) -> Iterator[int | Fault | None]:
    """Examine the units on `READERS` threads; yields what `_examine` says of each, in order."""
    pool = ThreadPoolExecutor(READERS, thread_name_prefix="check")
    under_way: deque[Future[int | Fault | None]] = deque()
    try:
        for index in indexes:
            if len(under_way) == IN_FLIGHT:
                yield under_way.popleft().result()
            under_way.append(pool.submit(_examine, store, plan.unit(index), plan.campaign.sampling))
        for future in under_way:
            yield future.result()
    finally:
        pool.shutdown(cancel_futures=True)


def _examine(store: Store, unit: WorkUnit, sampling: Sampling) -> int | Fault | None:
    """How many images the unit's shard holds, or what is wrong with it; None where it is gone."""
    key = keys.unit_shard(unit)
    data = store.read(key)
    if data is None:
        return None
    try:
        images = decode_shard(data, key)
        for image in images:
            _verify(image, sampling)
    except ShardCorruptError as error:
        return Fault(unit.index, key, str(error))
    return len(images)


def _verify(image: StoredImage, sampling: Sampling) -> None:
    pixels = decode_pixels(image, sampling)
    if describe(pixels, image.blocks) != image.descriptor:
        raise ShardCorruptError(
            f"The descriptor of seed {image.seed} is not that of its image; make its shard anew."
        )


def _parked(store: Store, plan: Plan) -> NDArray[np.bool_]:
    """Which units were given up: (units,) bool."""
    parked = np.zeros(len(plan), dtype=np.bool_)
    parked[[unit.index for unit in load_parked(store, plan.campaign.campaign_id)]] = True
    return parked
