"""How far a prompt of a campaign with stages goes: a function of its stored scores and pictures
alone."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from math import inf, isfinite

from seedsweep.storage import keys
from seedsweep.storage.errors import ShardCorruptError
from seedsweep.storage.prompt_results import Drop
from seedsweep.storage.records import Campaign, SeedRange, Submission, prompt_id_of
from seedsweep.storage.scores import read_scores
from seedsweep.storage.settings.analysis import Analysis, AnalysisSettings
from seedsweep.storage.settings.sampling import ScreenSettings, Stage
from seedsweep.storage.store import Store
from seedsweep.workers.analysis.inner_products import Products
from seedsweep.workers.analysts.cost import Tally
from seedsweep.workers.analysts.prompt_result import analyse_prompt, judge_stored
from seedsweep.workers.analysts.stored_prompt import StoredPrompt

NEAR = 1.5
"""A near miss has its clique at so many times the stage's edge threshold, or a score above the
bound's share of 1 in so many: below a bound of less than zero, as far below it."""


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a prompt stands: the number of the stage whose units are wanted, and its drop, if a
    stage would have it dropped; one that is sampled stands in the last stage."""

    stage: int
    drop: Drop | None = None


def standing(
    store: Store, submission: Submission, text: str, settled: int, inner: Products, tally: Tally
) -> Standing:
    """Where the prompt stands, whose units are settled up to the stage of number `settled`.

    Every stage is decided on its units alone, whatever else is stored; stages after `settled` only
    if all that they go by is there. Pictures that are gone are done without, and a prompt without a
    score, or whose score is no number, goes on: nothing is dropped on what nobody knows.
    """
    campaign, screens = submission.campaign, len(submission.campaign.screens)
    ends = campaign.stage_ends(submission.cuts)
    for number, (screen, stage) in enumerate(
        zip(campaign.screens, campaign.stages, strict=False), start=1
    ):
        score = _score(store, campaign, screen, text)
        if score is None and number > settled:
            return Standing(number)
        if score is not None and stage.above is not None and score <= stage.above:
            near = score > stage.above - abs(stage.above) * (1 - 1 / NEAR)
            return _dropped(
                campaign, text, Drop(stage=number, near=near, sampled=False, score=score), ends
            )
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


def _score(store: Store, campaign: Campaign, screen: ScreenSettings, text: str) -> float | None:
    """The prompt's score; None if none is stored that can be read, infinite if it is no number."""
    seeds = SeedRange(first=screen.first_seed, last=screen.first_seed + screen.seeds - 1)
    key = keys.scores(campaign.screen_id(screen), prompt_id_of(text), seeds)
    try:
        scored = read_scores(store, key)
    except ShardCorruptError:
        return None
    if scored is None:
        return None
    return scored.score if isfinite(scored.score) else inf


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
