"""What was decided of cohorts, held against the stored scores."""

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from seedsweep.scheduler.analysing import cohorts
from seedsweep.scheduler.campaign.integrity import check_campaign, repair
from seedsweep.storage import keys
from seedsweep.storage.campaigns import load_parked
from seedsweep.storage.keys import unit_shard
from seedsweep.storage.promotions import Promotion, Rank, load_promotion
from seedsweep.storage.settings.sampling import Stage
from tests.support.screened import GIVEN_UP, NO_NUMBER, PROMPTS, Screened, score_of

FIRST = Stage(screen="one-step", share=0.5, cohort=4, seeds=2)
SECOND = Stage(screen="anisotropy", share=0.5, cohort=9, seeds=2)
OTHERS = "is not what the stored scores give: it was changed, or is another campaign's."
OTHERWISE = "has prompts go on that results say it dropped: it was changed since."
LOST = "is not in the store, though results go by it."
UNREADABLE = "remove it, and the cohort is decided anew."


@pytest.fixture(autouse=True)
def _prompt(monkeypatch):
    """Cohorts are looked at whenever somebody asks."""
    monkeypatch.setattr(cohorts, "LOOK_SECONDS", 0.0)
    monkeypatch.setattr(cohorts, "WAIT_SECONDS", 0.001)
    monkeypatch.setattr(cohorts, "WAIT_PROMPT_SECONDS", 0.0)


@pytest.fixture
def done(tmp_path, ledger):
    """A finished campaign of three cohorts, whose second screen has them in one."""
    return finished(tmp_path / "store", ledger)


@pytest.fixture
def one_screen(tmp_path, ledger):
    return finished(tmp_path / "store", ledger, (FIRST,))


def finished(folder, ledger, screens=(FIRST, SECOND)):
    campaign = Screened(folder, ledger, screens=screens)
    campaign.restore()
    finish(campaign)
    return campaign


def finish(campaign):
    """Prompts of a cohort may wait for a moment without any work."""
    for _ in range(1000):
        if campaign.ledger.counts(campaign.id).settled:
            return
        campaign.make(5)
        campaign.judge(3)
    raise AssertionError("It is not settled.")


def check(campaign):
    return check_campaign(campaign.store, campaign.id, campaign.ledger, lambda *_: None)


def decision(campaign, stage=1, cohort=0):
    return load_promotion(campaign.store, campaign.id, stage, cohort)


def ranks_of(cohort):
    """The ranks of those that have a score."""
    indexes = range(4 * cohort, min(4 * cohort + 4, len(PROMPTS)))
    return [
        Rank(score=score_of(PROMPTS[index]), index=index)
        for index in indexes
        if PROMPTS[index] not in (GIVEN_UP, NO_NUMBER)
    ]


def decisions(campaign):
    return [decision(campaign, 1, cohort) for cohort in range(3)] + [decision(campaign, 2, 0)]


def write(campaign, changed, stage=1, cohort=0):
    key = keys.promotion(campaign.id, stage, cohort)
    data = changed if isinstance(changed, bytes) else changed.model_dump_json().encode()
    campaign.store.replace(key, data)


def remove(campaign, stage=1, cohort=0):
    campaign.store.delete(keys.promotion(campaign.id, stage, cohort))


def everyone_goes_on(campaign):
    write(campaign, decision(campaign).model_copy(update={"last": decision(campaign).near}))


def fewer_were_scored(campaign):
    write(campaign, decision(campaign, 1, 2).model_copy(update={"prompts": 4}), 1, 2)


def another_score(campaign):
    last = decision(campaign).last
    changed = last.model_copy(update={"score": last.score - 0.01})
    write(campaign, decision(campaign).model_copy(update={"last": changed}))


def another_cohorts(campaign):
    moved = decision(campaign, 1, 2).model_copy(update={"cohort": 0})
    write(campaign, moved)


def nobody_had_a_score(campaign):
    none = {"scored": 0, "last": None, "near": None}
    write(campaign, decision(campaign).model_copy(update=none))


def nobody_had_one_by_then(campaign):
    none = {"scored": 0, "last": None, "near": None, "unscored": (0, 1, 2, 3)}
    write(campaign, decision(campaign).model_copy(update=none))


def nobody_had_one_before_that_was_recorded(campaign):
    none = {"scored": 0, "last": None, "near": None, "unscored": None}
    write(campaign, decision(campaign).model_copy(update=none))


def only_the_best_two_had_one(campaign):
    last, near = sorted(ranks_of(0), key=lambda rank: rank.order)[:2]
    write(campaign, decision(campaign).model_copy(update={"scored": 2, "last": last, "near": near}))


FORGED = {
    nobody_had_a_score: OTHERS,
    nobody_had_one_by_then: OTHERWISE,
    nobody_had_one_before_that_was_recorded: OTHERWISE,
    only_the_best_two_had_one: OTHERS,
    everyone_goes_on: OTHERS,
    fewer_were_scored: OTHERS,
    another_score: OTHERS,
    another_cohorts: OTHERS,
    remove: LOST,
    lambda campaign: write(campaign, b""): UNREADABLE,
    lambda campaign: write(campaign, b"\0\xff"): UNREADABLE,
    lambda campaign: write(campaign, b'{"stage": 1}'): UNREADABLE,
    lambda campaign: write(campaign, decision(campaign, 1, 1)): UNREADABLE,
}


def test_what_was_decided_of_the_stored_scores_is_right(done):
    assert check(done).decisions == ()
    assert check(done).is_sound


