"""What `plan` reckons of stages: empty places of batches, screens, and shards of scores."""

from dataclasses import replace

import numpy as np
import pytest

from seedsweep.scheduler.campaign.plan import Plan, cut_seeds
from seedsweep.scheduler.costs.funnel_cost import GOES_ON
from seedsweep.scheduler.costs.reckoning import SCORES_BYTES, SEED_BYTES, reckon
from seedsweep.scheduler.costs.stock import Stock
from seedsweep.storage.records import Unseen
from seedsweep.storage.settings.sampling import Stage
from seedsweep.workers.generation.throughput import Sizes, Throughput
from tests.support.campaigns import make_campaign

PROMPTS, SEEDS, BATCH, STEPS = 100, 64, 16, 10
SIZES = Sizes(shard=1000, shard_image=500, receipt=100, receipt_image=50, measured=True)
SCREEN = Stage(screen="anisotropy", above=1.0, seeds=4)
SHARED = Stage(screen="noise-magnitude", share=0.1, cohort=40, seeds=4)
FEW = Stage(seeds=4)


def stock_of(*stages, missed_sample=0.01, done=()):
    campaign = make_campaign(
        stages=stages,
        missed_sample=missed_sample,
        prompts=PROMPTS,
        seeds=SEEDS,
        batch_size=BATCH,
        images_per_unit=32,
        steps=STEPS,
    )
    ends = [stage.seeds for stage in campaign.picture_stages]
    cuts = cut_seeds(campaign.seeds, 32, {}, ends)
    plan = Plan(campaign, [f"prompt {i}" for i in range(PROMPTS)], cuts)
    units = np.zeros(len(plan), dtype=np.bool_)
    units[list(done)] = True
    return Stock(plan, units)


def measured(per_second):
    return Throughput("cpu", per_second, per_second, per_second, rounds=3, images=9, seconds=9.0)


def test_few_pictures_of_a_stage_cost_a_whole_batch():
    """Cuts of 4, 32 and 28 take 16, 32 and 32 places."""
    found = reckon(stock_of(FEW, missed_sample=0.0), Throughput.given("cpu", 2.0), SIZES, price=3.0)
    assert found.hours == pytest.approx(PROMPTS * 80 / 2 / 3600)
    for goes_on, cost in zip(GOES_ON, found.stages, strict=True):
        assert cost.images == round(PROMPTS * (4 + goes_on * 60))
        assert cost.padded_images == round(PROMPTS * (16 + goes_on * 64))
        assert cost.hours == pytest.approx(PROMPTS * (16 + goes_on * 64) / 2 / 3600)
        assert cost.cost == pytest.approx(3 * cost.hours)
        assert cost.of_full == pytest.approx((16 + goes_on * 64) / 80)
    assert "Batches of 16 are padded: of a stage's pictures 4 take as long as 16." in str(found)


def test_what_prompts_share_costs_nothing_in_stages_either():
    stock = stock_of(FEW, missed_sample=0.0)
    a_tenth = Unseen(same=tuple((i, 0) for i in range(1, 11)))
    model = stock.plan.campaign.model.model_copy(update={"pipeline": "diffusers"})
    campaign = stock.plan.campaign.model_copy(update={"model": model})
    sharing = Stock(replace(stock.plan, campaign=campaign, unseen=a_tenth), stock.done)
    rate = Throughput.given("cpu", 2.0)
    alone, shared = reckon(stock, rate, SIZES), reckon(sharing, rate, SIZES)
    assert shared.hours == pytest.approx(0.9 * alone.hours)
    for one, other in zip(alone.stages, shared.stages, strict=True):
        assert (other.hours, other.of_full) == pytest.approx((0.9 * one.hours, one.of_full))
        assert other.images == pytest.approx(0.9 * one.images, abs=1)


def test_a_rate_that_was_measured_on_few_pictures_in_a_batch_is_not_that_of_full_ones():
    """Measured are a stage's four pictures: four times as many places a second."""
    found = reckon(stock_of(FEW), measured(2.0), SIZES)
    assert found.hours == pytest.approx(PROMPTS * 80 / (2 * BATCH / 4) / 3600)


def test_a_screen_costs_its_passes_for_all_prompts_and_the_next_one_for_those_that_go_on():
    found = reckon(stock_of(SCREEN, SHARED, missed_sample=0.0), Throughput.given("cpu", 1.0), SIZES)
    for goes_on, cost in zip(GOES_ON, found.stages, strict=True):
        screening = PROMPTS * (4 * 4 + goes_on * 2 * 4) / (2 * STEPS)
        assert cost.screening == pytest.approx(screening)
        assert cost.hours == pytest.approx((screening + PROMPTS * goes_on * SEEDS) / 3600)


def test_of_a_share_it_is_known_how_many_go_on_and_how_many_are_near_misses():
    [cost] = reckon(stock_of(SHARED), Throughput.given("cpu", 1.0), SIZES).stages
    assert cost.goes_on == 0.1
    assert cost.sampled == pytest.approx(0.05 * 0.1 + 0.85 * 0.01)
    assert cost.images == round(PROMPTS * (0.1 + cost.sampled) * SEEDS)


def test_scores_are_no_shards_of_pictures_and_decisions_are_objects():
    without = reckon(stock_of(), Throughput.given("cpu", 1.0), SIZES)
    found = reckon(stock_of(SHARED, done=[0, 3]), Throughput.given("cpu", 1.0), SIZES)
    scores = SCORES_BYTES + 4 * SEED_BYTES
    assert found.bytes == without.bytes + PROMPTS * scores
    assert found.bytes_to_write == found.bytes - 2 * scores
    assert found.objects == without.objects + PROMPTS - 2 + 3


def test_the_words_hold_images_hours_money_and_the_share_of_the_full_attack():
    found = reckon(stock_of(SHARED), Throughput.given("cpu", 1.0), SIZES, price=2.0)
    assert "10% of the prompts go on after the first stage" in str(found)
    assert f"{found.stages[0].of_full:.1%} of the full attack" in str(found)
    assert f"device-hours, {found.stages[0].cost:,.2f}" in str(found)
