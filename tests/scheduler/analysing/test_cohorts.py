"""A campaign whose first stage lets a share of each cohort go on."""

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seedsweep.audit.findings.missed import gather_missed
from seedsweep.scheduler.analysing import cohorts
from seedsweep.scheduler.analysing.cohorts import Cohorts
from seedsweep.storage import keys
from seedsweep.storage.campaigns import store_done
from seedsweep.storage.errors import ShardCorruptError, TransientError
from seedsweep.storage.keys import unit_shard
from seedsweep.storage.promotions import load_promotion
from seedsweep.storage.settings.sampling import Stage
from seedsweep.workers.analysts.actor import AnalysisActor, AnalysisRequest
from tests.support.screened import BOUND, BOUNDED, GIVEN_UP, NO_NUMBER, PROMPTS, Screened, score_of

SHARED = Stage(screen="one-step", share=0.5, cohort=4, seeds=2)
COHORTS = [PROMPTS[0:4], PROMPTS[4:8], PROMPTS[8:]]


@pytest.fixture(autouse=True)
def _prompt(monkeypatch):
    """A cohort is looked at whenever one of its prompts becomes ready, and in several parts."""
    monkeypatch.setattr(cohorts, "LOOK_SECONDS", 0.0)
    monkeypatch.setattr(cohorts, "AT_ONCE", 3)


@pytest.fixture
def shared(tmp_path, ledger):
    """Have such a campaign in a folder of that name."""

    def begin(name="shared", missed_sample=0.0, screens=(SHARED,), **changes):
        campaign = Screened(tmp_path / name, ledger, missed_sample, screens, **changes)
        campaign.restore()
        return campaign

    return begin


def best(texts, share, score=score_of):
    """The rule, told again: the best of those with a score, and beside them whoever has none."""
    known = [text for text in texts if text not in (NO_NUMBER, GIVEN_UP)]
    ranked = sorted(known, key=lambda text: (-score(text), PROMPTS.index(text)))
    return {*ranked[: math.ceil(share * len(known))], *(set(texts) - set(known))}


def pictured(campaign):
    units = [campaign.plan.unit(index) for index in campaign.made]
    return {unit.prompt for unit in units if unit.kind == "generate"}


def test_the_best_share_of_each_cohort_goes_on_rounded_up_and_whoever_has_no_score(shared):
    campaign = shared()
    campaign.finish()
    wanted = set().union(*(best(texts, 0.5) for texts in COHORTS))
    assert pictured(campaign) == wanted
    dropped = {result.prompt: result.drop for result in campaign.results if result.drop}
    dropped = {text: drop for text, drop in dropped.items() if drop.stage == 1}
    assert set(dropped) == set(PROMPTS) - wanted
    near = set().union(*(best(texts, 0.75) for texts in COHORTS)) - wanted
    assert {text for text, drop in dropped.items() if drop.near} == near != set()
    assert all(drop.score == pytest.approx(score_of(text)) for text, drop in dropped.items())


def test_of_equal_scores_the_first_in_the_plan_go_on(shared):
    def alike(text):
        return math.nan if text == NO_NUMBER else 0.25

    campaign = shared(score=alike)
    campaign.finish()
    even = [best(texts, 0.5, alike) for texts in COHORTS]
    assert pictured(campaign) == set().union(*even)
    assert even[0] == {PROMPTS[0], PROMPTS[1], NO_NUMBER}


def test_a_broker_that_forgets_everything_changes_no_promotion(shared, broker, ledger):
    undisturbed = shared("undisturbed", missed_sample=0.5)
    undisturbed.finish()
    for seed in range(1):
        chance = random.Random(seed)
        disturbed = shared(f"disturbed {seed}", missed_sample=0.5)

        def forget(chance=chance, disturbed=disturbed):
            if chance.random() < 0.4:
                if chance.random() < 0.5:
                    store_done(disturbed.store, disturbed.id, ledger.done_units(disturbed.id))
                broker.flushall()
                disturbed.restore(checkpointed=chance.random() < 0.5)
                ledger.begin_epoch()

        disturbed.finish(forget)
        assert set(disturbed.made) == set(undisturbed.made)
        assert len(disturbed.made) == len(set(disturbed.made))
        assert disturbed.results == undisturbed.results


