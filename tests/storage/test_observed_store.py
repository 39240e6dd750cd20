"""What is told of the requests to a store; that it stays a store is in `test_store`."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from seedsweep.storage.errors import StoreUnavailableError
from seedsweep.storage.folder_store import FolderStore
from seedsweep.storage.observed_store import ObservedStore


@pytest.fixture
def seen():
    return []


@pytest.fixture
def store(tmp_path, seen):
    return ObservedStore(FolderStore(tmp_path / "data"), seen.append)


@pytest.fixture
def broken(tmp_path, seen):
    """A store whose folder is a file."""
    (tmp_path / "file").write_text("no folder")
    return ObservedStore(FolderStore(tmp_path / "file"), seen.append)


def told(requests):
    return [(request.operation, request.size, request.failed) for request in requests]


def test_each_call_is_told_once_with_the_bytes_it_moved(store, seen):
    store.create("a/b", b"12345")
    store.replace("a/b", b"123")
    store.read("a/b")
    store.read("a/c")
    store.read_range("a/b", -2, 2)
    store.exists("a/b")
    store.delete("a/b")
    assert told(seen) == [
        ("create", 5, False),
        ("replace", 3, False),
        ("read", 3, False),
        ("read", 0, False),
        ("read_range", 2, False),
        ("exists", 0, False),
        ("delete", 0, False),
    ]
    assert all(request.seconds > 0 for request in seen)


CALLS = {
    "create": lambda store: store.create("a/b", b"1"),
    "replace": lambda store: store.replace("a/b", b"1"),
    "read": lambda store: store.read("a/b"),
    "read_range": lambda store: store.read_range("a/b", 0, 1),
    "delete": lambda store: store.delete("a/b"),
    "list": lambda store: list(store.list("")),
    "folders": lambda store: list(store.folders("")),
}


@pytest.mark.parametrize("operation", CALLS)
def test_a_call_that_the_store_fails_is_told_and_raises_what_the_store_raises(
    broken, seen, operation
):
    with pytest.raises(StoreUnavailableError, match="free space"):
        CALLS[operation](broken)
    assert told(seen) == [(operation, 0, True)]


@pytest.mark.parametrize("operation", CALLS)
def test_what_the_store_said_is_told_without_the_key_so_that_all_keys_fail_alike(
    broken, seen, operation
):
    with pytest.raises(StoreUnavailableError) as raised:
        CALLS[operation](broken)
    (request,) = seen
    assert "a/b" not in request.failure
    assert request.failure in (str(raised.value), str(raised.value).replace("a/b", "objects"))


def test_how_long_the_oldest_request_has_waited_is_known_while_it_waits(tmp_path, monkeypatch):
    waited = []

    class Slow(FolderStore):
        def read(self, key):
            monkeypatch.setattr(
                "seedsweep.storage.observed_store.time.perf_counter", lambda: began + 30
            )
            waited.append(store.waited)

    store = ObservedStore(Slow(tmp_path), lambda _: None)
    began = time.perf_counter()
    assert store.waited == 0
    store.read("a")
    assert waited == [pytest.approx(30, abs=1)]
    assert store.waited == 0


def test_a_key_that_is_none_is_the_callers_failure_and_not_the_stores(store, seen):
    with pytest.raises(ValueError, match="is not a key"):
        store.read("../x")
    assert told(seen) == [("read", 0, False)]


def test_a_listing_is_told_when_it_ends_however_it_ends(store, seen):
    for key in ("a/1", "a/2", "b/1"):
        store.create(key, b"")
    seen.clear()
    keys = store.list("")
    assert (next(keys), next(keys), seen) == ("a/1", "a/2", [])
    assert list(keys) == ["b/1"]
    folders = store.folders("")
    assert next(folders) == "a"
    folders.close()
    assert told(seen) == [("list", 0, False), ("folders", 0, False)]


def test_nothing_is_asked_or_told_of_a_listing_before_it_is_begun(broken, seen):
    broken.list("")
    broken.folders("../")
    assert seen == []


def test_what_the_caller_does_between_two_keys_is_no_time_of_the_store(tmp_path, seen, monkeypatch):
    ticks = iter(range(100))
    monkeypatch.setattr(
        "seedsweep.storage.observed_store.time.perf_counter", lambda: float(next(ticks))
    )
    FolderStore(tmp_path).create("a", b"")
    FolderStore(tmp_path).create("b", b"")
    for _ in ObservedStore(FolderStore(tmp_path), seen.append).list(""):
        next(ticks)
    assert [request.seconds for request in seen] == [3.0]  # two keys, and that there is no third


def test_a_call_is_told_in_the_thread_that_made_it(tmp_path):
    threads = set()
    store = ObservedStore(FolderStore(tmp_path), lambda _: threads.add(threading.get_ident()))
    with ThreadPoolExecutor(1) as pool:
        pool.submit(store.exists, "a").result()
        other = pool.submit(threading.get_ident).result()
    assert threads == {other}