@pytest.mark.parametrize("forge", FORGED)
def test_a_wrong_decision_is_told_and_decided_anew_and_its_prompts_are_judged_by_that(done, forge):
    results, right = done.results, decisions(done)
    forge(done)
    wrong = check(done).decisions
    assert [each.stage for each in wrong] == [1]
    assert wrong[0].reason.endswith(FORGED[forge])
    assert wrong[0].key in wrong[0].reason
    assert (wrong[0].first, wrong[0].last) in ((0, 3), (8, 8))
    assert repair(done.store, done.id, done.ledger, check(done)) == 0
    finish(done)
    assert decisions(done) == right
    assert done.results == results
    assert check(done).is_sound


def test_whoever_went_by_a_forged_decision_is_judged_again(tmp_path, ledger):
    """It is forged before anybody went by it, and the campaign is done when it is found."""
    honest = finished(tmp_path / "honest", ledger, (FIRST,))
    forged = Screened(tmp_path / "forged", ledger, screens=(FIRST,))
    forged.restore()
    rule = decision(honest)
    worst = rule.near.model_copy(update={"score": -1.0})
    write(forged, rule.model_copy(update={"last": worst, "near": worst}))
    finish(forged)
    assert forged.results != honest.results
    assert [each.reason.endswith(OTHERS) for each in check(forged).decisions] == [True]
    repair(forged.store, forged.id, ledger, check(forged))
    finish(forged)
    assert (forged.results, decision(forged)) == (honest.results, rule)


@given(
    cohort=st.sampled_from([0, 1]),
    scored=st.integers(0, 4),
    places=st.tuples(st.integers(0, 2), st.integers(0, 2)),
    late=st.none() | st.sets(st.integers(0, 3)),
)
@settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.filter_too_much],
)
def test_whatever_is_forged_is_told_if_it_changes_who_goes_on_or_may_have_been_right(
    one_screen, cohort, scored, places, late
):
    """Right is what follows from all scores but those that it says came later."""
    right, ranks = decision(one_screen, 1, cohort), ranks_of(cohort)
    last, near = (ranks[place] if scored else None for place in places)
    later = None if late is None else {4 * cohort + place for place in late} | {*right.unscored}
    try:
        forged = Promotion(
            stage=1,
            cohort=cohort,
            prompts=4,
            scored=scored,
            last=last,
            near=near,
            unscored=None if later is None else tuple(sorted(later)),
        )
    except ValidationError:
        assume(False)
    write(one_screen, forged, 1, cohort)
    told = [each.cohort for each in check(one_screen).decisions]
    write(one_screen, right, 1, cohort)
    assert told in ([], [cohort])
    goes_on = [rank for rank in ranks if forged.takes(rank)]
    if any(not right.takes(rank) for rank in goes_on):
        assert told
    elif later is not None:
        known = sorted(
            (rank for rank in ranks if rank.index not in later), key=lambda rank: rank.order
        )
        number = len(known)
        expected = (number, *(known[n - 1] if known else None for n in PLACES[number]))
        assert bool(told) == ((scored, last, near) != expected)


PLACES = {0: (0, 0), 1: (1, 1), 2: (1, 2), 3: (2, 3), 4: (2, 3)}
"""By how many have a score, how many of them go on by `FIRST`, and with the near misses."""


def test_a_decision_names_whom_it_knew_no_score_of(done):
    assert [each.unscored for each in decisions(done)] == [(), (4,), (), (4,)]


def test_without_a_broker_the_next_run_decides_anew(done):
    results, right = done.results, decisions(done)
    everyone_goes_on(done)
    repair(done.store, done.id, None, check(done))
    done.ledger.forget(done.id)
    done.restore()
    finish(done)
    assert (done.results, decisions(done)) == (results, right)


def test_a_repair_that_was_cut_short_is_found_and_ended(done, monkeypatch):
    results = done.results
    everyone_goes_on(done)
    checkup = check(done)
    with monkeypatch.context() as cut:
        cut.setattr(
            "seedsweep.scheduler.campaign.decisions.drop_results",
            lambda *_: (_ for _ in ()).throw(OSError("cut")),
        )
        with pytest.raises(OSError, match="cut"):
            repair(done.store, done.id, done.ledger, checkup)
    assert [each.stage for each in check(done).decisions] == [1, 2]
    assert all(each.reason.endswith(UNREADABLE) for each in check(done).decisions)
    repair(done.store, done.id, done.ledger, check(done))
    finish(done)
    assert done.results == results
    assert check(done).is_sound


def test_nothing_is_said_of_a_later_stage_before_the_first_is_mended(done):
    everyone_goes_on(done)
    write(done, b"broken", 1, 1)
    right = decision(done, 2)
    write(done, b"broken", 2)
    assert [each.stage for each in check(done).decisions] == [1, 1, 2]
    write(done, right.model_copy(update={"last": right.near}), 2)
    assert [each.stage for each in check(done).decisions] == [1, 1]


def test_a_decision_before_a_unit_was_made_after_all_or_a_score_was_lost_is_right(done):
    first, *_ = load_parked(done.store, done.id)
    assert first.index == done.plan.per_prompt * PROMPTS.index(GIVEN_UP)
    done.store_unit(first.index)
    assert check(done).decisions == ()
    done.store.delete(unit_shard(done.plan.unit(done.plan.per_prompt * 5)))
    assert check(done).decisions == ()
    done.store.delete(unit_shard(done.plan.unit(0)))
    assert check(done).decisions == ()


def test_a_campaign_that_is_not_that_far_has_nothing_wrong(tmp_path, ledger):
    campaign = Screened(tmp_path / "begun", ledger, screens=(FIRST, SECOND))
    campaign.restore()
    assert check(campaign).decisions == ()
    campaign.make(5)
    campaign.judge(5)
    assert check(campaign).decisions == ()
    assert len(PROMPTS) == 9
