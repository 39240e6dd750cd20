"""Hold what was decided of a campaign's cohorts against the stored scores, and have what is wrong
decided anew."""

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from seedsweep.scheduler.campaign.plan import Plan
from seedsweep.scheduler.campaign.restore import stored_units
from seedsweep.storage import keys
from seedsweep.storage.campaigns import load_control
from seedsweep.storage.errors import ShardCorruptError, TransientError
from seedsweep.storage.promotions import Promotion, Rank, load_promotion
from seedsweep.storage.results import drop_results, outcomes_by
from seedsweep.storage.settings.sampling import Stage
from seedsweep.storage.store import Store
from seedsweep.workers.analysts.screen_rules import (
    came_to,
    decided_places,
    prompts_of_cohort,
)

if TYPE_CHECKING:
    from seedsweep.storage.ledger import Ledger

CONTRADICTED = "has prompts go on that results say it dropped: it was changed since."
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
    results go by it, or other than they do. A unit that was given up may have been made since, and
    a score may have been lost: a decision that such scores explain is right, for it stays. It names
    whom it knew no score of; one that does not, which an earlier version made, may have known none
    of anybody. A decision that follows from a wrong one is told only if it cannot be read.
    """
    return tuple(_wrong(store, plan))


def decide_anew(
    store: Store, plan: Plan, ledger: "Ledger | None", wrong: Sequence[WrongDecision]
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


def _judged(store: Store, plan: Plan, number: int) -> dict[int, bool]:
    """The prompts whose results say that no stage before this one dropped them, by index, and
    whether this one did."""
    campaign = plan.campaign
    control = load_control(store, campaign.campaign_id)
    outcomes = outcomes_by(store, control.settings or campaign.settings, campaign.campaign_id)
    after = [outcomes.get(prompt_id) for prompt_id in plan.prompt_ids()]
    return {
        index: outcome.dropped_after == number
        for index, outcome in enumerate(after)
        if outcome and (outcome.dropped_after is None or outcome.dropped_after >= number)
    }


def _reason(
    store: Store, plan: Plan, number: int, cohort: int, judged: Mapping[int, bool], judges: bool
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
        ranks, missing = came_to(store, plan.campaign, plan.prompts, number, cohort)
    except (ShardCorruptError, TransientError):
        return ""
    if promotion is None:
        return f"{key} {LOST}" if judged.keys() & {rank.index for rank in ranks} else ""
    prompts = prompts_of_cohort(_stage(plan, number), cohort, len(plan.prompts))
    if not _explains(_stage(plan, number), prompts, ranks, set(missing), promotion):
        return f"{key} {UNEXPLAINED}"
    if any(judged.get(rank.index) and promotion.takes(rank) for rank in ranks):
        return f"{key} {CONTRADICTED}"
    return ""


def _explains(
    stage: Stage, prompts: range, ranks: Sequence[Rank], missing: set[int], promotion: Promotion
) -> bool:
    """Whether the decision of these prompts follows from the ranks, without those that came since,
    and with some of the `missing`."""
    unscored = set(promotion.unscored or ())
    if promotion.prompts != len(prompts) or not unscored <= set(prompts):
        return False
    ranks = [rank for rank in ranks if rank.index not in unscored]
    missing = missing - unscored
    came = len(ranks) + len(missing) - promotion.scored  # at most
    if came < 0:
        return False
    lost = len(missing)
    if promotion.unscored is not None:
        came, lost = 0, promotion.scored - len(ranks)
    orders = [rank.order for rank in ranks]
    places = decided_places(stage, promotion.scored)
    least = 0
    for rank, place in zip((promotion.last, promotion.near), places, strict=True):
        if rank is None:
            continue  # none had a score
        at = bisect_left(orders, rank.order)
        is_known = at < len(ranks) and ranks[at] == rank
        if not (is_known or rank.index in missing):
            return False
        better = place - at - is_known  # of the lost ones, or itself
        if not max(least, not is_known) - came <= better <= lost:
            return False
        least = better if promotion.unscored is not None else 0
    return lost >= 0


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
