"""A campaign whose first stage is a screen, and whose broker forgets everything now and then."""

import random

import pytest

from seedsweep.audit.findings.counts import count_results, has_evidence
from seedsweep.audit.findings.missed import gather_missed, missed_words
from seedsweep.scheduler.campaign.current import parked_now
from seedsweep.scheduler.campaign.integrity import check_campaign, repair
from seedsweep.scheduler.campaign.plan import image_counts
from seedsweep.scheduler.campaign.progress import read_progress
from seedsweep.storage.campaigns import load_campaign, store_done
from seedsweep.storage.keys import unit_shard
from seedsweep.storage.records import prompt_id_of
from tests.support.screened import (
    BOUND,
    GIVEN_UP,
    NO_NUMBER,
    PROMPTS,
    SEEDS,
    Screened,
    score_of,
)


@pytest.fixture
def screened(tmp_path, ledger):
    """Have such a campaign in a folder of that name."""
    return lambda name, missed_sample=0.0: Screened(tmp_path / name, ledger, missed_sample)


@pytest.fixture
def done(screened):
    """A campaign that is done."""
    campaign = screened("done")
    campaign.restore()
    campaign.finish()
    return campaign


def goes_on(text):
    """The rule, told again: what nobody knows drops nothing."""
    return text in (NO_NUMBER, GIVEN_UP) or score_of(text) > BOUND


def test_a_prompt_goes_on_if_its_score_is_above_the_bound_or_nobody_knows_it(done):
    dropped = {r.prompt: r.drop for r in done.results if r.drop and r.drop.score is not None}
    assert set(dropped) == {text for text in PROMPTS if not goes_on(text)}
    assert 0 < len(dropped) < len(PROMPTS)
    for text, drop in dropped.items():
        assert drop.score == pytest.approx(score_of(text))
        assert drop.near == (score_of(text) > BOUND / 1.5)
        assert (drop.stage, drop.sampled) == (1, False)


def test_pictures_are_made_only_of_prompts_that_go_on_and_each_prompt_is_scored_once(done):
    units = [done.plan.unit(index) for index in done.made]
    scored = [unit.prompt for unit in units if unit.kind == "screen"]
    assert sorted(scored) == [text for text in PROMPTS if text != GIVEN_UP]
    pictured = {unit.prompt for unit in units if unit.kind == "generate"}
    assert pictured == {text for text in PROMPTS if goes_on(text)}


@pytest.mark.parametrize("missed_sample", [0.0, 0.5])
def test_whatever_is_forgotten_the_same_prompts_go_on_and_nothing_is_made_twice(
    screened, ledger, missed_sample
):
    undisturbed = screened("undisturbed", missed_sample)
    undisturbed.restore()
    undisturbed.finish()
    for seed in range(3):
        chance = random.Random(seed)
        disturbed = screened(f"disturbed {seed}", missed_sample)
        disturbed.restore()

        def forget(chance=chance, disturbed=disturbed):
            if chance.random() < 0.4:
                if chance.random() < 0.5:
                    store_done(disturbed.store, disturbed.id, ledger.done_units(disturbed.id))
                ledger.forget(disturbed.id)
                disturbed.restore(checkpointed=chance.random() < 0.5)

        disturbed.finish(forget)
        assert len(disturbed.made) == len(set(disturbed.made))
        assert set(disturbed.made) == set(undisturbed.made)
        assert disturbed.results == undisturbed.results


def test_scores_that_another_campaign_has_stored_are_not_made_again(screened, tmp_path, ledger):
    first = screened("shared")
    first.restore()
    first.finish()
    again = screened("shared", missed_sample=1.0)
    assert again.id != first.id
    again.restore()
    again.finish()
    assert not [i for i in again.made if again.plan.unit(i).kind == "screen"]
    assert {r.prompt for r in again.results if r.seeds == SEEDS} == set(PROMPTS) - {
        r.prompt for r in again.results if r.drop and not r.drop.sampled
    }


def test_the_store_alone_knows_that_the_campaign_is_done_and_counts_images_alone(done):
    live, stored = done.ledger.counts(done.id), read_progress(done.store, done.id, None, None)
    assert stored.state == "done"
    assert (stored.units_done, stored.units_parked) == (live.done, 1)
    assert stored.units_dropped == live.dropped > 0
    assert stored.images_full == len(PROMPTS) * SEEDS
    assert stored.images == stored.images_done == sum(result.seeds for result in done.results)


def test_a_check_reads_scores_too_and_has_broken_ones_made_again(done):
    place = done.plan.per_prompt * PROMPTS.index(NO_NUMBER)
    key = unit_shard(done.plan.unit(place))
    done.store.replace(key, b"nothing")
    checkup = check_campaign(done.store, done.id, done.ledger, lambda *_: None)
    assert [(fault.index, fault.key) for fault in checkup.corrupt] == [(place, key)]
    assert (checkup.holes, checkup.parked) == ((), 1)
    before = done.results
    assert repair(done.store, done.id, done.ledger, checkup) == 1
    done.finish()
    assert done.results == before
    assert done.made.count(place) == 2
    assert check_campaign(done.store, done.id, done.ledger, lambda *_: None).corrupt == ()


def test_a_screens_unit_that_was_given_up_counts_until_it_is_made_after_all(done):
    submission = load_campaign(done.store, done.id)
    (parked,) = parked_now(done.store, submission)
    assert parked.prompt_id == prompt_id_of(GIVEN_UP)
    done.store_unit(parked.index)
    assert parked_now(done.store, submission) == []


def test_what_a_screen_drops_counts_as_not_flagged_and_its_loss_is_not_guaranteed(done):
    results = done.results
    assert all(has_evidence(result, 4) for result in results)
    counts = count_results(results, len(PROMPTS), SEEDS, 4)
    missed = gather_missed(done.campaign, results, {})
    screen, pictures = missed.stages
    assert (screen.screen, screen.above) == ("noise-magnitude", BOUND)
    assert screen.went_on == pictures.prompts == sum(map(goes_on, PROMPTS))
    assert screen.dropped + pictures.dropped == counts.dropped
    assert "Nothing is guaranteed of what a screen drops" in missed_words(missed, done.campaign)[-1]


def test_scores_are_counted_apart_from_images(screened):
    campaign = screened("counted")
    campaign.restore()

    def counted():
        done, stages = (
            getattr(campaign.ledger, of)(campaign.id) for of in ("done_units", "stages")
        )
        return image_counts(campaign.campaign, campaign.plan.cuts, done, stages)

    before = counted()
    assert (before.scored, before.to_score, before.done) == (0, len(PROMPTS), 0)
    campaign.finish()
    after = counted()
    assert (after.scored, after.to_score) == (len(PROMPTS) - 1, len(PROMPTS))  # one is given up
    assert after.done == after.wanted < after.full == before.full
