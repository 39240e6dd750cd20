"""A campaign whose first stage is a screen, and whose broker forgets everything now and then."""

import math
import random
from hashlib import sha256

import pytest

from seedsweep.audit.findings.counts import count_results, has_evidence
from seedsweep.audit.findings.missed import gather_missed, missed_words
from seedsweep.scheduler.campaign.current import parked_now
from seedsweep.scheduler.campaign.estimate import reckon, take_stock, usual_sizes
from seedsweep.scheduler.campaign.integrity import check_campaign, repair
from seedsweep.scheduler.campaign.plan import image_counts
from seedsweep.scheduler.campaign.progress import read_progress
from seedsweep.scheduler.campaign.restore import load_plan, restore_state
from seedsweep.scheduler.campaign.submission import plan_campaign, submit_campaign
from seedsweep.storage.campaigns import load_campaign, store_done, store_parked
from seedsweep.storage.folder_store import FolderStore
from seedsweep.storage.keys import unit_shard
from seedsweep.storage.prompts import digest_prompts
from seedsweep.storage.records import Parked, prompt_id_of
from seedsweep.storage.results import results_by, store_results
from seedsweep.storage.scores import Scored, encode_scores
from seedsweep.storage.settings.analysis import Analysis
from seedsweep.storage.settings.sampling import PromptList, Stage
from seedsweep.workers.analysts.actor import AnalysisActor, AnalysisRequest
from seedsweep.workers.generation.throughput import Throughput
from tests.support.campaigns import make_campaign, make_images

SEEDS = 12
PROMPTS = [f"prompt {number}" for number in range(9)]
NO_NUMBER, GIVEN_UP = PROMPTS[2], PROMPTS[4]
BOUND = 0.5


def score_of(text):
    return math.nan if text == NO_NUMBER else sha256(text.encode()).digest()[0] / 256


class Screened:
    """A campaign with a screen before its stage of pictures, worked off in this process."""

    def __init__(self, folder, ledger, missed_sample=0.0):
        stages = (
            Stage(screen="noise-magnitude", above=BOUND, seeds=2),
            Stage(seeds=4),
        )
        campaign = make_campaign(
            stages=stages,
            missed_sample=missed_sample,
            seeds=SEEDS,
            width=8,
            height=8,
            images_per_unit=4,
            analysis=Analysis(tiles=2, min_clique_size=4),
        )
        digest = digest_prompts(map(prompt_id_of, PROMPTS))
        prompts = PromptList(file="prompts.txt", digest=digest, count=len(PROMPTS))
        self.store, self.ledger = FolderStore(folder), ledger
        campaign = campaign.model_copy(update={"prompts": prompts})
        submission = submit_campaign(self.store, plan_campaign(self.store, campaign, PROMPTS))
        self.plan, self.campaign = load_plan(self.store, submission), submission.campaign
        self.id = self.campaign.campaign_id
        self.made = []
        self._actor = AnalysisActor(self.store.url)

    def restore(self, checkpointed=False):
        self.ledger.restore(
            self.id, restore_state(self.store, self.plan, checkpointed=checkpointed)
        )

    def make(self, count):
        token, indexes = self.ledger.issue(self.id, count)
        for index in indexes:
            assert self.ledger.claim(self.id, index, token).outcome == "granted"
            unit = self.plan.unit(index)
            if unit.kind == "screen" and unit.prompt == GIVEN_UP:
                park = Parked(
                    index=index, prompt_id=unit.prompt_id, seeds=unit.seeds, reason="no luck"
                )
                store_parked(self.store, self.id, park)
                self.ledger.park(self.id, index)
                continue
            if not self.store.exists(unit_shard(unit)):
                self.store_unit(index)
                self.made.append(index)
            self.ledger.complete(self.id, index)
        return len(indexes)

    def store_unit(self, index):
        unit = self.plan.unit(index)
        if unit.kind == "generate":
            make_images(self.store, self.plan, [index])
            return
        scores = (score_of(unit.prompt) - 0.125, score_of(unit.prompt) + 0.125)
        shard = encode_scores(unit, Scored(scores, "cpu", 1, "v"))
        self.store.create(unit_shard(unit), shard)

    def judge(self, count):
        prompts = self.ledger.take_ready(self.id, count)
        stages = self.ledger.stages_of(self.id, prompts)
        for prompt, stage in zip(prompts, stages, strict=True):
            request = AnalysisRequest(self.id, PROMPTS[prompt], self.campaign.settings, stage=stage)
            told = self._actor.analyse(request)
            if told.goes_on_to:
                self.ledger.open_stage(self.id, prompt, told.goes_on_to)
                continue
            store_results(self.store, self.campaign.analysis_id, self.id, [told.value])
            after = told.value.dropped_after
            self.ledger.analysed(self.id, prompt, told.value.flagged, after)
        return len(prompts)

    def finish(self, forget=lambda: None):
        while not self.ledger.counts(self.id).settled:
            assert self.make(5) + self.judge(3) > 0
            forget()

    @property
    def results(self):
        found = results_by(self.store, self.campaign.settings, self.id)
        return sorted(found, key=lambda result: result.prompt)


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
    missed = gather_missed(done.campaign, results)
    screen, pictures = missed.stages
    assert (screen.screen, screen.above) == ("noise-magnitude", BOUND)
    assert screen.went_on == pictures.prompts == sum(map(goes_on, PROMPTS))
    assert screen.dropped + pictures.dropped == counts.dropped
    assert "Nothing is guaranteed of what a screen drops" in missed_words(missed, done.campaign)[-1]


def test_the_plan_reckons_the_passes_of_a_screen_into_its_hours(screened):
    campaign = screened("reckoned")
    plan = campaign.plan
    rate = Throughput("cpu", 1.0, 1.0, 1.0, 1, 1, 1.0)
    found = reckon(take_stock(campaign.store, plan), rate, usual_sizes(plan.campaign.sampling))
    least = found.stages[0]
    steps = plan.campaign.sampling.steps
    screening = len(PROMPTS) * 2 * 2 / (2 * steps)
    assert least.hours * 3600 == pytest.approx(least.padded_images + screening)
    assert found.images == len(PROMPTS) * SEEDS


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
