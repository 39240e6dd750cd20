import shutil

import pytest

from seedsweep.scheduler.campaign import window
from seedsweep.scheduler.campaign.control import prioritise, steer
from seedsweep.scheduler.dispatch import broken_campaigns
from seedsweep.scheduler.dispatch import dispatcher as dispatcher_module
from seedsweep.scheduler.dispatch.dispatcher import Dispatcher
from seedsweep.storage import ledger as ledger_module
from seedsweep.storage.campaigns import load_parked, store_control
from seedsweep.storage.errors import BrokerUnavailableError, ShardCorruptError, TransientError
from seedsweep.storage.keys import unit_shard
from seedsweep.storage.ledger import MAX_LOSSES, Ledger
from seedsweep.storage.records import Control
from seedsweep.storage.workforce import Workforce
from seedsweep.workers.monitoring import metrics
from tests.support.dispatching import queue_key, work_off


def test_units_of_a_vanished_worker_are_published_again(
    dispatcher, ledger, published, plan, broker, monkeypatch, wait_until
):
    monkeypatch.setattr(ledger_module, "LEASE_MS", 50)
    dispatcher.tick()
    lost = published.pop(0)
    assert ledger.claim(plan.campaign.campaign_id, lost.index, lost.token).outcome == "granted"

    def comes_again():
        dispatcher.tick()
        list(work_off(published, ledger, plan, broker))
        return ledger.counts(plan.campaign.campaign_id).done == len(plan)

    expired = metrics.LEASE_EXPIRIES._value.get()
    wait_until(comes_again)
    assert metrics.LEASE_EXPIRIES._value.get() == expired + 1


def test_after_a_broker_that_was_away_workers_that_lived_through_it_renew_their_leases_first(
    dispatcher, ledger, published, plan, monkeypatch, wait_until
):
    monkeypatch.setattr(ledger_module, "LEASE_MS", 0)
    monkeypatch.setattr(dispatcher_module, "AWAY_SECONDS", 0.5)
    dispatcher.tick()
    held, campaign_id = published.pop(0), plan.campaign.campaign_id
    ledger.claim(campaign_id, held.index, held.token)
    dispatcher._heard -= 1
    dispatcher.tick()
    assert ledger.counts(campaign_id).claimed == 1
    assert ledger.renew(campaign_id, [(held.index, held.token)]) == 1

    def is_reaped():
        dispatcher.tick()
        return ledger.counts(campaign_id).claimed == 0

    wait_until(is_reaped)


def test_a_unit_that_loses_its_worker_five_times_is_parked_with_its_reason(
    dispatcher, ledger, published, plan, store, broker, monkeypatch, wait_until
):
    monkeypatch.setattr(ledger_module, "LEASE_MS", 20)
    campaign_id = plan.campaign.campaign_id

    def killed_again():
        dispatcher.tick()
        for unit in [unit for unit in published if unit.index == 0]:
            ledger.claim(campaign_id, 0, unit.token)
        published[:] = [unit for unit in published if unit.index != 0]
        list(work_off(published, ledger, plan, broker))
        return ledger.counts(campaign_id).parked == 1

    wait_until(killed_again)
    assert [(p.index, p.seeds) for p in load_parked(store, campaign_id)] == [(0, plan.cuts[0])]
    assert "vanished" in load_parked(store, campaign_id)[0].reason
    assert dispatcher.lost == MAX_LOSSES


def test_a_broker_that_lost_everything_is_mended_from_the_store(
    dispatcher, ledger, published, plan, broker, store
):
    dispatcher.tick()
    done = {unit.index for unit in work_off(published, ledger, plan, broker, store)}
    broker.flushall()
    again = []
    for _ in range(100):
        dispatcher.tick()
        again += [unit.index for unit in work_off(published, ledger, plan, broker, store)]
    assert done
    assert sorted(again) == sorted(set(range(len(plan))) - done)


def test_only_the_leader_feeds_and_another_takes_over_from_it(dispatcher, dispatch, plan):
    dispatcher.tick()
    second = []
    other = dispatch(second)
    other.tick()
    assert second == []
    dispatcher.resign()
    other.tick()
    other.tick()
    assert second == []  # the window of the first one is full, and taken over as it is
    other._ledger.reissue_queued(plan.campaign.campaign_id)
    other.tick()
    assert second


def test_a_broker_that_is_away_is_an_error_that_can_be_tried_again(store, free_port):
    url = f"redis://127.0.0.1:{free_port()}/0"
    away = Dispatcher(store, Ledger(url), Workforce(url), print, list)
    with pytest.raises(BrokerUnavailableError):
        away.tick()


