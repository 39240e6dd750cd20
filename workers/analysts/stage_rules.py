"""How far a prompt of a campaign with stages goes: a function of its stored scores and pictures
alone."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from hashlib import sha256

from seedsweep.storage.prompt_results import Drop
from seedsweep.storage.records import Submission, prompt_id_of
from seedsweep.storage.settings.analysis import Analysis, AnalysisSettings
from seedsweep.storage.settings.campaign import Campaign
from seedsweep.storage.settings.sampling import Stage
from seedsweep.storage.store import Store
from seedsweep.workers.analysis.inner_products import Products
from seedsweep.workers.analysts.cost import Tally
from seedsweep.workers.analysts.prompt_result import analyse_prompt, judge_stored
from seedsweep.workers.analysts.screen_rules import NEAR, screen_standing
from seedsweep.workers.analysts.stored_prompt import StoredPrompt


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a prompt stands: the number of the stage whose units are wanted, and its drop, if a
    stage would have it dropped; one that is sampled stands in the last stage. `waits`: the stage's
    units are settled, and those of its cohort are not decided yet."""

    stage: int
    drop: Drop | None = None
    waits: bool = False


def standing(
    store: Store,
    submission: Submission,
    text: str,
    index: int,
    settled: int,
    inner: Products,
    tally: Tally,
) -> Standing:
    """Where the prompt stands, whose units are settled up to the stage of number `settled`;
    `index` is its place in the plan.

    Every stage is decided on its units alone, whatever else is stored, and one with a share on its
    cohort's; stages after `settled` only if all that they go by is there. Pictures that are gone
    are done without. A prompt stands at a stage whose cohort is not decided.
    """
    campaign, screens = submission.campaign, len(submission.campaign.screens)
    ends = campaign.stage_ends(submission.cuts)
    number, drop = screen_standing(store, campaign, text, index, settled, screens)
    if drop is not None:
        return _dropped(campaign, text, drop, ends)
    if number <= screens:
        return Standing(number, waits=number <= settled)
    picture_ends = zip(campaign.picture_stages, ends[screens:], strict=False)
    for number, (stage, end) in enumerate(picture_ends, start=screens + 1):
        units = end - screens
        judge = partial(_judge, campaign.analysis, stage, inner)
        (goes_on, near), stored = judge_stored(store, submission, text, judge, tally, units)
        if number > settled and not stored.whole:
            return Standing(number)
        if not goes_on:
            return _dropped(campaign, text, Drop(stage=number, near=near, sampled=False), ends)
    return Standing(len(ends))


def _dropped(campaign: Campaign, text: str, drop: Drop, ends: Sequence[int]) -> Standing:
    if is_sampled(campaign, prompt_id_of(text), drop.near):
        return Standing(len(ends), drop.model_copy(update={"sampled": True}))
    return Standing(drop.stage, drop)


def is_sampled(campaign: Campaign, prompt_id: str, near: bool) -> bool:
    """True if a prompt that a stage drops is sampled: it gets all its pictures all the same. A hash
    of recipe, first seed and prompt decides: always alike, also in other campaigns that share the
    pictures, and for each prompt on its own.
    """
    drawn_of = f"{campaign.generation_id}/{campaign.sampling.first_seed}/{prompt_id}"
    drawn = sha256(drawn_of.encode()).digest()
    return int.from_bytes(drawn[:7]) / 2**56 < campaign.sample_probability(near)


def _judge(
    analysis: Analysis, stage: Stage, inner: Products, stored: StoredPrompt
) -> tuple[bool, bool]:
    """Whether these pictures have the stage's clique, or share a part if the campaign looks for
    parts, and whether they at least nearly do."""
    threshold = stage.edge_threshold or analysis.edge_threshold

    def alike(within: float) -> bool:
        changes = {"edge_threshold": min(within, 1.0), "min_clique_size": stage.min_clique_size}
        settings = AnalysisSettings(analysis=analysis.model_copy(update=changes))
        result = analyse_prompt(stored, settings, None, inner)
        return result.flagged or result.flagged_partial

    goes_on = alike(threshold)
    return goes_on, goes_on or alike(NEAR * threshold)
