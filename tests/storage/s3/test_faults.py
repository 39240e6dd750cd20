"""A real S3 server behind a network that fails: nothing is ever half there."""

import contextlib
import itertools
import random
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from seedsweep.storage.errors import StoreUnavailableError
from seedsweep.storage.s3.connection import Patience
from seedsweep.storage.s3.store import S3Store
from seedsweep.storage.stores import open_store
from tests.support.proxy import INTERNAL_ERROR, SLOW_DOWN, STORAGE_FULL, Faults, Proxy

HASTE = Patience(connect=1.0, read=1.0, again=3.0, backoff=0.001)
HURRY = Patience(connect=0.2, read=0.2, again=0.1, backoff=0.001)
SIZE = 150_000
"""More than one piece, so that a body is cut inside as well as at its ends."""

FAULTS = {
    "slow": Faults(latency=0.05),
    "cut": Faults(cut=0.3),
    "uploads cut": Faults(cut_sent=90_000),
    "answers cut": Faults(cut_answered=300),
    "answers lost": Faults(lose_answer=0.5),
    "silent": Faults(black_hole=True),
    "away": Faults(refuse=True),
    "failing": Faults(errors=0.5, error=INTERNAL_ERROR),
    "busy": Faults(errors=0.7, error=SLOW_DOWN),
    "full": Faults(errors=0.5, error=STORAGE_FULL),
}
once_per_example = settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@pytest.fixture
def direct(s3_url):
    """The store, past the proxy."""
    return open_store(s3_url)


@pytest.fixture
def store(proxied_url):
    """The store through the proxy; whether the server honours create-only is known already."""
    store = S3Store(proxied_url, patience=HASTE)
    store.create("known/already", b"")
    return store


@pytest.fixture
def keys():
    """Keys that were not used before."""
    return (f"a/{number}" for number in itertools.count())


@once_per_example
@given(sent=st.integers(0, SIZE + 2_000))
def test_an_upload_that_is_cut_anywhere_leaves_nothing_or_all(store, direct, s3_proxy, keys, sent):
    key, data = next(keys), random.Random(sent).randbytes(SIZE)
    s3_proxy.faults = Faults(cut_sent=sent)
    created = None
    with contextlib.suppress(StoreUnavailableError):
        created = store.create(key, data)
    s3_proxy.heal()
    there = direct.read(key)
    assert there in ((None, data) if created is None else (data,))
    assert (key in direct.list("a/")) == (there is not None)
    assert store.create(key, bytes(SIZE)) == (there is None)
    assert direct.read(key) == (there or bytes(SIZE))


@once_per_example
@given(answered=st.integers(0, SIZE + 1_000))
def test_an_answer_that_is_cut_anywhere_is_read_whole_or_not_at_all(
    store, proxied_url, direct, s3_proxy, answered
):
    """Even the first answer is not taken for that of a server which is none."""
    store = S3Store(proxied_url, patience=HASTE)
    data = random.Random(0).randbytes(SIZE)
    direct.create("a/b", data)
    s3_proxy.faults = Faults(cut_answered=answered)
    for read, whole in (
        (lambda: store.read("a/b"), data),
        (lambda: store.read_range("a/b", -SIZE // 2, SIZE // 2), data[-SIZE // 2 :]),
        (lambda: list(store.list("")), ["a/b", "known/already"]),
        (lambda: store.exists("a/b"), True),
        (lambda: store.exists("a/c"), False),
    ):
        with contextlib.suppress(StoreUnavailableError):
            assert read() == whole
    s3_proxy.heal()


def test_an_answer_cut_within_its_headers_is_not_taken_for_an_empty_object(s3_server):
    """Some servers name the length last."""
    answer = b'HTTP/1.1 200 OK\r\nDate: now\r\nETag: "1"\r\nContent-Length: 4\r\n\r\ndata'
    with answering(answer) as port, Proxy(port) as proxy:
        store = S3Store(f"s3://bucket?endpoint=http://127.0.0.1:{proxy.port}", patience=HASTE)
        assert store.read("a") == b"data"
        for end in range(len(answer)):
            proxy.cut()
            proxy.faults = Faults(cut_answered=end)
            with pytest.raises(StoreUnavailableError):
                store.read("a")


@contextlib.contextmanager
def answering(answer):
    """A server that answers each request the same: its port."""

    def serve(listener):
        with contextlib.suppress(OSError):
            while True:
                connection, _ = listener.accept()
                threading.Thread(target=converse, args=[connection], daemon=True).start()

    def converse(connection):
        with connection, contextlib.suppress(OSError):
            while connection.recv(65536):
                connection.sendall(answer)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=serve, args=[listener], daemon=True).start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)


