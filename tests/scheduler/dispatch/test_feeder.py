from seedsweep.scheduler.campaign import window
from seedsweep.scheduler.dispatch import dispatcher as dispatcher_module
from seedsweep.scheduler.dispatch import feeder
from tests.support.dispatching import queue_key, work_off


def test_the_window_is_bounded_and_grows_with_the_live_workers(
    dispatcher, workforce, serve, plan, published
):
    dispatcher.tick()
    dispatcher.tick()
    assert len(published) == window.UNITS_PER_WORKER
    serve(workforce, plan, "a", "b", "c")
    dispatcher.tick()
    assert len(published) == 3 * window.UNITS_PER_WORKER


def test_every_unit_is_published_once_until_all_are_done(
    dispatcher, ledger, published, plan, broker
):
    worked = []
    for _ in range(100):
        dispatcher.tick()
        worked += [unit.index for unit in work_off(published, ledger, plan, broker)]
    assert sorted(worked) == list(range(len(plan)))
    counts = ledger.counts(plan.campaign.campaign_id)
    assert (counts.done, counts.queued, counts.ready) == (60, 0, 30)


def test_messages_that_the_broker_lost_are_published_again(
    dispatcher, ledger, published, plan, broker, monkeypatch, wait_until
):
    monkeypatch.setattr(feeder, "SILENT_SECONDS", 0.05)
    dispatcher.tick()
    first = {unit.index for unit in published}
    published.clear()
    broker.delete(queue_key(plan))
    wait_until(lambda: dispatcher.tick() or published)
    assert {unit.index for unit in published} == first


def test_that_none_of_them_is_done_though_they_were_sent_before_is_said(
    dispatcher, ledger, published, plan, broker, monkeypatch, wait_until, caplog
):
    monkeypatch.setattr(feeder, "SILENT_SECONDS", 0.05)
    said = []

    def is_said_again():
        broker.delete(queue_key(plan))
        dispatcher.tick()
        said[:] = [r.message for r in caplog.records if "were lost" in r.message]
        return len(said) == 2

    wait_until(is_said_again)
    assert [sentence.endswith("the version that the scheduler has.") for sentence in said] == [
        *(False, True)
    ]
    caplog.clear()
    unit = published[-1]
    ledger.claim(unit.campaign_id, unit.index, unit.token)
    ledger.complete(unit.campaign_id, unit.index)
    wait_until(lambda: is_said_again() or said)
    assert said[0].endswith("they are sent again.")


def test_while_messages_wait_in_the_queue_none_is_published_twice(
    dispatcher, published, monkeypatch
):
    monkeypatch.setattr(feeder, "SILENT_SECONDS", 0.0)
    for _ in range(5):
        dispatcher.tick()
    assert len(published) == window.UNITS_PER_WORKER


def test_campaigns_of_one_model_share_its_window_and_one_that_ends_leaves_it_to_the_other(
    dispatch, ledger, plan, submit_another, published, broker, monkeypatch
):
    monkeypatch.setattr(dispatcher_module, "LOOK_SECONDS", 0.0)
    monkeypatch.setattr(window, "SECONDS_AHEAD", 0.0)
    other = submit_another(sampling=plan.campaign.sampling.model_copy(update={"steps": 9}))
    dispatcher = dispatch(published)
    plans = {p.campaign.campaign_id: p for p in (plan, other)}
    order = []
    while len(order) < 2 * len(plan):
        dispatcher.tick()
        for unit in list(published):
            published.remove(unit)
            broker.lpop(queue_key(plan))
            assert ledger.claim(unit.campaign_id, unit.index, unit.token).outcome == "granted"
            ledger.complete(unit.campaign_id, unit.index)
            order.append(unit.campaign_id)
    half = order[: len(plan)]
    assert abs(half.count(plan.campaign.campaign_id) - len(half) / 2) <= 2
    assert {c: order.count(c) for c in plans} == dict.fromkeys(plans, len(plan))
