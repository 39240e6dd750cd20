"""How far a campaign is: done, pending, rate."""

from dataclasses import dataclass, replace

import numpy as np

from scheduler.dispatch import load_plan, restore_state
from scheduler.plan import Plan
from storage.campaigns import load_campaign, load_parked
from storage.errors import BrokerUnavailableError
from storage.ledger import Ledger
from storage.records import Prompt
from storage.store import Store
from workers.prompt_analysis import read_prompt


@dataclass(frozen=True, slots=True)
class Progress:
    """One campaign's state: what `status --json` prints.

    `state`: queued, running, paused, cancelled, failed or done (analysis included).
    """

    id: str
    name: str
    state: str
    submitted_at: str
    units: int
    units_done: int
    units_parked: int
    images: int
    images_done: int
    prompts: int
    prompts_analysed: int
    flagged: int

    @property
    def settled(self) -> bool:
        """Whether every unit is done or parked and every prompt analysed."""
        units_left = self.units - self.units_done - self.units_parked
        return units_left == 0 and self.prompts_analysed == self.prompts


def read_progress(store: Store, campaign_id: str, ledger: Ledger | None = None) -> Progress:
    """Read a campaign's progress from the store, and from the ledger where one answers."""
    submission = load_campaign(store, campaign_id)
    plan = load_plan(store, submission)
    restored = restore_state(store, plan)
    progress = Progress(
        id=campaign_id,
        name=submission.campaign.name,
        state=restored.state,
        submitted_at=submission.submitted_at,
        units=len(plan),
        units_done=int(restored.done.sum()),
        units_parked=len(restored.parked),
        images=plan.images(np.ones(len(plan), dtype=np.bool_)),
        images_done=plan.images(restored.done),
        prompts=len(plan.prompts),
        prompts_analysed=restored.analysed,
        flagged=restored.flagged,
    )
    return _with_state(progress, _is_live(ledger, campaign_id))


def failures(store: Store, plan: Plan) -> list[str]:
    """Say in sentences what a campaign could not do: parked units, and images that were lost."""
    campaign = plan.campaign
    sentences = [
        f"Unit {unit.index} (prompt {unit.prompt_id}, seeds {unit.seeds.first} to "
        f"{unit.seeds.last}) was parked: {unit.reason}"
        for unit in load_parked(store, campaign.campaign_id)
    ]
    for index in restore_state(store, plan).ready:
        prompt_id = Prompt(text=plan.prompts[index]).prompt_id
        stored = read_prompt(store, campaign.generation_id, prompt_id, plan.cuts, verified=True)
        sentences += [
            f"The shard {key} is corrupt, so its images were left out; delete that object and "
            "run the campaign again to make them anew."
            for key in stored.corrupt
        ]
    return sentences


def _is_live(ledger: Ledger | None, campaign_id: str) -> bool:
    """Whether some unit is queued or claimed just now."""
    if ledger is None:
        return False
    try:
        counts = ledger.counts(campaign_id)
    except BrokerUnavailableError:
        return False
    return counts is not None and counts.queued + counts.claimed > 0


def _with_state(progress: Progress, live: bool) -> Progress:
    state = progress.state
    if progress.settled:
        state = "failed" if progress.units_done == 0 else "done"
    elif state == "active":
        begun = live or progress.units_done + progress.units_parked > 0
        state = "running" if begun else "queued"
    return replace(progress, state=state)
