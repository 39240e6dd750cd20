"""Check what is stored of a campaign, and have what is wrong made again: every shard against its
hashes, every decision on a cohort against the scores."""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from seedsweep.scheduler.campaign.current import settings_now
from seedsweep.scheduler.campaign.decisions import WrongDecision, decide_anew, wrong_decisions
from seedsweep.scheduler.campaign.plan import Plan
from seedsweep.scheduler.campaign.restore import load_plan, stored_units
from seedsweep.storage import keys
from seedsweep.storage.campaigns import forget_done, load_campaign, load_parked
from seedsweep.storage.errors import ShardCorruptError
from seedsweep.storage.image_rows import REMEDY
from seedsweep.storage.parallel import map_in_order
from seedsweep.storage.receipts import list_receipts, read_receipt, receipt_key
from seedsweep.storage.records import Submission
from seedsweep.storage.results import drop_results, results_by
from seedsweep.storage.scores import read_scores
from seedsweep.storage.settings.sampling import Sampling
from seedsweep.storage.shards import StoredImage
from seedsweep.storage.store import Store
from seedsweep.workers.analysis.descriptors import describe
from seedsweep.workers.stored_images import decode_pixels, read_images

if TYPE_CHECKING:
    from seedsweep.storage.ledger import Ledger

READERS = 8


@dataclass(frozen=True, slots=True)
class Fault:
    """A shard that is not what was made: its unit's index, its key, and what is wrong with it."""

    index: int
    key: str
    reason: str


@dataclass(frozen=True, slots=True)
class Checkup:
    """What was found of a campaign's units; `corrupt` and `holes` are by ascending index.

    Every unit is one of `stored` and `receipted` (`corrupt` ones among them), `holes`, `parked` or
    `missing`. `receipted`: its images were not to stay, and the prompt's receipt is there; `holes`:
    the ledger or a result says done, but there is neither; `missing`: simply not made yet;
    `parked`: given up. `images`: how many pictures the shards that are not corrupt hold;
    `images_shared`: how many of these were taken over from another prompt that is the same to the
    model. `decisions`: what was wrongly decided of cohorts.
    """

    units: int
    stored: int
    receipted: int
    images: int
    corrupt: tuple[Fault, ...]
    holes: tuple[int, ...]
    missing: int
    parked: int
    images_shared: int = 0
    decisions: tuple[WrongDecision, ...] = ()

    @property
    def is_sound(self) -> bool:
        """Whether nothing has to be mended."""
        return not (self.corrupt or self.holes or self.decisions)


def check_campaign(
    store: Store, campaign_id: str, ledger: "Ledger | None", progress: Callable[[int, int], None]
) -> Checkup:
    """Read every shard, every receipt and every decision of a campaign whole; changes nothing.

    A shard that passes holds exactly its unit's seeds of its prompt, and every picture of it has
    the campaign's size, the pixels whose digest was recorded and the descriptor of those pixels.
    `progress` is called with how many objects are read, and of how many. Without a ledger, or if it
    does not know the campaign, holes are known of prompts that were judged with all their seeds.
    Raises `ConfigError` for an unknown campaign, and whatever the store or the broker raises.
    """
    submission = load_campaign(store, campaign_id)
    plan = load_plan(store, submission)
    # First the ledger: a unit becomes done after its shard, so what is listed later holds it.
    claimed_done = ledger.done_units(campaign_id) if ledger else None
    if claimed_done is None:
        claimed_done = _judged_units(store, submission, plan)
    stored = stored_units(store, plan)
    indexes = np.flatnonzero(stored).tolist()
    images, shared, corrupt = 0, 0, []
    progress(0, len(indexes))
    examine = partial(_examine, store, plan)
    examined = zip(indexes, map_in_order(examine, indexes, READERS), strict=True)
    for count, (index, outcome) in enumerate(examined, start=1):
        if isinstance(outcome, Fault):
            corrupt.append(outcome)
        elif outcome is None:
            stored[index] = False
        else:
            images += outcome.images
            shared += outcome.shared
        progress(count, len(indexes))
    # Receipts last: they were there before the first shard that went meanwhile.
    receipted = plan.receipted(list_receipts(store, campaign_id)) & ~stored
    faults = _examine_receipts(store, plan, receipted, partial(_further, progress, len(indexes)))
    corrupt = sorted([*corrupt, *faults], key=lambda fault: fault.index)
    parked = _parked(store, plan) & ~stored & ~receipted
    there = stored | receipted | parked
    holes = claimed_done & ~there
    return Checkup(
        units=len(plan),
        stored=int(stored.sum()),
        receipted=int(receipted.sum()),
        images=images,
        corrupt=tuple(corrupt),
        holes=tuple(np.flatnonzero(holes).tolist()),
        missing=int((~there & ~holes).sum()),
        parked=int(parked.sum()),
        images_shared=shared,
        decisions=wrong_decisions(store, plan),
    )


