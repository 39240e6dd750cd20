import logging

import pytest

from seedsweep.scheduler.analysing.waiting import AGAIN_SECONDS, Waiting
from seedsweep.storage.errors import (
    BrokerUnavailableError,
    RayUnavailableError,
    StoreUnavailableError,
)
from seedsweep.storage.observed_store import StoreRequest
from seedsweep.workers.monitoring import broker_watch, store_watch

STORE, BROKER, RAY = (
    StoreUnavailableError("The store is away."),
    BrokerUnavailableError("The broker is away."),
    RayUnavailableError("Ray is away."),
)


@pytest.fixture
def said(caplog):
    caplog.set_level(logging.INFO, "seedsweep.scheduler.analysing.waiting")
    return lambda: caplog.messages


@pytest.fixture
def now(monkeypatch):
    """The clock, and a process whose broker and store do all that they are asked."""
    clock = [1000.0]
    monkeypatch.setattr("seedsweep.scheduler.analysing.waiting.time.monotonic", lambda: clock[0])
    monkeypatch.setattr(store_watch, "_failing", {})
    broker_watch.heard()
    yield clock
    broker_watch.heard()


def fail_store():
    store_watch.note(StoreRequest("read", 0, 0.1, str(STORE)))


def test_what_is_away_is_said_once_of_a_kind_however_often_another_one_answers(now, said):
    waiting = Waiting()
    for _ in range(200):
        fail_store()
        waiting.say(STORE)
        waiting.note_answer()
        now[0] += 1
    waiting.say(BROKER)
    assert said() == [f"The analyst waits: The {what} is away." for what in ("store", "broker")]


def test_what_stays_away_is_said_again_after_a_while(now, said):
    waiting = Waiting()
    for seconds in (0, AGAIN_SECONDS - 1, 1):
        now[0] += seconds
        waiting.say(STORE)
    assert said() == ["The analyst waits: The store is away."] * 2


def test_once_all_answers_again_that_is_said_once(now, said):
    waiting = Waiting()
    fail_store()
    waiting.say(STORE)
    waiting.say(BROKER)
    store_watch.note(StoreRequest("read", 9, 0.1))
    waiting.note_answer()
    assert len(said()) == 2
    broker_watch.heard()
    waiting.note_answer()
    waiting.note_answer()
    assert said()[2:] == ["Broker and store answer again."]
    waiting.say(STORE)
    assert len(said()) == 4


def test_ray_comes_back_by_itself(now, said):
    waiting = Waiting()
    waiting.say(RAY)
    waiting.note_answer()
    waiting.note_ray()
    waiting.note_ray()
    assert said() == ["The analyst waits: Ray is away.", "Ray answers again."]
