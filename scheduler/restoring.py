"""A campaign's plan and live state, from the store alone."""

import numpy as np

from scheduler.plan import Plan
from storage import keys
from storage.campaigns import load_control, load_parked, load_prompts
from storage.ledger import Restored
from storage.records import Submission
from storage.results import read_results
from storage.store import Store


def load_plan(store: Store, submission: Submission) -> Plan:
    """Load the plan of a stored campaign."""
    prompts = load_prompts(store, submission.campaign.campaign_id)
    return Plan(submission.campaign, prompts, submission.cuts)


def restore_state(store: Store, plan: Plan) -> Restored:
    """Rebuild a campaign's live state.

    A prompt is ready when its units are all done or parked and no result covers its images.
    """
    campaign = plan.campaign
    parked = {p.index for p in load_parked(store, campaign.campaign_id)}
    done = plan.done(store.list(keys.shards_prefix(campaign.generation_id)))
    parked -= set(np.flatnonzero(done).tolist())
    settled = done.copy()
    settled[list(parked)] = True
    shape = (len(plan.prompts), len(plan.cuts))
    lengths = np.array([len(cut) for cut in plan.cuts], dtype=np.int64)
    images = done.reshape(shape) @ lengths
    control = load_control(store, campaign.campaign_id)
    analysis_id = (control.settings or campaign.settings).analysis_id
    results = {r.prompt: r for r in read_results(store, analysis_id, campaign.campaign_id)}
    complete = settled.reshape(shape).all(axis=1)
    found = [results.get(text) for text in plan.prompts]
    covered = np.array([r is not None and r.seeds == n for r, n in zip(found, images, strict=True)])
    return Restored(
        per_prompt=len(plan.cuts),
        done=done,
        parked=frozenset(parked),
        ready=tuple(np.flatnonzero(complete & ~covered).tolist()),
        analysed=complete & covered,
        flagged=frozenset(i for i, r in enumerate(found) if r is not None and r.flagged),
        state=control.state,
    )
