import pytest

from seedsweep.scheduler.campaign import window
from seedsweep.scheduler.campaign.restore import restore_state
from seedsweep.scheduler.campaign.submission import submit_campaign
from seedsweep.scheduler.dispatch import checkpoints
from seedsweep.scheduler.dispatch import dispatcher as dispatcher_module
from seedsweep.storage import keys
from seedsweep.storage.keys import unit_shard
from seedsweep.storage.s3.connection import Patience
from seedsweep.storage.s3.store import S3Store
from tests.support.dispatching import work_off
from tests.support.proxy import STORAGE_FULL, Faults, HttpError


def test_a_broker_that_lost_everything_is_mended_from_the_checkpoint_without_a_listing(
    dispatcher, dispatch, ledger, published, plan, broker, store, monkeypatch
):
    monkeypatch.setattr(checkpoints, "CHECKPOINT_SECONDS", 0.0)
    monkeypatch.setattr(dispatcher_module, "LOOK_SECONDS", 0.0)
    monkeypatch.setattr(window, "SECONDS_AHEAD", 0.0)
    campaign_id = plan.campaign.campaign_id
    for _ in range(3):
        list(work_off(published, ledger, plan, broker, store))
        dispatcher.tick()
    done = ledger.counts(campaign_id).done
    assert 0 < done < len(plan)
    monkeypatch.setattr(checkpoints, "CHECKPOINT_SECONDS", 1e9)
    list(work_off(published, ledger, plan, broker, store))
    unnoted = ledger.counts(campaign_id).done - done
    assert unnoted > 0
    listed, listing = [], store.list
    monkeypatch.setattr(store, "list", lambda prefix: listed.append(prefix) or listing(prefix))
    broker.flushall()
    dispatcher.tick()
    assert not [prefix for prefix in listed if prefix.startswith("shards/")]
    assert ledger.counts(campaign_id).done == done
    again = []
    for _ in range(100):
        dispatcher.tick()
        again += [
            unit.index
            for unit in work_off(published, ledger, plan, broker)
            if not store.exists(unit_shard(unit))  # as a worker looks before it renders
        ]
    assert len(again) == len(plan) - done - unnoted


@pytest.mark.parametrize("error", [STORAGE_FULL, HttpError(403, "AccessDenied")])
def test_a_checkpoint_that_the_store_refuses_keeps_nothing_waiting_and_is_stored_later(
    dispatch, ledger, published, proxied_url, s3_proxy, plan, broker, store, monkeypatch, error
):
    """Full, or its key may only read: what is already rendered is all that has to wait."""
    monkeypatch.setattr(checkpoints, "CHECKPOINT_SECONDS", 0.0)
    monkeypatch.setattr(dispatcher_module, "LOOK_SECONDS", 0.0)
    monkeypatch.setattr(window, "SECONDS_AHEAD", 0.0)
    remote = S3Store(proxied_url, patience=Patience(again=0.1, backoff=0.001))
    submit_campaign(remote, plan)
    dispatcher = dispatch(published, remote)
    dispatcher.begin(plan, restore_state(remote, plan))
    checkpoint = keys.done(plan.campaign.campaign_id)
    s3_proxy.faults = Faults(errors=1.0, error=error, only="PUT")
    for _ in range(3):
        dispatcher.tick()
        assert list(work_off(published, ledger, plan, broker))
    assert not remote.exists(checkpoint)
    s3_proxy.heal()
    dispatcher.tick()
    dispatcher.tick()
    assert remote.exists(checkpoint)


def test_without_a_checkpoint_the_shards_are_listed(
    dispatcher, ledger, published, plan, broker, store
):
    list(work_off(published, ledger, plan, broker, store))
    store.replace(keys.done(plan.campaign.campaign_id), b"not a checkpoint")
    dispatcher.tick()
    list(work_off(published, ledger, plan, broker, store))
    done = ledger.counts(plan.campaign.campaign_id).done
    broker.flushall()
    dispatcher.tick()
    assert ledger.counts(plan.campaign.campaign_id).done == done > 0
