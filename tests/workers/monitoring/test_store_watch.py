"""What is wrong with a process' store is known from what it answered last, and for a while only."""

import threading

import pytest

from seedsweep.storage.folder_store import FolderStore
from seedsweep.storage.observed_store import StoreRequest
from seedsweep.workers.monitoring import store_watch
from seedsweep.workers.monitoring.campaign_collector import registry_of
from seedsweep.workers.monitoring.store_watch import note, troubles, watched


@pytest.fixture(autouse=True)
def well(monkeypatch):
    """A process whose store has done all that it was asked."""
    for name, empty in (("_failing", {}), ("_slow", {}), ("_watched", [])):
        monkeypatch.setattr(store_watch, name, empty)


@pytest.fixture
def now(monkeypatch):
    clock = [1000.0]
    monkeypatch.setattr(store_watch.time, "monotonic", lambda: clock[0])
    return clock


def fail(operation):
    note(StoreRequest(operation, 0, 0.1, f"It cannot {operation}."))


def succeed(operation, seconds=0.1):
    note(StoreRequest(operation, 10, seconds))


def kinds():
    """What is wrong, as it is told and as it is shown to Prometheus."""
    shown = {
        sample.labels["kind"]
        for family in registry_of("worker").collect()
        if family.name == "seedsweep_store_trouble"
        for sample in family.samples
        if sample.value
    }
    told = [trouble.kind for trouble in troubles()]
    assert shown == {*told}
    return told


@pytest.mark.parametrize("operation", ["create", "replace", "delete"])
def test_a_store_that_fails_a_write_is_in_trouble_until_it_grants_one(operation):
    fail(operation)
    assert kinds() == ["write"]
    succeed("read")
    assert kinds() == ["write"]
    succeed("create")
    assert kinds() == []


@pytest.mark.parametrize("operation", ["read", "read_range", "exists", "list", "folders"])
def test_a_store_that_fails_a_read_is_in_trouble_until_it_grants_one(operation):
    fail(operation)
    assert kinds() == ["read"]
    succeed("create")
    assert kinds() == ["read"]
    succeed("list")
    assert kinds() == []


def test_a_slow_write_is_told_until_one_is_quick_whatever_is_read_meanwhile():
    succeed("create", seconds=34)
    assert kinds() == ["slow"]
    assert "34 s to write" in troubles()[0].sentence
    succeed("exists")
    assert kinds() == ["slow"]
    succeed("create")
    assert kinds() == []


@pytest.mark.parametrize("operation", ["list", "folders"])
def test_a_long_listing_is_no_slow_store(operation):
    succeed(operation, seconds=600)
    assert kinds() == []


def test_what_is_worse_comes_first():
    succeed("create", seconds=34)
    fail("read")
    fail("create")
    assert kinds() == ["write", "read", "slow"]


def test_what_nobody_found_again_for_two_minutes_is_told_no_more(now):
    succeed("create", seconds=34)
    fail("read")
    now[0] += store_watch.STALE_SECONDS - 1
    assert kinds() == ["read", "slow"]
    now[0] += 2
    assert kinds() == []


def test_a_request_that_never_ends_is_slow_while_it_waits(tmp_path, monkeypatch, wait_until):
    answered = threading.Event()

    class Hung(FolderStore):
        def read(self, key):
            answered.wait()

    store = watched(Hung(tmp_path))
    asking = threading.Thread(target=store.read, args=("a/b",))
    monkeypatch.setattr(store_watch, "SLOW_SECONDS", 0.01)
    asking.start()
    try:
        (trouble,) = wait_until(troubles)
        assert trouble.sentence.startswith(f"The store {store.url} is slow: it has not answered")
    finally:
        answered.set()
        asking.join()