def test_every_campaign_is_restored_before_changes_are_accepted_again(
    dispatcher, ledger, submit_another, broker, monkeypatch
):
    submit_another()
    dispatcher.tick()
    broker.flushall()
    restored = []
    restore = ledger.restore

    def watched(campaign_id, state):
        restored.append(ledger.has_epoch())
        restore(campaign_id, state)

    monkeypatch.setattr(ledger, "restore", watched)
    dispatcher.tick()
    assert restored == [False, False]
    assert len(ledger.campaigns()) == 2


def test_a_campaign_that_is_submitted_is_taken_up(dispatch, ledger, plan, published, monkeypatch):
    monkeypatch.setattr(dispatcher_module, "LOOK_SECONDS", 0.0)
    dispatcher = dispatch(published)
    dispatcher.tick()
    dispatcher.tick()
    assert ledger.campaigns() == [plan.campaign.campaign_id]
    assert published


def test_what_is_wanted_of_a_campaign_is_read_from_the_store(
    dispatcher, store, ledger, plan, monkeypatch
):
    monkeypatch.setattr(dispatcher_module, "LOOK_SECONDS", 0.0)
    campaign_id = plan.campaign.campaign_id
    for state in ("paused", "active", "cancelled"):
        store_control(store, campaign_id, Control(state=state))
        dispatcher.tick()
        assert ledger.counts(campaign_id).state == state


def test_a_campaign_that_cannot_be_read_does_not_keep_the_others_from_going_on(
    dispatch, store, ledger, plan, published, submit_another, monkeypatch
):
    monkeypatch.setattr(dispatcher_module, "LOOK_SECONDS", 0.0)
    store.create("campaigns/aaa-broken/campaign.json", b"{")
    store.create("campaigns/aab-half/prompts.parquet", b"being submitted")
    broken = submit_another()
    store.create(f"campaigns/{broken.campaign.campaign_id}/control.json", b"{")
    stray = submit_another("stray", sampling=plan.campaign.sampling.model_copy(update={"steps": 3}))
    store.create(f"shards/{stray.campaign.generation_id}/ab/stray.txt", b"not a shard")
    dispatcher = dispatch(published)
    dispatcher.tick()
    dispatcher.tick()
    assert ledger.campaigns() == [plan.campaign.campaign_id]
    assert published


def test_a_campaign_that_could_not_be_read_is_tried_again_and_goes_on_once_it_can_be(
    dispatch, store, ledger, plan, published, monkeypatch, caplog
):
    monkeypatch.setattr(dispatcher_module, "LOOK_SECONDS", 0.0)
    monkeypatch.setattr(broken_campaigns, "FIRST_SECONDS", 0.0)
    campaign_id = plan.campaign.campaign_id
    control = store.root / "campaigns" / campaign_id / "control.json"
    caplog.set_level("INFO")

    def said(dispatcher):
        caplog.clear()
        for _ in range(3):
            dispatcher.tick()
        return [r.message for r in caplog.records if campaign_id in r.message]

    control.write_bytes(b"{")
    dispatcher = dispatch(published)
    (left_out,) = said(dispatcher)
    assert left_out.startswith(f"The campaign {campaign_id} is left out, and tried again every")
    assert said(dispatcher) == []
    control.write_bytes(b"[]")
    (otherwise,) = said(dispatcher)
    assert otherwise != left_out
    assert not published
    control.unlink()
    assert f"The campaign {campaign_id} can be read again, and goes on." in said(dispatcher)
    assert published
    control.write_bytes(b"{")
    assert said(dispatcher) == [left_out]
    control.unlink()
    assert said(dispatcher) == [f"The campaign {campaign_id} can be read again, and goes on."]
    control.write_bytes(b"{")
    said(dispatcher)
    shutil.rmtree(control.parent)
    assert said(dispatcher) == [f"The campaign {campaign_id} has gone from the store."]
    assert ledger.campaigns() == []


