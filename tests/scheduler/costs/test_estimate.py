"""What `plan` reckons, from a rate and sizes that are known."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seedsweep.scheduler.campaign.plan import Plan
from seedsweep.scheduler.costs.reckoning import READY_BYTES, reckon, state_bytes, usual_sizes
from seedsweep.scheduler.costs.stock import Stock, take_stock
from seedsweep.storage import keys
from seedsweep.storage.folder_store import FolderStore
from seedsweep.storage.record import SeedRange
from seedsweep.storage.settings.analysis import Verification
from seedsweep.workers.generation.throughput import Sizes, Throughput
from tests.support.campaigns import make_campaign, nothing_done

modest = settings(max_examples=60, derandomize=True, deadline=None)
SIZES = Sizes(shard=1000, shard_image=500, receipt=100, receipt_image=50, measured=True)


def plan_of(prompts=4, cuts=(50, 50, 20), keep="all"):
    sampling = {"seeds": sum(cuts), "width": 512, "height": 512, "images_per_unit": 50}
    sampling["batch_size"] = 10
    campaign = make_campaign(prompts=prompts, keep=keep, **sampling)
    stops = np.cumsum(cuts).tolist()
    ranges = tuple(
        SeedRange(first=stop - n, last=stop - 1) for n, stop in zip(cuts, stops, strict=True)
    )
    return Plan(campaign, [f"prompt {i}" for i in range(prompts)], ranges)


def stock_of(plan, done=()):
    units = np.zeros(len(plan), dtype=np.bool_)
    units[list(done)] = True
    return Stock(plan, units)


def rate(per_second=2.0, device="cuda:0"):
    return Throughput.given(device, per_second)


def test_missing_images_at_the_rate_are_the_hours_and_devices_share_them():
    found = reckon(stock_of(plan_of(), done=[0, 5]), rate(2.0), SIZES, devices=4, price=3.0)
    assert (found.images, found.images_done) == (480, 70)
    assert (found.units, found.units_done) == (12, 2)
    assert found.hours == pytest.approx(410 / 2 / 3600)
    assert found.wall_hours == pytest.approx(found.hours / 4)
    assert found.cost == pytest.approx(found.hours * 3)


def test_bytes_are_so_many_a_shard_and_so_many_an_image():
    found = reckon(stock_of(plan_of(), done=[0, 5]), rate(), SIZES)
    assert found.bytes == 12 * 1000 + 480 * 500
    assert found.bytes_to_write == 10 * 1000 + 410 * 500
    assert (found.kept_bytes, found.bytes_measured) == (found.bytes, True)


def test_objects_are_shards_parts_of_results_and_the_campaigns_own():
    """Three of four prompts lack a unit: at most as many parts, since there is one result each."""
    found = reckon(stock_of(plan_of(), done=[0, 1, 2]), rate(0.01), SIZES)
    assert found.objects == 9 + 3 + 4
    fast = reckon(stock_of(plan_of(prompts=10_000, cuts=(50,))), rate(1e9), SIZES)
    assert fast.objects == 10_000 + (40 + 1) + 4


def test_where_only_flagged_images_are_kept_one_receipt_a_prompt_is_left():
    plan = plan_of(keep="flagged")
    found = reckon(stock_of(plan), rate(0.01), SIZES)
    assert found.kept_bytes == 4 * 100 + 480 * 50
    assert found.kept_objects == 4 + 4 + 4
    assert found.objects == 12 + 4 + 4 + 4
    assert "Kept" in str(found)
    assert "Kept" not in str(reckon(stock_of(plan_of()), rate(), SIZES))


def test_a_unit_is_done_by_its_shard_or_by_its_prompts_receipt(tmp_path):
    plan, store = plan_of(keep="flagged"), FolderStore(tmp_path)
    store.create(keys.unit_shard(plan.unit(4)), b"")
    prompt_id = plan.unit(6).prompt_id
    whole = SeedRange(first=0, last=119)
    store.create(keys.receipt(plan.campaign.campaign_id, prompt_id, whole), b"")
    stock = take_stock(store, plan)
    assert np.flatnonzero(stock.done).tolist() == [4, 6, 7, 8]
    assert (stock.images_done, stock.prompts_left) == (50 + 120, 3)


def test_what_is_measured_is_missing_and_of_one_length():
    stock = stock_of(plan_of(), done=[0, 3, 4, 6])
    units = stock.missing(2)
    assert [unit.index for unit in units] == [2, 5]
    assert [len(unit.seeds) for unit in units] == [20, 20]
    assert stock_of(plan_of(), done=range(12)).missing(2) == []


def test_unmeasured_bytes_are_those_of_photographs_and_say_so():
    plan = plan_of()
    found = reckon(stock_of(plan), rate(), usual_sizes(plan.campaign.sampling))
    assert found.bytes == int(480 * (512 * 512 * (1.6 + 2 / 16) + 200))
    assert "(not measured)" in str(found)


@pytest.mark.parametrize(
    ("images_per_second", "device", "work", "wall"),
    [
        (1.0, "cuda:0", "2,025 GPU-days", "20.3 days on 100 devices"),
        (1.0, "cpu", "2,025 device-days", "20.3 days on 100 devices"),
        (1000.0, "cuda:0", "2.03 GPU-days", "29.2 min on 100 devices"),
        (1200.0, "cuda:0", "40.5 GPU-hours", "24.3 min on 100 devices"),
    ],
)
def test_the_papers_campaign_in_words(images_per_second, device, work, wall):
    """350,000 prompts of 500 seeds at one image a second."""
    plan = plan_of(prompts=350_000, cuts=(50,) * 10)
    found = reckon(stock_of(plan), rate(images_per_second, device), SIZES, 100, price=2.0)
    assert work in str(found)
    assert wall in str(found)
    assert f"{found.cost:,.2f} at 2 for a device-hour" in str(found)


def test_a_small_price_is_shown_to_three_digits():
    found = reckon(stock_of(plan_of(prompts=1, cuts=(50,))), rate(10.0, "cpu"), SIZES, price=0.05)
    assert f"{found.cost:.3g} at 0.05 for a device-hour" in str(found)
    assert found.cost < 0.001


def test_a_measured_rate_is_shown_with_its_spread_and_how_many_images_it_rests_on():
    measured = Throughput("cpu", 8.0, 7.5, 8.25, rounds=3, images=96, seconds=12.0)
    found = reckon(stock_of(plan_of()), measured, SIZES)
    assert "8 images/s on cpu (7.5 to 8.25 in 3 rounds; 96 images in 12 s)" in str(found)
    once = Throughput("cpu", 8.0, 8.0, 8.0, rounds=1, images=32, seconds=4.0)
    assert "8 images/s on cpu (1 round; 32 images in 4 s)" in str(
        reckon(stock_of(plan_of()), once, SIZES)
    )
    assert "8 images/s, as given" in str(reckon(stock_of(plan_of()), rate(8.0), SIZES))


def test_where_all_is_stored_nothing_is_left_to_pay():
    found = reckon(stock_of(plan_of(), done=range(12)), None, SIZES, price=2.0)
    assert (found.hours, found.wall_hours, found.cost, found.bytes_to_write) == (0, 0, 0, 0)
    assert found.rate is None
    assert "all is stored" in str(found)


@modest
@given(
    done=st.sets(st.integers(0, 11)),
    per_second=st.floats(0.001, 1e6),
    devices=st.integers(1, 1000),
)
def test_twice_the_devices_halve_the_wall_time_and_cost_the_same(done, per_second, devices):
    stock = stock_of(plan_of(), done)
    one = reckon(stock, rate(per_second), SIZES, devices, price=2.0)
    two = reckon(stock, rate(per_second), SIZES, 2 * devices, price=2.0)
    assert two.wall_hours == pytest.approx(one.wall_hours / 2)
    assert (two.hours, two.cost, two.bytes) == (one.hours, one.cost, one.bytes)


@modest
@given(done=st.sets(st.integers(0, 11)), more=st.sets(st.integers(0, 11)))
def test_what_is_stored_makes_the_rest_cheaper_and_the_whole_no_smaller(done, more):
    before = reckon(stock_of(plan_of(), done), rate(), SIZES)
    after = reckon(stock_of(plan_of(), done | more), rate(), SIZES)
    assert after.hours <= before.hours
    assert after.objects <= before.objects
    assert after.bytes_to_write <= before.bytes_to_write <= before.bytes == after.bytes


class TestBroker:
    """The formula beside a real broker's own account."""

    def restore(self, ledger, units, per_prompt, ready=()):
        state = nothing_done(units // per_prompt, per_prompt, ready=tuple(ready))
        ledger.restore("paper", state)

    def held(self, broker):
        return sum(broker.memory_usage(key, samples=0) for key in broker.keys("*"))

    @pytest.mark.parametrize(("units", "per_prompt"), [(3_500_000, 10), (60, 2)])
    def test_a_restored_campaign_takes_what_the_formula_says(
        self, ledger, broker, units, per_prompt
    ):
        self.restore(ledger, units, per_prompt)
        reckoned = state_bytes(units, units // per_prompt, window=0)
        assert reckoned / 4 < self.held(broker) < reckoned * 1.1

    def test_prompts_that_wait_take_what_the_formula_says(self, ledger, broker):
        self.restore(ledger, 20_000, 2, ready=range(10_000))
        reckoned = READY_BYTES * 10_000
        assert reckoned / 1.3 < broker.memory_usage("seedsweep:paper:ready", samples=0)
        assert broker.memory_usage("seedsweep:paper:ready", samples=0) < reckoned * 1.3

    @pytest.mark.parametrize("window", [100, 5000])
    def test_a_window_takes_no_more_than_the_formula_says(self, ledger, broker, broker_url, window):
        from seedsweep.workers.generation.celery_app import make_app, publish, queue_of

        plan = replace(plan_of(), prompts=["a photograph " * 5] * 4000)
        self.restore(ledger, len(plan), 3)
        before = self.held(broker)
        token, indexes = ledger.issue("paper", window)
        for index in indexes:
            ledger.claim("paper", index, token)
        units = (plan.unit(index, token) for index in indexes)
        publish(make_app(broker_url), queue_of("0" * 16), units)
        taken = self.held(broker) - before
        empty = state_bytes(0, 0, 0)
        reckoned = state_bytes(0, 0, window) - empty
        assert reckoned / 1.5 < taken < reckoned * 1.1


def test_it_says_which_files_of_the_training_set_are_left_out(tmp_path):
    (tmp_path / "train").mkdir()
    for name in ("a.png", "a.json", "b.json", "c.heic"):
        (tmp_path / "train" / name).write_bytes(b"")
    plan = plan_of()
    verification = Verification(training_set=str(tmp_path / "train"))
    plan = replace(plan, campaign=plan.campaign.model_copy(update={"verification": verification}))
    stock = take_stock(FolderStore(tmp_path / "store"), plan)
    assert "Left out   1 .heic, 2 .json of the training set" in str(reckon(stock, rate(), SIZES))
    assert "Left out" not in str(reckon(stock_of(plan_of()), rate(), SIZES))
