"""Which load a unit is of, and how the units of a campaign are counted by load."""

import numpy as np

from seedsweep.scheduler.campaign.plan import Plan
from seedsweep.scheduler.dispatch import loads
from seedsweep.scheduler.dispatch.loads import Loads, load_of, loads_of
from seedsweep.storage.live_state import DROPPED
from seedsweep.storage.settings.sampling import Stage
from tests.support.campaigns import make_campaign, nothing_done
from tests.support.over_models import CUTS, IDS, PROMPTS


def test_a_load_is_named_by_its_model_or_by_all_of_them_in_any_order():
    a, b = IDS
    assert load_of([a]) == load_of([a, a]) == load_of([a], "screen") == a
    assert load_of([a, b]) == load_of([b, a]) == load_of([b, a, b])
    assert len({a, b, load_of([a, b]), load_of([a, b, "c"])}) == 4
    assert len(load_of(IDS)) == len(a)


def test_a_load_of_a_later_kind_is_its_own_and_names_the_kind():
    assert load_of(IDS, "membership") == f"membership-{load_of(IDS)}"
    assert len({load_of(IDS, kind) for kind in ("generate", "membership", "inpaint")}) == 3


def test_a_campaign_of_one_model_has_its_model_for_its_only_load():
    campaign = make_campaign(stages=[Stage(screen="noise-magnitude", above=1.0, seeds=2)])
    plan = Plan(campaign, PROMPTS, CUTS)
    assert {*loads_of(plan)} == {campaign.model.model_id}
    assert len(loads_of(plan)) == plan.per_prompt == len(CUTS) + 1


def test_counting_by_load_takes_no_more_than_a_tenth_of_the_time(ledger, monkeypatch):
    clock, counted = [0.0], []

    def done_units(campaign_id):
        counted.append(clock[0])
        clock[0] += 0.5

    campaign = make_campaign(prompts=4, seeds=3, images_per_unit=1)
    plans = {campaign.campaign_id: Plan(campaign, PROMPTS, CUTS[:3])}
    ledger.restore(campaign.campaign_id, nothing_done(4, 3))
    counts = {campaign.campaign_id: ledger.counts(campaign.campaign_id)}
    monkeypatch.setattr(loads, "loads_of", lambda plan: ("x", "y", "x"))
    monkeypatch.setattr(ledger, "done_units", done_units)
    monkeypatch.setattr(loads.time, "monotonic", lambda: clock[0])
    counting = Loads(ledger)
    while clock[0] < 12:
        counting.split(plans, counts)
        clock[0] += 0.25
    assert counted == [0.0, 5.5, 11.0]


def test_units_are_counted_by_load_as_one_by_one(ledger, monkeypatch):
    """Some are done, parked or dropped, some wait for a stage, and some are in the window."""
    monkeypatch.setattr(loads, "loads_of", lambda plan: ("x", "y", "x"))
    monkeypatch.setattr(loads, "RECOUNT_SECONDS", 0)
    stages = [Stage(seeds=2)]
    campaign = make_campaign(prompts=4, seeds=3, images_per_unit=1, stages=stages)
    plan = Plan(campaign, PROMPTS, CUTS[:3])
    name = campaign.campaign_id
    done = np.zeros(12, dtype=np.bool_)
    done[[0, 1, 3, 6, 7]] = True
    of_prompts = np.array([1 + DROPPED, 1, 2, 1], dtype=np.uint8)
    ledger.restore(
        name,
        nothing_done(4, 3, done=done, parked=frozenset({4}), ends=(2, 3), stages=of_prompts),
    )
    counting = Loads(ledger)
    counting.split({name: plan}, {name: ledger.counts(name)})
    token, [first, _] = ledger.issue(name, 2, counting.lot(name, "x"))
    ledger.claim(name, first, token)
    ledger.issue(name, 1, counting.lot(name, "y"))
    whole = ledger.counts(name)
    told = {load: c[name] for load, c in counting.split({name: plan}, {name: whole}).items()}
    opened = {0: 2, 1: 2, 2: 3, 3: 2}
    for load, places in {"x": (0, 2), "y": (1,)}.items():
        units = [(p, place) for p in range(4) for place in places]
        settled = [u for u in units if done[u[0] * 3 + u[1]] or u == (1, 1)]
        closed = [u for u in units if u[1] >= opened[u[0]] and u not in settled]
        count = told[load]
        assert count.units == len(units)
        assert count.done == sum(bool(done[p * 3 + place]) for p, place in units)
        assert count.parked == sum(u == (1, 1) for u in units)
        assert count.dropped == sum(p == 0 for p, _ in closed)
        assert count.held == sum(p != 0 for p, _ in closed)
    for field in ("units", "done", "parked", "dropped", "held", "queued", "claimed", "pending"):
        assert sum(getattr(count, field) for count in told.values()) == getattr(whole, field)
    assert (told["x"].queued, told["x"].claimed, told["y"].queued) == (1, 1, 1)
