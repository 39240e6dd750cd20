"""A campaign's plan and live state, from the store alone."""

from collections.abc import Callable, Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from seedsweep.scheduler.campaign.plan import Plan
from seedsweep.scheduler.campaign.retention import Retention
from seedsweep.storage import keys
from seedsweep.storage.campaigns import load_control, load_done, load_parked, load_prompts
from seedsweep.storage.live_state import DROPPED, Restored, opened
from seedsweep.storage.receipts import list_receipts
from seedsweep.storage.records import Submission
from seedsweep.storage.results import outcomes_by
from seedsweep.storage.shards import list_fan_out, list_recipes
from seedsweep.storage.store import Store

KEYS_A_SIGN = 1000


def load_plan(store: Store, submission: Submission) -> Plan:
    """Load the plan of a stored campaign."""
    prompts = load_prompts(store, submission.campaign.campaign_id)
    return Plan(
        submission.campaign,
        prompts,
        submission.cuts,
        unseen=submission.unseen,
        settings=prompts.settings,
    )


def restore_state(
    store: Store, plan: Plan, note: Callable[[], None] = lambda: None, checkpointed: bool = False
) -> Restored:
    """Rebuild a campaign's live state.

    A prompt is ready when its units are all done or parked and no result covers its images, or when
    images of it are left that were not to stay. With stages these are the units of the stage after
    which it was dropped, or of the first one if there is no result. What is done is learnt from a
    listing of all shards and receipts; with `checkpointed` from the last checkpoint and the
    results, if there is a checkpoint: then units stored since count as not done, which a worker
    that claims one finds out before it renders. `note` is called again and again meanwhile.
    """
    campaign = plan.campaign
    control = load_control(store, campaign.campaign_id)
    settings = control.settings or campaign.settings
    outcomes = outcomes_by(store, settings, campaign.campaign_id)
    note()
    ordered = [outcomes.get(prompt_id) for prompt_id in plan.prompt_ids()]
    lengths = np.array([piece.images for piece in plan.pieces], dtype=np.int64)
    seeds = np.array([outcome.seeds if outcome else -1 for outcome in ordered], dtype=np.int64)
    shape = (len(plan.prompts), plan.per_prompt)
    # What each result is of: the units of a stage, without stages all.
    ends, last = plan.stage_ends, len(plan.stage_ends)
    drops = [(outcome.dropped_after if outcome else None) for outcome in ordered]
    stages = np.array([after or last for after in drops], dtype=np.uint8)
    judged = opened(ends, stages)

    flagged = np.array([bool(outcome and outcome.flagged) for outcome in ordered], dtype=np.bool_)
    left = np.zeros(len(plan.prompts), dtype=np.bool_)
    done = load_done(store, campaign.campaign_id, len(plan)) if checkpointed else None
    if done is not None:
        done |= (judged & (seeds == judged @ lengths)[:, None]).ravel()
    elif campaign.keep == "flagged":
        done, left = _done_by_receipts_too(store, plan, flagged, note)
    else:
        done = _stored(store, plan, note)
    parked = {p.index for p in load_parked(store, campaign.campaign_id)}
    parked -= set(np.flatnonzero(done).tolist())
    settled = done.copy()
    settled[list(parked)] = True
    complete = (settled.reshape(shape) | ~judged).all(axis=1)
    covered = (seeds == (done.reshape(shape) & judged) @ lengths) & ~left
    analysed = complete & covered
    # Without a result, the stages are decided anew from the first on: alike, and at once.
    stages[~analysed] = 1
    waiting = settled.reshape(shape) | ~opened(ends, stages)
    stages[analysed & np.array([after is not None for after in drops], dtype=np.bool_)] += DROPPED
    return Restored(
        per_prompt=plan.per_prompt,
        done=done,
        parked=frozenset(parked),
        ready=tuple(np.flatnonzero(waiting.all(axis=1) & ~analysed).tolist()),
        analysed=analysed,
        flagged=frozenset(np.flatnonzero(flagged).tolist()),
        state=control.state,
        ends=ends if campaign.stages else (),
        stages=stages,
    )


def _stored(store: Store, plan: Plan, note: Callable[[], None]) -> NDArray[np.bool_]:
    return stored_units(store, plan, lambda listed: _noting(listed, note))


def stored_units(
    store: Store,
    plan: Plan,
    noting: Callable[[Iterable[str]], Iterable[str]] = lambda listed: listed,
) -> NDArray[np.bool_]:
    """Which units have their shard, of whatever kind: (units,) bool. All keys go through
    `noting`."""
    stored = plan.done(noting(list_recipes(store, plan.recipes())))
    for place, piece in enumerate(plan.pieces[: plan.screens]):
        listed = list_fan_out(store, keys.scores_prefix(piece.kind_id))
        stored |= plan.scored(noting(listed), place)
    return stored


def _done_by_receipts_too(
    store: Store, plan: Plan, flagged: NDArray[np.bool_], note: Callable[[], None]
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Which units are done, (units,) bool, and of which prompts images are left that were not to
    stay, (prompts,) bool."""
    stored = _stored(store, plan, note)
    receipted = plan.receipted(_noting(list_receipts(store, plan.campaign.campaign_id), note))
    left = (stored & receipted).reshape(len(plan.prompts), -1).any(axis=1) & ~flagged
    if left.any() and Retention(store).keeps(plan.campaign):
        left[:] = False
    return stored | receipted, left


def _noting(listed: Iterable[str], note: Callable[[], None]) -> Iterator[str]:
    for count, key in enumerate(listed):
        if count % KEYS_A_SIGN == 0:
            note()
        yield key