def repair(store: Store, campaign_id: str, ledger: "Ledger | None", checkup: Checkup) -> int:
    """Delete corrupt shards and have them and the holes made again; returns how many units.

    With a ledger the units are open again at once and their prompts analysed again; without one
    the campaign's next run finds the shards missing. The results of these prompts are dropped in
    every analysis of the campaign; those of other prompts stay. A broker that does not answer
    raises `BrokerUnavailableError`, and results that cannot be read `ShardCorruptError`, before
    any shard is deleted. Whatever ends this early, another check finds the rest; and one of any
    other campaign that shares a shard finds it as a hole there. What was wrongly decided is removed
    first, and decided anew.
    """
    indexes = sorted({*checkup.holes, *(fault.index for fault in checkup.corrupt)})
    if checkup.is_sound:
        return 0
    if ledger:
        ledger.ping()
    plan = load_plan(store, load_campaign(store, campaign_id))
    forget_done(store, campaign_id)
    if checkup.decisions:
        decide_anew(store, plan, ledger, checkup.decisions)
    if not indexes:
        return 0
    # Results go first: once a shard is gone, nothing tells any more that a verdict is stale.
    drop_results(store, campaign_id, {plan.unit(index).prompt_id for index in indexes})
    for fault in checkup.corrupt:
        store.delete(fault.key)
    if ledger:
        ledger.reopen(campaign_id, indexes)
    return len(indexes)


def _judged_units(store: Store, submission: Submission, plan: Plan) -> NDArray[np.bool_]:
    """Which units made images that a result was told by, as far as results can be read: (units,)
    bool."""
    judged = np.zeros((len(plan.prompts), plan.per_prompt), dtype=np.bool_)
    with contextlib.suppress(ShardCorruptError):
        results = results_by(store, settings_now(store, submission), plan.campaign.campaign_id)
        whole = {r.prompt_id for r in results if r.seeds == plan.campaign.sampling.seeds}
        if whole:
            judged[:, plan.screens :] = [[prompt_id in whole] for prompt_id in plan.prompt_ids()]
    return judged.ravel()


@dataclass(frozen=True, slots=True)
class _Sound:
    """A shard that is what was made: how many images it holds, and how many of another prompt."""

    images: int = 0
    shared: int = 0


def _examine(store: Store, plan: Plan, index: int) -> _Sound | Fault | None:
    """What the unit's shard holds, or what is wrong with it; None where it is gone."""
    unit = plan.unit(index)
    key = keys.unit_shard(unit)
    try:
        if unit.kind == "screen":
            return None if read_scores(store, key) is None else _Sound()
        images = read_images(store, key)
        if images is None:
            return None
        for image in images:
            _check(image, plan.campaign_of(index // plan.per_prompt).sampling)
    except ShardCorruptError as error:
        return Fault(index, key, str(error))
    return _Sound(len(images), sum(bool(image.same_as) for image in images))


def _examine_receipts(
    store: Store, plan: Plan, receipted: NDArray[np.bool_], progress: Callable[[int, int], None]
) -> Iterator[Fault]:
    """Yield a fault for each of the units whose receipt is not what was written."""
    cuts = plan.per_prompt
    prompts = np.flatnonzero(receipted.reshape(-1, cuts).any(axis=1)).tolist()
    examine = partial(_examine_receipt, store, plan)
    examined = zip(prompts, map_in_order(examine, prompts, READERS), strict=True)
    for count, (prompt, reason) in enumerate(examined, start=1):
        units = range(prompt * cuts, (prompt + 1) * cuts) if reason else ()
        key = receipt_key(plan.campaign, plan.unit(prompt * cuts).prompt_id)
        yield from (Fault(index, key, reason) for index in units if receipted[index])
        progress(count, len(prompts))


def _examine_receipt(store: Store, plan: Plan, prompt: int) -> str:
    """What is wrong with the prompt's receipt; empty if nothing is."""
    try:
        read_receipt(store, plan.campaign, plan.unit(prompt * plan.per_prompt).prompt_id)
    except ShardCorruptError as error:
        return str(error)
    return ""


def _further(progress: Callable[[int, int], None], before: int, count: int, total: int) -> None:
    progress(before + count, before + total)


def _check(image: StoredImage, sampling: Sampling) -> None:
    pixels = decode_pixels(image, sampling)
    if describe(pixels, image.blocks) != image.descriptor:
        raise ShardCorruptError(
            f"The descriptor of seed {image.seed} is not that of its image; {REMEDY}."
        )


def _parked(store: Store, plan: Plan) -> NDArray[np.bool_]:
    """Which units were given up: (units,) bool."""
    parked = np.zeros(len(plan), dtype=np.bool_)
    parked[[unit.index for unit in load_parked(store, plan.campaign.campaign_id)]] = True
    return parked