def test_what_cannot_be_read_is_tried_less_and_less_often(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(broken_campaigns.time, "monotonic", lambda: now[0])
    broken, waits = broken_campaigns.BrokenCampaigns(), []
    for _ in range(8):
        broken.leave_out("a-1", ShardCorruptError("It is broken."))
        began = now[0]
        while broken.resting:
            now[0] += 1
        waits.append(now[0] - began)
        assert broken.known == {"a-1"}
    assert waits == [10, 20, 40, 80, 160, 300, 300, 300]
    broken.take_back("a-1")
    assert not broken.known


def test_a_campaign_that_has_gone_from_the_store_is_forgotten(
    dispatcher, store, ledger, plan, monkeypatch
):
    monkeypatch.setattr(dispatcher_module, "LOOK_SECONDS", 0.0)
    dispatcher.tick()
    shutil.rmtree(store.root / "campaigns" / plan.campaign.campaign_id)
    dispatcher.tick()
    assert ledger.campaigns() == []


def test_a_settled_campaign_that_is_reopened_is_fed_again(
    dispatcher, ledger, published, plan, broker, monkeypatch
):
    monkeypatch.setattr(dispatcher_module, "LOOK_SECONDS", 0.0)
    campaign_id = plan.campaign.campaign_id
    while not ledger.counts(campaign_id).settled:
        dispatcher.tick()
        list(work_off(published, ledger, plan, broker))
        for prompt in ledger.take_ready(campaign_id, 99):
            ledger.analysed(campaign_id, prompt, flagged=False)
    dispatcher.tick()
    ledger.reopen(campaign_id, [7])
    for _ in range(4):
        dispatcher.tick()
    assert [unit.index for unit in published] == [7]


def order_of_work(dispatcher, ledger, published, broker, plan, units):
    """Work off so many units one by one, as one worker would: whose each was, in that order."""
    order = []
    while len(order) < units:
        dispatcher.tick()
        if not published:  # the first tick only takes the campaigns up
            continue
        unit = published.pop(0)
        broker.lpop(queue_key(plan))
        assert ledger.claim(unit.campaign_id, unit.index, unit.token).outcome == "granted"
        ledger.complete(unit.campaign_id, unit.index)
        order.append(unit.campaign_id)
    return order


def test_priority_and_weight_are_read_while_campaigns_run(
    dispatch, store, ledger, plan, submit_another, published, broker, monkeypatch
):
    monkeypatch.setattr(dispatcher_module, "LOOK_SECONDS", 0.0)
    monkeypatch.setattr(window, "SECONDS_AHEAD", 0.0)
    monkeypatch.setattr(window, "UNITS_PER_WORKER", 8)
    other = submit_another(sampling=plan.campaign.sampling.model_copy(update={"steps": 9}))
    mine, others = plan.campaign.campaign_id, other.campaign.campaign_id
    dispatcher = dispatch(published)

    def share_of_mine(control, units=24):
        store_control(store, mine, control)
        order_of_work(dispatcher, ledger, published, broker, plan, 8)  # what is in the window
        order = order_of_work(dispatcher, ledger, published, broker, plan, units)
        return order.count(mine) / units

    assert abs(share_of_mine(Control(weight=3)) - 3 / 4) < 0.1
    assert share_of_mine(Control(priority=-1)) == 0
    assert {mine, others} == set(ledger.campaigns())
    assert share_of_mine(Control(priority=1), units=8) == 1


def test_a_scheduler_that_restores_for_long_keeps_the_lead_or_gives_way(
    dispatcher, dispatch, plan, broker, store, monkeypatch
):
    monkeypatch.setattr(dispatcher_module, "LEAD_SECONDS", 0.0)
    other = dispatch([])
    dispatcher.tick()
    listing, led = store.list, []

    def long(prefix):
        led.append(dispatcher._workforce.lead())
        return listing(prefix)

    monkeypatch.setattr(store, "list", long)
    for index in range(4):
        store.create(unit_shard(plan.unit(index)), b"shard")
    broker.delete("seedsweep:epoch")
    dispatcher.tick()
    assert led
    assert all(led)

    def overtaken(prefix):
        broker.delete("seedsweep:leader")
        assert other._workforce.lead()
        return listing(prefix)

    monkeypatch.setattr(store, "list", overtaken)
    broker.delete("seedsweep:epoch")
    with pytest.raises(TransientError, match="Another scheduler"):
        dispatcher.tick()
    assert not dispatcher._ledger.has_epoch()


def test_a_campaign_that_was_being_submitted_is_taken_up_once_its_record_is_there(
    dispatch, store, ledger, plan, published, monkeypatch
):
    monkeypatch.setattr(dispatcher_module, "LOOK_SECONDS", 0.0)
    campaign_id = plan.campaign.campaign_id
    record = store.read(f"campaigns/{campaign_id}/campaign.json")
    store.delete(f"campaigns/{campaign_id}/campaign.json")
    dispatcher = dispatch(published)
    dispatcher.tick()
    dispatcher.tick()
    assert ledger.campaigns() == []
    store.create(f"campaigns/{campaign_id}/campaign.json", record)
    dispatcher.tick()
    assert ledger.campaigns() == [campaign_id]


def test_what_is_wanted_of_a_campaign_is_logged_even_if_the_broker_was_told_already(
    dispatcher, store, ledger, plan, monkeypatch, caplog
):
    monkeypatch.setattr(dispatcher_module, "LOOK_SECONDS", 0.0)
    campaign_id = plan.campaign.campaign_id
    dispatcher.tick()
    steer(store, campaign_id, "paused", ledger)
    prioritise(store, campaign_id, 2, None)
    with caplog.at_level("INFO"):
        dispatcher.tick()
        dispatcher.tick()
    assert [r.message for r in caplog.records if r.levelname == "INFO"] == [
        f"The campaign {campaign_id} is paused now.",
        f"The campaign {campaign_id} has priority 2 and weight 1 now.",
    ]
