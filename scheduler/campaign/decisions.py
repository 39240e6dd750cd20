"""Hold what was decided of a campaign's cohorts against the stored scores, and have what is wrong
decided anew."""

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from seedsweep.scheduler.campaign.plan import Plan
from seedsweep.scheduler.campaign.restore import stored_units
from seedsweep.storage import keys
from seedsweep.storage.campaigns import load_control
from seedsweep.storage.errors import ShardCorruptError, TransientError
from seedsweep.storage.ledger import Ledger
from seedsweep.storage.promotions import Promotion, Rank, load_promotion
from seedsweep.storage.results import drop_results, outcomes_by
from seedsweep.storage.settings.sampling import Stage
from seedsweep.storage.store import Store
from seedsweep.workers.analysts.screen_rules import (
    cohort_ranks,
    decided_places,
    prompts_of_cohort,
    screen_standing,
    stored_score,
)

UNEXPLAINED = "is not what the stored scores give: it was changed, or is another campaign's."
LOST = "is not in the store, though results go by it."
NOT_READABLE = b"This decision was found to be wrong; `seedsweep check ID --repair` removes it.\n"


@dataclass(frozen=True, slots=True)
class WrongDecision:
    """What the stage of this number decided of this cohort is wrong: its key, and why.

    The cohort is the prompts of the indexes from `first` to `last`.
    """

    stage: int
    cohort: int
    first: int
    last: int
    key: str
    reason: str


def wrong_decisions(store: Store, plan: Plan) -> tuple[WrongDecision, ...]:
    """Hold every decision of the campaign against the stored scores; changes nothing.

    Wrong is what cannot be read, what the scores do not give, and what is not there although
    results go by it. A unit that was given up may have been made since, and a score may have been
    lost: a decision that such scores explain is right, for it stays. A decision that follows from
    a wrong one is told only if it cannot be read.
    """
    return tuple(_wrong(store, plan))


def decide_anew(
    store: Store, plan: Plan, ledger: Ledger | None, wrong: Sequence[WrongDecision]
) -> int:
    """Remove wrong decisions, those of later stages that they had a part in, and the results of the
    prompts that went by any of these; returns how many decisions are made anew.

    They are made anew from the stored scores as any other is: with a ledger by the running
    analysts, without one by the campaign's next run. Whatever ends this early, another check finds
    the same.
    """
    campaign_id = plan.campaign.campaign_id
    cohorts = sorted({cohort for each in wrong for cohort in _influenced(plan, each)})
    stored = stored_units(store, plan)
    indexes = [
        prompt * plan.per_prompt + number - 1
        for number, cohort in cohorts
        for prompt in prompts_of_cohort(_stage(plan, number), cohort, len(plan.prompts))
        if stored[prompt * plan.per_prompt + number - 1]
    ]
    # Nobody goes by what cannot be read, and a check that comes after a crash finds it.
    removed = [keys.promotion(campaign_id, *cohort) for cohort in cohorts]
    for key in removed:
        store.replace(key, NOT_READABLE)
    drop_results(store, campaign_id, {plan.unit(index).prompt_id for index in indexes})
    if ledger:
        ledger.reopen(campaign_id, indexes)
    for key in removed:
        store.delete(key)
    return len(removed)


