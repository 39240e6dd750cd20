"""A campaign file as commands take it: its plan, what is said of that, and its submission."""

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

from seedsweep.cli.options import say
from seedsweep.scheduler.quantities import count_words

if TYPE_CHECKING:
    from seedsweep.scheduler.campaign.plan import Plan
    from seedsweep.scheduler.prompt_lists.row_counts import RowCounts
    from seedsweep.storage.store import Store


def announced_plan(store: "Store", file: Path) -> "Plan":
    """The file's plan; says which rows of the prompts gave none, and what may not be meant so."""
    from seedsweep.cli.progress_bars import noticed
    from seedsweep.scheduler.prompt_lists.row_counts import RowCounts

    rows = RowCounts()
    with noticed("The model and the prompts are read"):
        plan = read_plan(store, file, rows)
    if rows.skipped:
        say(f"Rows of the prompts: {rows}.")
    for remark in rows.remarks:
        say(remark)
    say_size_remark(plan)
    return plan


def say_size_remark(plan: "Plan") -> None:
    """Say if other pictures are asked for than the model's own; of several sizes the first such."""
    from seedsweep.scheduler.campaign.possible import samplings
    from seedsweep.workers.models.picture_size import size_remark

    campaign = plan.campaign
    remarks = [size_remark(campaign.model, each) for each in samplings(campaign, plan.settings)]
    if remark := next(filter(None, remarks), ""):
        say(remark)


def read_plan(store: "Store", file: Path, rows: "RowCounts") -> "Plan":
    """The file's plan; `rows` counts on as its prompts are read."""
    from seedsweep.scheduler.campaign.file import read_campaign
    from seedsweep.scheduler.campaign.submission import plan_campaign

    return plan_campaign(store, *read_campaign(file, rows))


def say_notes(plan: "Plan") -> None:
    """Say what the model does not see of the prompts."""
    for note in plan.notes:
        say(note)


def submitted(store: "Store", plan: "Plan") -> "Plan":
    """Store the plan; returns that of the first submission, which may have other units."""
    from seedsweep.scheduler.campaign.submission import submit_campaign

    submission = submit_campaign(store, plan)
    return dataclasses.replace(plan, campaign=submission.campaign, cuts=submission.cuts)


def outline(plan: "Plan") -> str:
    """The campaign's id, and how much it is."""
    return (
        f"Campaign {plan.campaign.campaign_id}: {count_words(len(plan.prompts), 'prompt')}, "
        f"{count_words(plan.image_count, 'image')}, {count_words(len(plan), 'unit')}"
    )
