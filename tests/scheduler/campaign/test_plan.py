import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seedsweep.scheduler.campaign.plan import Plan, cut_seeds
from seedsweep.storage import keys
from seedsweep.storage.errors import ShardCorruptError
from seedsweep.storage.record import SeedRange
from seedsweep.storage.records import Prompt
from seedsweep.storage.settings.analysis import Analysis
from seedsweep.storage.settings.sampling import Stage
from tests.support.campaigns import make_campaign

modest = settings(max_examples=200, derandomize=True, deadline=None)


def span(first, last):
    return SeedRange(first=first, last=last)


def campaign(seeds=100, prompts=3, first_seed=0, **analysis):
    sampling = {"seeds": seeds, "first_seed": first_seed, "images_per_unit": 50}
    return make_campaign(prompts=prompts, analysis=Analysis(**analysis), **sampling)


def plan_of(campaign, prompts, stored=()):
    """What submission makes of a campaign, given the keys in the store."""
    counts = {}
    wanted = {Prompt(text=text).prompt_id for text in prompts}
    for key in stored:
        prompt_id, seeds = keys.parse_shard(key)
        if prompt_id in wanted:
            counts[seeds] = counts.get(seeds, 0) + 1
    cuts = cut_seeds(campaign.seeds, campaign.sampling.images_per_unit, counts)
    return Plan(campaign, prompts, cuts)


def all_keys(plan):
    return [keys.unit_shard(plan.unit(i)) for i in range(len(plan))]


seed_ranges = st.tuples(st.integers(0, 60), st.integers(1, 200)).map(lambda p: range(p[0], sum(p)))
stored_ranges = st.dictionaries(
    st.tuples(st.integers(0, 300), st.integers(0, 40)).map(lambda p: span(p[0], sum(p))),
    st.integers(1, 500),
    max_size=8,
)


@modest
@given(seed_ranges, st.integers(1, 60), stored_ranges)
def test_units_are_disjoint_ascending_and_cover_the_seeds_exactly(seeds, size, stored):
    cuts = cut_seeds(seeds, size, stored)
    assert [seed for cut in cuts for seed in range(cut.first, cut.last + 1)] == list(seeds)
    assert all(len(cut) <= size or cut in stored for cut in cuts)


@modest
@given(seed_ranges, st.integers(1, 60), stored_ranges, st.lists(st.integers(1, 200), max_size=3))
def test_a_unit_ends_where_a_stage_does_unless_a_stored_one_goes_on(seeds, size, stored, ends):
    cuts = cut_seeds(seeds, size, stored, ends)
    assert [seed for cut in cuts for seed in range(cut.first, cut.last + 1)] == list(seeds)
    for end in (seeds.start + end for end in ends):
        across = [cut for cut in cuts if cut.first < end <= cut.last]
        assert all(cut in stored for cut in across)
    stages = tuple(Stage(seeds=n) for n in sorted({n for n in ends if 2 <= n < len(seeds)}))
    campaign = make_campaign(seeds=len(seeds), first_seed=seeds.start, stages=stages)
    for stage, opened in zip(stages, campaign.stage_ends(cuts), strict=False):
        assert sum(map(len, cuts[:opened])) >= stage.seeds
        assert sum(map(len, cuts[: opened - 1])) < stage.seeds


@modest
@given(seed_ranges, st.integers(1, 60), stored_ranges)
def test_stored_ranges_that_do_not_overlap_are_all_used(seeds, size, stored):
    apart, end = {}, -1
    for found in sorted(stored, key=lambda found: found.first):
        if found.first > end:
            apart[found] = stored[found]
            end = found.last
    cuts = cut_seeds(seeds, size, apart)
    for found in apart:
        inside = found.first >= seeds.start and found.last < seeds.stop
        assert (found in cuts) == inside or (len(found) <= size and found in cuts)


@modest
@given(seed_ranges, st.integers(1, 60), stored_ranges)
def test_the_cut_does_not_depend_on_the_order_of_what_is_stored(seeds, size, stored):
    backwards = dict(reversed(stored.items()))
    assert cut_seeds(seeds, size, stored) == cut_seeds(seeds, size, backwards)


def test_seeds_are_cut_into_full_units_and_a_rest():
    assert cut_seeds(range(0, 120), 50, {}) == (span(0, 49), span(50, 99), span(100, 119))
    assert cut_seeds(range(7, 9), 50, {}) == (span(7, 8),)


def test_seeds_before_and_between_stored_ranges_are_cut_up_to_them():
    stored = {span(10, 19): 1, span(30, 39): 1}
    assert cut_seeds(range(0, 45), 50, stored) == (
        span(0, 9),
        span(10, 19),
        span(20, 29),
        span(30, 39),
        span(40, 44),
    )