def _wrong(store: Store, plan: Plan) -> Iterator[WrongDecision]:
    campaign_id = plan.campaign.campaign_id
    doubtful: set[tuple[int, int]] = set()
    for number, stage in enumerate(plan.campaign.stages, start=1):
        if stage.share is None:
            continue
        judged = _judged(store, plan, number)
        for cohort in range(-(-len(plan.prompts) // stage.cohort)):
            judges = (number, cohort) not in doubtful
            if reason := _reason(store, plan, number, cohort, judged, judges):
                prompts = prompts_of_cohort(stage, cohort, len(plan.prompts))
                key = keys.promotion(campaign_id, number, cohort)
                wrong = WrongDecision(number, cohort, prompts.start, prompts.stop - 1, key, reason)
                doubtful |= {*_influenced(plan, wrong)}
                yield wrong


def _judged(store: Store, plan: Plan, number: int) -> set[int]:
    """The prompts whose results say that no stage before this one dropped them, by index."""
    campaign = plan.campaign
    control = load_control(store, campaign.campaign_id)
    outcomes = outcomes_by(store, control.settings or campaign.settings, campaign.campaign_id)
    after = [outcomes.get(prompt_id) for prompt_id in plan.prompt_ids()]
    return {
        index
        for index, outcome in enumerate(after)
        if outcome and (outcome.dropped_after is None or outcome.dropped_after >= number)
    }


def _reason(
    store: Store, plan: Plan, number: int, cohort: int, judged: set[int], judges: bool
) -> str:
    """What is wrong with a decision; empty if nothing is, or it cannot be known. Unless it
    `judges`, only what cannot be read is wrong."""
    key = keys.promotion(plan.campaign.campaign_id, number, cohort)
    try:
        promotion = load_promotion(store, plan.campaign.campaign_id, number, cohort)
    except ShardCorruptError as error:
        return str(error)
    if not judges:
        return ""
    try:
        ranks = cohort_ranks(store, plan.campaign, plan.prompts, number, cohort)
        if promotion is None:
            return f"{key} {LOST}" if judged & {rank.index for rank in ranks} else ""
        missing = _without_score(store, plan, number, cohort)
    except (ShardCorruptError, TransientError):
        return ""
    stage = _stage(plan, number)
    count = len(prompts_of_cohort(stage, cohort, len(plan.prompts)))
    if promotion.prompts == count and _explains(stage, ranks, missing, promotion):
        return ""
    return f"{key} {UNEXPLAINED}"


def _without_score(store: Store, plan: Plan, number: int, cohort: int) -> set[int]:
    """The cohort's prompts that came to the stage and have no score stored, by index."""
    campaign, screen = plan.campaign, plan.campaign.screens[number - 1]
    missing = set()
    for index in prompts_of_cohort(_stage(plan, number), cohort, len(plan.prompts)):
        text = plan.prompts[index]
        if not stored_score(store, campaign, screen, text)[0]:
            _, drop = screen_standing(store, campaign, text, index, number - 1, number - 1)
            missing |= set() if drop else {index}
    return missing


def _explains(stage: Stage, ranks: Sequence[Rank], missing: set[int], promotion: Promotion) -> bool:
    """Whether the decision follows from these ranks, without some that came since, and with some
    of the `missing`."""
    came = len(ranks) + len(missing) - promotion.scored  # at most
    if came < 0:
        return False
    orders = [rank.order for rank in ranks]
    places = decided_places(stage, promotion.scored)
    for rank, place in zip((promotion.last, promotion.near), places, strict=True):
        if rank is None:
            continue  # none had a score
        at = bisect_left(orders, rank.order)
        is_known = at < len(ranks) and ranks[at] == rank
        if not (is_known or rank.index in missing):
            return False
        if not place - len(missing) <= at + 1 <= place + came:
            return False
    return True


def _influenced(plan: Plan, wrong: WrongDecision) -> Iterable[tuple[int, int]]:
    """The stage and the cohort of a decision and of all later ones that follow from it."""
    yield wrong.stage, wrong.cohort
    first, last = wrong.first, wrong.last
    for number, stage in enumerate(plan.campaign.stages, start=1):
        if number > wrong.stage and stage.share is not None:
            cohorts = range(first // stage.cohort, last // stage.cohort + 1)
            yield from ((number, cohort) for cohort in cohorts)
            first = cohorts.start * stage.cohort
            last = min(cohorts.stop * stage.cohort, len(plan.prompts)) - 1


def _stage(plan: Plan, number: int) -> Stage:
    return plan.campaign.stages[number - 1]