@pytest.mark.parametrize("faults", FAULTS.values(), ids=FAULTS)
def test_whatever_the_network_does_only_unavailability_is_told_and_every_object_is_whole(
    store, proxied_url, direct, s3_proxy, faults
):
    bodies = {f"a/{seed}": random.Random(seed).randbytes(SIZE) for seed in range(4)}
    hurried = S3Store(proxied_url, patience=HURRY)
    s3_proxy.faults = faults
    for key, body in bodies.items():
        with contextlib.suppress(StoreUnavailableError):
            hurried.create(key, body)
        with contextlib.suppress(StoreUnavailableError):
            assert hurried.read(key) in (None, body)
        with contextlib.suppress(StoreUnavailableError):
            assert hurried.exists(key) in (False, direct.exists(key))
        with contextlib.suppress(StoreUnavailableError):
            assert set(hurried.list("")) <= {*bodies, "known/already"}
        with contextlib.suppress(StoreUnavailableError):
            assert set(hurried.folders("")) <= {"a", "known"}
    s3_proxy.heal()
    for key, body in bodies.items():
        store.create(key, body)
        assert direct.read(key) == body
    assert sorted(store.list("a/")) == sorted(bodies)


@pytest.mark.parametrize("seed", range(3))
def test_of_racing_writers_one_object_stays_whole_and_unchanged_though_connections_are_cut(
    store, direct, s3_proxy, seed
):
    """A reader that looks all the while sees nothing, then one writer's whole object."""
    bodies = [bytes([number]) * SIZE for number in range(4)]
    s3_proxy.reseed(seed)
    s3_proxy.faults = Faults(cut=0.2, lose_answer=0.2)
    done, seen = threading.Event(), []

    def look():
        while not done.is_set():
            seen.append(direct.read("a/b"))

    def write(body):
        with contextlib.suppress(StoreUnavailableError):
            return store.create("a/b", body)

    with ThreadPoolExecutor(5) as pool:
        looking = pool.submit(look)
        won = list(pool.map(write, bodies * 3))
        done.set()
        looking.result()
    s3_proxy.heal()
    store.create("a/b", bodies[0])
    last = direct.read("a/b")
    assert last in bodies
    assert set(seen) <= {None, last}
    assert won.count(True) <= 1


def test_an_object_whose_answer_was_lost_every_time_is_there_and_is_created_once(
    store, direct, s3_proxy
):
    s3_proxy.faults = Faults(lose_answer=1.0)
    with pytest.raises(StoreUnavailableError):
        store.create("a/b", b"first")
    s3_proxy.heal()
    assert direct.read("a/b") == b"first"
    assert not store.create("a/b", b"second")
    assert direct.read("a/b") == b"first"


def test_requests_are_sent_again_after_growing_pauses_that_differ_from_client_to_client(
    store, s3_proxy, monkeypatch
):
    """Clients that failed together must not all come back together."""
    s3_proxy.faults = Faults(errors=1.0)
    rounds = []
    for _ in range(2):
        pauses = []
        monkeypatch.setattr(time, "sleep", pauses.append)
        with pytest.raises(StoreUnavailableError, match="SlowDown"):
            store.exists("a")
        rounds.append(pauses)
    backoff = HASTE.backoff
    for pauses in rounds:
        assert len(pauses) == 3  # the first repetition is made at once
        for number, pause in enumerate(pauses, start=1):
            assert backoff * 2**number <= pause <= backoff * (2**number + 1)
    assert rounds[0] != rounds[1]