def test_stored_ranges_that_reach_outside_are_of_no_use():
    stored = {span(0, 49): 500, span(90, 139): 500}
    assert cut_seeds(range(10, 110), 50, stored) == (span(10, 59), span(60, 109))


def test_of_ranges_with_one_beginning_the_one_that_most_prompts_have_is_kept_then_the_longer():
    assert cut_seeds(range(0, 50), 50, {span(0, 9): 2, span(0, 49): 1})[0] == span(0, 9)
    assert cut_seeds(range(0, 50), 50, {span(0, 9): 1, span(0, 49): 1})[0] == span(0, 49)


def test_a_unit_s_index_is_its_prompt_and_its_cut():
    plan = plan_of(campaign(seeds=120), ["a", "b", "c"])
    assert len(plan) == 9
    seen = set()
    for index in range(len(plan)):
        unit = plan.unit(index, f"token{index}")
        assert unit.index == index
        assert unit.token == f"token{index}"
        assert unit.prompt == "abc"[index // 3]
        assert unit.seeds == plan.cuts[index % 3]
        assert unit.campaign_id == plan.campaign.campaign_id
        assert unit.generation_id == plan.campaign.generation_id
        seen.add(keys.unit_shard(unit))
    assert len(seen) == 9


@modest
@given(st.sets(st.integers(0, 8)))
def test_a_unit_is_done_when_its_shard_is_there(indexes):
    plan = plan_of(campaign(seeds=120), ["a", "b", "c"])
    done = plan.done(keys.unit_shard(plan.unit(index)) for index in indexes)
    assert done.dtype == np.bool_
    assert set(np.flatnonzero(done)) == indexes


def test_shards_of_other_prompts_or_seeds_are_passed_over():
    plan = plan_of(campaign(), ["a", "b", "c"])
    generation_id = plan.campaign.generation_id
    others = [
        keys.shard(generation_id, Prompt(text="z").prompt_id, span(0, 49)),
        keys.shard(generation_id, Prompt(text="a").prompt_id, span(0, 48)),
        keys.shard(generation_id, Prompt(text="a").prompt_id, span(500, 549)),
    ]
    assert not plan.done(others).any()


def test_a_foreign_object_among_the_shards_is_reported():
    plan = plan_of(campaign(), ["a"])
    with pytest.raises(ShardCorruptError, match="notes"):
        plan.done([f"shards/{plan.campaign.generation_id}/notes.txt"])


def test_images_counts_the_seeds_of_the_marked_units():
    plan = plan_of(campaign(seeds=120), ["a", "b", "c"])
    assert plan.images(np.ones(9, dtype=np.bool_)) == 360
    assert plan.images(np.zeros(9, dtype=np.bool_)) == 0
    some = np.zeros(9, dtype=np.bool_)
    some[[0, 2, 8]] = True
    assert plan.images(some) == 50 + 20 + 20


def test_another_threshold_ten_more_seeds_and_a_prompt_plan_only_the_new_images():
    first = plan_of(campaign(seeds=100, prompts=3), ["a", "b", "c"])
    stored = all_keys(first)
    changed = campaign(seeds=110, prompts=4, edge_threshold=0.05)
    second = plan_of(changed, ["a", "b", "c", "new"], stored)
    assert second.campaign.campaign_id != first.campaign.campaign_id
    missing = ~second.done(stored)
    assert second.images(missing) == 3 * 10 + 110
    made = [second.unit(int(index)) for index in np.flatnonzero(missing)]
    assert [unit.seeds for unit in made if unit.prompt != "new"] == [span(100, 109)] * 3
    assert second.done([*stored, *map(keys.unit_shard, made)]).all()


def test_seeds_that_grow_twice_by_odd_numbers_are_never_made_twice():
    stored, made = [], 0
    for seeds in (33, 77, 120, 500):
        plan = plan_of(campaign(seeds=seeds), ["a", "b", "c"], stored)
        missing = ~plan.done(stored)
        made += plan.images(missing)
        stored += [keys.unit_shard(plan.unit(int(i))) for i in np.flatnonzero(missing)]
    assert made == 3 * 500


def test_another_threshold_alone_plans_nothing():
    first = plan_of(campaign(), ["a", "b", "c"])
    again = plan_of(campaign(edge_threshold=0.2), ["a", "b", "c"], all_keys(first))
    assert again.done(all_keys(first)).all()


def test_seeds_before_the_stored_ones_are_added_in_front():
    late = plan_of(campaign(seeds=100, first_seed=30), ["a"])
    whole = plan_of(campaign(seeds=130), ["a"], all_keys(late))
    assert whole.images(~whole.done(all_keys(late))) == 30


def test_a_campaign_of_paper_scale_is_planned_in_a_moment():
    prompts = [f"prompt {i}" for i in range(20_000)]
    plan = plan_of(campaign(seeds=500, prompts=20_000), prompts)
    assert len(plan) == 200_000
    assert plan.images(~plan.done([])) == 10_000_000
