"""How far a prompt gets through a campaign's screens: a function of what is stored alone."""

from collections.abc import Callable, Sequence
from fractions import Fraction
from functools import partial
from math import ceil, isfinite

from seedsweep.storage import keys
from seedsweep.storage.errors import ShardCorruptError, TransientError
from seedsweep.storage.parallel import map_in_order
from seedsweep.storage.promotions import Promotion, Rank, load_promotion
from seedsweep.storage.prompt_results import Drop
from seedsweep.storage.record import SeedRange
from seedsweep.storage.records import prompt_id_of
from seedsweep.storage.scores import read_scores
from seedsweep.storage.settings.campaign import Campaign
from seedsweep.storage.settings.sampling import ScreenSettings, Stage
from seedsweep.storage.store import Store

NEAR = 1.5
"""A near miss has its clique at so many times the stage's edge threshold, or a score above the
bound's share of 1 in so many: below a bound of less than zero, as far below it. With a share, it
would go on if that were so many times as large."""

READERS = 16


def cohort_of(stage: Stage, index: int) -> int:
    """The number of the cohort of the prompt of this index, in a stage with a share."""
    return index // stage.cohort


def prompts_of_cohort(stage: Stage, cohort: int, prompts: int) -> range:
    """The indexes of the cohort's prompts, of so many in the plan."""
    return range(cohort * stage.cohort, min((cohort + 1) * stage.cohort, prompts))


def screen_standing(
    store: Store, campaign: Campaign, text: str, index: int, settled: int, count: int
) -> tuple[int, Drop | None]:
    """The number of the screen at which a prompt stands, of the first `count`, one more if it
    passed all, and its drop, if that screen would have it dropped.

    `index` is the prompt's in the plan; its units are settled up to the stage of number `settled`.
    It stands at a screen that is not settled and has no score, and at one with a share whose
    cohort is not decided yet. A prompt without a score, or whose score is no number, goes on:
    nothing is dropped on what nobody knows.
    """
    screens = zip(campaign.screens[:count], campaign.stages, strict=False)
    for number, (screen, stage) in enumerate(screens, start=1):
        is_there, score = stored_score(store, campaign, screen, text)
        if not is_there and number > settled:
            return number, None
        if score is None:
            continue
        if stage.above is not None:
            goes_on = score > stage.above
            near = score > stage.above - abs(stage.above) * (1 - 1 / NEAR)
        else:
            cohort = cohort_of(stage, index)
            promotion = load_promotion(store, campaign.campaign_id, number, cohort)
            if promotion is None:
                return number, None
            rank = Rank(score=score, index=index)
            goes_on, near = promotion.takes(rank), promotion.nearly_takes(rank)
        if not goes_on:
            return number, Drop(stage=number, near=near, sampled=False, score=score)
    return count + 1, None


def decide_cohort(
    store: Store,
    campaign: Campaign,
    prompts: Sequence[str],
    number: int,
    cohort: int,
    note: Callable[[], None] = lambda: None,
) -> Promotion:
    """Decide which prompts of a cohort go on after the stage of this number, which has a share.

    `prompts` are all of the campaign. The units of the cohort's are settled up to that stage: those
    that came to it and have a score are ranked. Writes nothing. `note` is called again and again
    meanwhile. Raises `TransientError` if a stage before is not decided.
    """
    stage = campaign.stages[number - 1]
    ranks, unscored = came_to(store, campaign, prompts, number, cohort, note)
    last, near = decided_places(stage, len(ranks))
    return Promotion(
        stage=number,
        cohort=cohort,
        prompts=len(prompts_of_cohort(stage, cohort, len(prompts))),
        scored=len(ranks),
        last=ranks[last - 1] if ranks else None,
        near=ranks[near - 1] if ranks else None,
        unscored=unscored,
    )


def came_to(
    store: Store,
    campaign: Campaign,
    prompts: Sequence[str],
    number: int,
    cohort: int,
    note: Callable[[], None] = lambda: None,
) -> tuple[list[Rank], tuple[int, ...]]:
    """The ranks of a cohort's prompts that came to the stage of this number and have a score, the
    best first, and the indexes of those that came and have none stored that can be read, in order.
    Raises what `decide_cohort` does."""
    ranks, unscored = [], []
    indexes = prompts_of_cohort(campaign.stages[number - 1], cohort, len(prompts))
    stands = partial(_stands, store, campaign, prompts, number)
    for came in map_in_order(stands, indexes, READERS):
        if isinstance(came, Rank):
            ranks.append(came)
        elif came is not None:
            unscored.append(came)
        note()
    return sorted(ranks, key=lambda rank: rank.order), tuple(unscored)


def decided_places(stage: Stage, scored: int) -> tuple[int, int]:
    """How many of so many prompts with a score go on after a stage with a share, and how many of
    them are at least near misses."""
    near = ceil(Fraction(repr(NEAR)) * stage.exact_share * scored)
    return stage.promoted(scored), min(scored, near)


def undecided(text: str) -> TransientError:
    """The error for a prompt whose cohort must be decided first."""
    return TransientError(f"The cohort of {text[:80]!r} is not decided yet; it is decided first.")


def _stands(
    store: Store, campaign: Campaign, prompts: Sequence[str], number: int, index: int
) -> Rank | int | None:
    """The rank of a prompt, or its index if it has no score stored; None if a screen before dropped
    it, or its score is no number."""
    text = prompts[index]
    is_there, score = stored_score(store, campaign, campaign.screens[number - 1], text)
    if is_there and score is None:
        return None
    stands, drop = screen_standing(store, campaign, text, index, number - 1, number - 1)
    if drop is not None:
        return None
    if stands < number:
        raise undecided(text)
    return index if score is None else Rank(score=score, index=index)


def stored_score(
    store: Store, campaign: Campaign, screen: ScreenSettings, text: str
) -> tuple[bool, float | None]:
    """Whether a score of the prompt is stored that can be read, and the score; None if there is
    none, or it is no number."""
    seeds = SeedRange(first=screen.first_seed, last=screen.first_seed + screen.seeds - 1)
    key = keys.scores(campaign.screen_id(screen), prompt_id_of(text), seeds)
    try:
        scored = read_scores(store, key)
    except ShardCorruptError:
        return False, None
    if scored is None:
        return False, None
    return True, scored.score if isfinite(scored.score) else None