def test_a_window_smaller_than_the_cohort_and_a_pause_hold_nothing_up(shared, ledger):
    campaign = shared()
    for step in range(200):
        if ledger.counts(campaign.id).settled:
            break
        if step % 7 == 3:
            ledger.set_state(campaign.id, "paused")
            assert campaign.make(1) == campaign.judge(1) == 0
            ledger.set_state(campaign.id, "active")
        assert campaign.make(1) + campaign.judge(1) > 0
    assert pictured(campaign) == set().union(*(best(texts, 0.5) for texts in COHORTS))


def test_prompts_that_wait_for_their_cohort_are_not_ready_until_it_is_decided(shared, ledger):
    campaign = shared()
    campaign.make(3)
    assert campaign.judge(9) == 3
    counts = ledger.counts(campaign.id)
    assert (counts.ready, counts.in_cohorts, counts.analysed) == (0, 3, 0)
    assert campaign.judge(9) == 0
    campaign.make(1)
    assert campaign.judge(1) == 1
    counts = ledger.counts(campaign.id)
    assert (counts.in_cohorts, counts.ready + counts.analysed) == (0, 3)
    assert campaign.judge(9) == counts.ready
    assert campaign.beats > 0


def test_a_cohort_that_was_just_looked_at_is_looked_at_again_soon(shared, ledger, monkeypatch):
    monkeypatch.setattr(cohorts, "LOOK_SECONDS", 60.0)
    campaign = shared()
    campaign.make(3)
    assert campaign.judge(9) == 3
    campaign.make(1)
    assert campaign.judge(9) == 1
    assert load_promotion(campaign.store, campaign.id, 1, 0) is None
    assert ledger.counts(campaign.id).in_cohorts == 4


def test_what_was_decided_first_stays_when_a_unit_that_was_given_up_is_made_after_all(shared):
    campaign = shared()
    campaign.finish()
    before, decided = campaign.results, load_promotion(campaign.store, campaign.id, 1, 1)
    index = campaign.plan.per_prompt * PROMPTS.index(GIVEN_UP)
    campaign.store_unit(index)
    campaign.ledger.complete(campaign.id, index)
    campaign.ledger.reopen(campaign.id, [index])
    campaign.make(9)
    campaign.ledger.complete(campaign.id, index)
    campaign.finish()
    assert load_promotion(campaign.store, campaign.id, 1, 1) == decided
    after = {result.prompt: result for result in campaign.results}
    assert [after[r.prompt] for r in before if r.prompt != GIVEN_UP] == [
        result for result in before if result.prompt != GIVEN_UP
    ]
    is_taken = score_of(GIVEN_UP) >= decided.last.score
    drop = after[GIVEN_UP].drop
    assert (drop is None or drop.stage > 1) == is_taken


def test_another_analyst_decides_alike_and_what_was_stored_first_holds(shared, ledger):
    campaign = shared()
    campaign.make(4)
    prompts = ledger.take_ready(campaign.id, 9)
    texts = campaign.plan.prompts
    for _ in range(2):
        other = Cohorts(campaign.store, ledger, lambda: None)
        assert other.have_wait(campaign.campaign, texts, prompts, [1] * 4) == set()
    first = load_promotion(campaign.store, campaign.id, 1, 0)
    campaign.store.delete(keys.promotion(campaign.id, 1, 0))
    assert other.have_wait(campaign.campaign, texts, prompts, [1] * 4) == set()
    assert load_promotion(campaign.store, campaign.id, 1, 0) == first
    assert (first.prompts, first.scored) == (4, 3)


def test_a_second_screen_ranks_only_those_that_came_to_it(shared, monkeypatch):
    monkeypatch.setattr(cohorts, "WAIT_SECONDS", 0.001)
    monkeypatch.setattr(cohorts, "WAIT_PROMPT_SECONDS", 0.0)
    second = Stage(screen="anisotropy", share=0.5, cohort=9, seeds=2)
    campaign = shared(screens=(BOUNDED, SHARED, second))
    campaign.finish()
    first = {text for text in PROMPTS if score_of(text) > BOUND} | {NO_NUMBER, GIVEN_UP}
    came = set().union(*(best([t for t in texts if t in first], 0.5) for texts in COHORTS))
    assert pictured(campaign) == best(sorted(came), 0.5)
    missed = gather_missed(campaign.campaign, campaign.results, {})
    assert [stage.prompts for stage in missed.stages[:3]] == [9, len(first), len(came)]
    assert [(stage.above, stage.share, stage.cohort) for stage in missed.stages[:3]] == [
        (BOUND, None, None),
        (None, 0.5, 4),
        (None, 0.5, 9),
    ]


def test_nothing_is_dropped_while_a_cohort_is_not_decided(shared):
    campaign = shared()
    campaign.make(9)
    actor = AnalysisActor(campaign.store.url)
    request = AnalysisRequest(campaign.id, PROMPTS[1], campaign.campaign.settings, index=1)
    told = actor.analyse(request)
    assert isinstance(told.error, TransientError)
    assert (told.result, told.goes_on_to) == (None, None)


def test_a_decision_that_is_not_what_was_written_is_refused_and_made_anew_once_removed(
    shared, ledger
):
    campaign = shared()
    campaign.make(4)
    prompts, key = ledger.take_ready(campaign.id, 9), keys.promotion(campaign.id, 1, 0)
    anew = Cohorts(campaign.store, ledger, lambda: None)
    for broken in (b"nothing", b"", b'{"stage": 1}'):
        campaign.store.replace(key, broken)
        with pytest.raises(ShardCorruptError, match="remove it, and the cohort is decided anew"):
            anew.have_wait(campaign.campaign, PROMPTS, prompts, [1] * 4)
    campaign.store.delete(key)
    assert anew.have_wait(campaign.campaign, PROMPTS, prompts, [1] * 4) == set()
    assert load_promotion(campaign.store, campaign.id, 1, 0).scored == 3


def test_scores_of_another_campaign_are_ranked_at_once(shared):
    campaign = shared()
    for index in range(0, len(campaign.plan), campaign.plan.per_prompt):
        if campaign.plan.unit(index).prompt != GIVEN_UP:
            campaign.store_unit(index)
    campaign.restore()
    campaign.finish()
    screened = [i for i in campaign.made if campaign.plan.unit(i).kind == "screen"]
    assert screened == []
    assert pictured(campaign) == set().union(*(best(texts, 0.5) for texts in COHORTS))
    assert campaign.store.exists(unit_shard(campaign.plan.unit(0)))


@given(st.integers(1, 999), st.integers(0, 2000))
def test_a_share_is_of_its_decimal_digits_and_rounded_up(thousandths, prompts):
    stage = Stage(screen="one-step", share=thousandths / 1000, seeds=1)
    assert stage.promoted(prompts) == -(-thousandths * prompts // 1000)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, "needs a bound, above, or a share"),
        ({"above": 1.0, "share": 0.5}, "and not both"),
        ({"above": 1.0, "cohort": 10}, "cohort is for a stage with a share"),
        ({"share": 0.001, "cohort": 10}, "less than one prompt; make the cohort larger"),
        ({"share": 1.0}, "less than 1"),
        ({"share": 0.0}, "greater than 0"),
        ({"share": 0.1, "cohort": 100_001}, "less than or equal to 100000"),
        ({"screen": None, "share": 0.1}, "for a stage with a screen"),
    ],
)
def test_a_share_that_says_nothing_is_refused(changes, words):
    with pytest.raises(ValueError, match=words):
        Stage(**{"screen": "one-step", "seeds": 4} | changes)
