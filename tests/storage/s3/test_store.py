"""What holds for `s3:` alone; what every store promises is in test_store.py."""

import contextlib
import io
import logging
import os
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from email.utils import formatdate
from http.server import ThreadingHTTPServer
from urllib.parse import quote, urlsplit

import pytest

from seedsweep.storage.errors import ConfigError, StoreUnavailableError
from seedsweep.storage.s3.connection import Patience
from seedsweep.storage.s3.store import S3Store
from seedsweep.storage.stores import open_store
from tests.support.answers import HASTE, Answer, handler_of, s3_error
from tests.support.patience import done_within
from tests.support.store_calls import CALLS, every_call


def first(count, given, otherwise):
    """Answer the first `count` requests with `given` and hand the rest on."""
    seen = []

    def behave(request):
        seen.append(request)
        return given if len(seen) <= count else otherwise(request)

    return behave


class TestSettings:
    """What is wrong with the user's URL or environment is told in one sentence, exit code 2."""

    @every_call
    def test_a_missing_bucket(self, s3_server, call):
        store = S3Store(f"s3://nowhere/x?endpoint={s3_server.endpoint}")
        with pytest.raises(ConfigError, match=r"there is no such bucket; create it, or run `seed"):
            call(store)

    def test_a_missing_bucket_can_be_created_and_is_kept_when_it_is_there(self, s3_server):
        store = S3Store(f"s3://made-by-a-test?endpoint={s3_server.endpoint}")
        store.create_bucket()
        assert store.create("a", b"1")
        store.create_bucket()
        assert store.read("a") == b"1"

    @every_call
    def test_a_wrong_secret_key(self, s3_url, monkeypatch, call):
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong-and-s3cret")
        with pytest.raises(ConfigError, match="correct AWS_SECRET_ACCESS_KEY") as caught:
            call(open_store(s3_url))
        assert "s3cret" not in str(caught.value)

    @every_call
    def test_a_wrong_access_key(self, s3_url, monkeypatch, call):
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "wrong-and-s3cret")
        with pytest.raises(ConfigError, match="correct AWS_ACCESS_KEY_ID") as caught:
            call(open_store(s3_url))
        assert "s3cret" not in str(caught.value)

    def test_no_credentials_at_all(self, s3_url, monkeypatch):
        monkeypatch.delenv("AWS_ACCESS_KEY_ID")
        with pytest.raises(ConfigError, match="set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"):
            open_store(s3_url)

    def test_credentials_may_have_minios_names(self, s3_url, s3_server, monkeypatch):
        monkeypatch.delenv("AWS_ACCESS_KEY_ID")
        monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
        monkeypatch.setenv("MINIO_ACCESS_KEY", s3_server.access_key)
        monkeypatch.setenv("MINIO_SECRET_KEY", s3_server.secret_key)
        assert open_store(s3_url).create("a", b"1")

    @every_call
    @pytest.mark.parametrize(
        "answer",
        [
            Answer(404, b"<html>not here</html>", {"Content-Type": "text/html"}),
            Answer(400, b"Client sent an HTTP request to an HTTPS server."),
            Answer(501),
        ],
        ids=["not found", "tls port", "not implemented"],
    )
    def test_a_server_that_is_no_s3_server(self, serve, s3_server, answer, call):
        store = S3Store(f"s3://bucket?endpoint={serve(lambda _: answer)}")
        with pytest.raises(ConfigError, match=r"no S3 server answers there\); correct endpoint="):
            call(store)

    @pytest.mark.parametrize("call", [CALLS[name] for name in CALLS if name != "delete"])
    @pytest.mark.parametrize("body", [b"<html><br>hello</html>", b"<html>hello</html>", b""])
    def test_a_server_that_is_no_s3_server_and_welcomes_everything(
        self, serve, s3_server, body, call
    ):
        page = Answer(200, body, {"Content-Type": "text/html"})
        store = S3Store(f"s3://bucket?endpoint={serve(lambda _: page)}")
        with pytest.raises(ConfigError, match=r"no S3 server answers there\); correct endpoint="):
            call(store)

    @every_call
    @pytest.mark.parametrize("code", ["AccessDenied", "AuthorizationHeaderMalformed"])
    def test_what_the_server_refuses(self, behind, call, code):
        store = behind(lambda _: s3_error(403, code))
        with pytest.raises(ConfigError, match=r"access is denied; let|correct region="):
            call(store)


class TestTrouble:
    """What may pass is tried again within bounds, then a `StoreUnavailableError`."""

    @every_call
    def test_nothing_listens(self, s3_server, free_port, call):
        store = S3Store(f"s3://bucket?endpoint=http://127.0.0.1:{free_port()}", patience=HASTE)
        with pytest.raises(StoreUnavailableError, match=r"refused\); start it, or correct endpoi"):
            call(store)

    @every_call
    def test_a_server_that_never_answers_is_given_up_in_time(self, s3_server, call):
        patience = Patience(connect=0.2, read=0.2, again=0.1)
        with socket.create_server(("127.0.0.1", 0)) as silent:
            port = silent.getsockname()[1]
            store = S3Store(f"s3://bucket?endpoint=http://127.0.0.1:{port}", patience=patience)
            with done_within(1), pytest.raises(StoreUnavailableError, match="timed out"):
                call(store)

    def test_unless_told_otherwise_a_silent_server_costs_less_than_a_minute(self):
        patience = Patience()
        assert patience.again + patience.connect + patience.read <= 50

    def test_a_slow_link_is_no_silence(self, s3_server):
        """Each megabyte has the time that connecting has, not the whole object."""
        size, patience = 24 * 1024 * 1024, Patience(connect=0.3, read=5.0)
        taken = []

        def trickle(listener):
            connection, _ = listener.accept()
            with connection:
                connection.settimeout(5)
                while sum(taken) < size and (piece := connection.recv(1024 * 1024)):
                    taken.append(len(piece))
                    threading.Event().wait(0.02)
                connection.sendall(b'HTTP/1.1 200 OK\r\nETag: "1"\r\nContent-Length: 0\r\n\r\n')

        with socket.create_server(("127.0.0.1", 0)) as listener, ThreadPoolExecutor(1) as pool:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 256 * 1024)
            trickling = pool.submit(trickle, listener)
            url = f"s3://bucket?endpoint=http://127.0.0.1:{listener.getsockname()[1]}"
            begun = time.monotonic()
            S3Store(url, patience=patience).replace("a", bytes(size))
            assert time.monotonic() - begun > patience.connect
            trickling.result()

    @every_call
    def test_a_failing_server_is_asked_again(self, behind, pass_on, call):
        call(behind(first(3, s3_error(503, "SlowDown"), pass_on)))

    @pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
    def test_so_is_one_behind_a_failing_proxy(self, behind, pass_on, status):
        page = Answer(status, b"<html>later</html>", {"Content-Type": "text/html"})
        assert behind(first(3, page, pass_on)).create("a", b"1")

    @every_call
    @pytest.mark.parametrize(
        "answer",
        [s3_error(503, "SlowDown"), Answer(502, b"Bad Gateway", {"Content-Type": "text/plain"})],
        ids=["xml", "text"],
    )
    def test_a_server_that_goes_on_failing_is_given_up(self, behind, call, answer):
        with pytest.raises(StoreUnavailableError, match=r"(SlowDown: told by a test|HTTP 502)\); "):
            call(behind(lambda _: answer))

    @every_call
    def test_a_dropped_connection_is_made_again(self, behind, pass_on, call):
        call(behind(first(2, None, pass_on)))

    @pytest.mark.parametrize("read", ["read", "read_range"])
    def test_a_body_cut_short_is_read_again_and_never_returned(self, behind, pass_on, read):
        def cut(request):
            answer = pass_on(request)
            if request.method == "GET" and len(cuts) < 2:
                cuts.append(request)
                answer.headers["Content-Length"] = str(len(answer.body))
                answer.body = answer.body[:5000]
            return answer

        cuts = []
        store = behind(cut)
        store.replace("a/b", b"x" * 9000)
        arguments = ("a/b",) if read == "read" else ("a/b", 0, 8000)
        assert set(getattr(store, read)(*arguments)) == set(b"x")
        assert len(cuts) == 2

    def test_a_body_that_is_cut_short_every_time_is_given_up(self, behind):
        cut = Answer(200, b"abc", {"Content-Length": "5", "ETag": '"1"'})
        with pytest.raises(StoreUnavailableError, match="could not read a/b"):
            behind(lambda _: cut).read("a/b")

    @pytest.mark.parametrize("write", ["create", "replace"])
    def test_an_object_altered_on_the_way_is_never_stored(self, behind, pass_on, write):
        def alter(request):
            if request.method == "PUT" and "/a/b" in request.path:
                request.body = request.body[::-1]
            return pass_on(request)

        store = behind(alter)
        with pytest.raises(StoreUnavailableError, match="could not write a/b"):
            CALLS[write](store)
        assert store.read("a/b") is None

    def test_strange_answers_of_a_server_that_was_s3_before_may_pass(self, behind, pass_on):
        """A proxy whose server is away must not end a worker that has run for days."""
        store = behind(lambda request: (answers or [pass_on(request)])[0])
        answers = []
        assert store.create("a", b"1")
        answers.append(Answer(404, b"default backend", {"Content-Type": "text/plain"}))
        with pytest.raises(StoreUnavailableError, match="not that of an S3 server"):
            store.read("a")

    @pytest.mark.parametrize(
        "answer",
        [
            s3_error(
                507, "XMinioStorageFull", "Storage backend has reached its minimum free drive"
            ),
            s3_error(500, "InternalError", "write data: no space left on device"),
            Answer(507, b"", {"Content-Type": "text/plain"}),
        ],
        ids=["MinIO", "disk", "status"],
    )
    @pytest.mark.parametrize("write", ["create", "replace"])
    def test_a_full_store_asks_for_space(self, behind, write, answer):
        with pytest.raises(StoreUnavailableError, match="give it space"):
            CALLS[write](behind(lambda _: answer))

    def test_a_store_outlives_its_servers_restart(self, s3_server, s3_url, wait_until):
        store = open_store(s3_url)
        store.create("a", b"1")
        s3_server.restart()

        def is_back():
            with contextlib.suppress(StoreUnavailableError):  # it listens before it is whole
                return store.read("a") == b"1"

        wait_until(is_back, timeout=60)
        assert not store.create("a", b"2")
        assert store.create("b", b"2")


class TestCreate:
    """How `create` is create-only."""

    def test_a_lost_answer_makes_it_false_and_the_object_is_there(self, behind, pass_on):
        def lose(request):
            answer = pass_on(request)
            if request.is_create() and "/a/b" in request.path and not lost:
                lost.append(answer)
                return None
            return answer

        lost = []
        store = behind(lose)
        assert not store.create("a/b", b"data")
        assert lost[0].status == 200
        assert store.read("a/b") == b"data"

    def test_a_conflict_with_another_writer_is_tried_again(self, behind, pass_on):
        conflict = s3_error(409, "ConditionalRequestConflict")
        assert behind(first(2, conflict, pass_on)).create("a/b", b"data")

    def test_many_threads_probe_once(self, behind, pass_on):
        def note(request):
            if request.method == "PUT" and "/.probe-" in request.path:
                probes.append(request)
            return pass_on(request)

        probes = []
        store = behind(note)
        with ThreadPoolExecutor(8) as pool:
            assert all(pool.map(lambda number: store.create(f"a/{number}", b""), range(40)))
        assert len(probes) == 2

    def test_a_probe_that_failed_is_made_again(self, behind, pass_on):
        store = behind(lambda request: (answers or [pass_on(request)])[0])
        answers = [s3_error(503, "SlowDown")]
        with pytest.raises(StoreUnavailableError):
            store.create("a", b"1")
        answers.clear()
        assert store.create("a", b"1")
        assert not store.create("a", b"2")

    @pytest.mark.parametrize("refusal", ["ignores", "refuses"])
    def test_where_the_server_does_not_honour_it_the_last_whole_object_stays(
        self, behind, pass_on, bare, refusal
    ):
        def ignore(request):
            if not request.is_create():
                return pass_on(request)
            if refusal == "refuses":
                return s3_error(501, "NotImplemented")
            bucket, _, name = request.path[1:].partition("/")
            put = bare.put_object(bucket, name, io.BytesIO(request.body), len(request.body))
            return Answer(200, b"", {"ETag": f'"{put.etag}"'})

        store = behind(ignore)
        assert not store.inspect().conditional_create
        assert store.create("a/b", b"first")
        assert not store.create("a/b", b"second")
        assert store.read("a/b") == b"first"
        with ThreadPoolExecutor(4) as pool:
            won = list(pool.map(lambda letter: store.create("c", letter * 90_000), [b"x", b"y"]))
        assert any(won)
        assert store.read("c") in (b"x" * 90_000, b"y" * 90_000)

    @pytest.mark.parametrize(
        "refusal",
        [
            s3_error(400, "InvalidArgument", "Unsupported header received for this API call."),
            s3_error(400, "InvalidRequest", "Unsupported header"),
        ],
        ids=["B2", "other"],
    )
    def test_so_it_is_where_the_server_calls_the_header_unsupported(self, behind, pass_on, refusal):
        store = behind(lambda request: refusal if request.is_create() else pass_on(request))
        assert not store.inspect().conditional_create
        assert store.create("a/b", b"first")
        assert not store.create("a/b", b"second")
        assert store.read("a/b") == b"first"

    def test_an_object_beyond_64_mib_goes_in_parts_and_is_created_once(self, behind, pass_on):
        def note(request):
            requests.append((request.method, len(request.body)))
            return pass_on(request)

        requests = []
        store, data = behind(note, patience=Patience()), os.urandom(1024) * (65 * 1024)
        assert store.create("a/b", data)
        assert not store.create("a/b", data[:-1])
        assert store.read("a/b") == data
        puts = [size for method, size in requests if method == "PUT"]
        assert puts == [64 * 1024 * 1024, 1024 * 1024]

    def test_one_of_64_mib_goes_in_one_request(self, behind, pass_on):
        def note(request):
            requests.append((request.method, len(request.body)))
            return pass_on(request)

        requests = []
        behind(note, patience=Patience()).replace("a/b", bytes(64 * 1024 * 1024))
        assert requests == [("PUT", 64 * 1024 * 1024)]

    def test_what_the_probe_leaves_behind_is_never_listed(self, behind, pass_on):
        def keep(request):
            return s3_error(403, "AccessDenied") if request.method == "DELETE" else pass_on(request)

        store = behind(keep)
        assert store.create("a", b"1")
        assert list(store.list("")) == ["a"]
        assert list(store.folders("")) == []


class TestChecksum:
    """With what objects are sent, so that one altered on the way is never stored."""

    CRC32, MD5 = "x-amz-checksum-crc32", "Content-MD5"

    @pytest.fixture
    def refusing(self, behind, pass_on):
        """A store behind a server that refuses some headers, and the requests that it saw."""

        def open_refusing(refusal, *headers):
            def refuse(request):
                seen.append(request)
                unwanted = {name.lower() for name in request.headers} & {h.lower() for h in headers}
                return refusal if request.method == "PUT" and unwanted else pass_on(request)

            seen = []
            return behind(refuse), seen

        return open_refusing

    REFUSALS = (
        pytest.param(
            s3_error(400, "InvalidArgument", "Unsupported header received for this API call."),
            id="B2",
        ),
        pytest.param(s3_error(501, "NotImplemented", "Header is not implemented"), id="R2"),
    )

    def test_it_is_the_crc_32_where_the_server_takes_that(self, refusing):
        store, seen = refusing(None)
        store.create("a", b"data")
        assert store.inspect().checked_by is None
        puts = [request.headers for request in seen if request.method == "PUT"]
        assert all(self.CRC32 in headers and self.MD5 not in headers for headers in puts)

    @pytest.mark.parametrize("refusal", REFUSALS)
    @pytest.mark.parametrize(
        ("refused", "instead"),
        [((CRC32,), "Content-MD5"), ((CRC32, MD5), "the signed SHA-256")],
        ids=["crc32", "both"],
    )
    @pytest.mark.parametrize("write", ["create", "replace"])
    def test_it_is_the_next_best_where_the_server_refuses_that(
        self, refusing, refusal, refused, instead, write
    ):
        store, seen = refusing(refusal, *refused)
        CALLS[write](store)
        assert store.read("a/b") == b"data"
        assert not store.create("a/b", b"other")
        facts = store.inspect()
        assert facts.conditional_create
        assert facts.checked_by == instead
        seen.clear()
        store.replace("c", b"1")
        assert len(seen) == 1  # what is refused is not sent again

    def test_the_md5_too_keeps_out_what_was_altered_on_the_way(self, behind, pass_on):
        def refuse_and_alter(request):
            if request.method == "PUT" and self.CRC32 in request.headers:
                return s3_error(501, "NotImplemented")
            if request.method == "PUT" and "/a/b" in request.path:
                request.body = request.body[::-1]
            return pass_on(request)

        store = behind(refuse_and_alter)
        with pytest.raises(StoreUnavailableError, match="could not write a/b"):
            store.create("a/b", b"data")
        assert store.read("a/b") is None

    def test_another_refusal_is_told_as_it_is(self, behind):
        store = behind(lambda _: s3_error(400, "InvalidArgument", "a bad bucket"))
        with pytest.raises(StoreUnavailableError, match=r"\(InvalidArgument: a bad bucket\)"):
            store.replace("a/b", b"data")


def test_folder_markers_and_names_that_are_no_keys_are_left_out(s3_url):
    store = S3Store(s3_url)
    store.create("campaigns/c/campaign.json", b"{}")
    for name in ("campaigns/", "campaigns/c/", "campaigns/my notes/read me.txt", "campaigns/_x/y"):
        store._put(f"{store._prefix}{name}", b"")
    assert list(store.list("campaigns/")) == ["campaigns/c/campaign.json"]
    assert list(store.folders("campaigns/")) == ["c"]


@pytest.mark.parametrize(
    "prefix",
    ["user=ann/run=1", "_audit", "team a", "größe/日本", "a+b", "50%41", ".x", "a&b;c@d,'e'()!"],
)
def test_a_prefix_may_have_any_characters_that_a_key_may_have(s3_url, bare, prefix):
    url, _, options = s3_url.partition("?")
    store = open_store(f"{url}/{quote(prefix)}?{options}")
    assert store.create("a/b", b"data")
    assert not store.create("a/b", b"other")
    assert store.read("a/b") == b"data"
    assert list(store.list("")) == ["a/b"]
    assert list(store.folders("")) == ["a"]
    folder = url.removeprefix("s3://tests/")
    assert bare.stat_object("tests", f"{folder}/{prefix}/a/b").size == 4
    assert open_store(store.url).read("a/b") == b"data"
    store.delete("a/b")
    assert list(store.list("")) == []


def test_a_clock_that_goes_wrong_is_seen(behind, pass_on):
    def late(request):
        answer = pass_on(request)
        answer.headers["Date"] = formatdate(time.time() - 3600, usegmt=True)
        return answer

    assert behind(late).inspect().clock_skew_seconds == pytest.approx(-3600, abs=2)


def test_each_thread_keeps_its_connection(s3_server, s3_url):
    """One process's threads make no more connections than there are threads."""
    made = []

    class Counting(ThreadingHTTPServer):
        def process_request(self, request, client_address):
            made.append(client_address)
            super().process_request(request, client_address)

    answer = Answer(200, b"data", {"ETag": '"1"'})
    server = Counting(("127.0.0.1", 0), handler_of(lambda _: answer))
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    with ThreadPoolExecutor(6) as pool:
        store = S3Store(f"s3://bucket?endpoint=http://127.0.0.1:{server.server_port}", threads=6)
        assert list(pool.map(lambda _: store.read("a"), range(300))) == [b"data"] * 300
    server.shutdown()
    server.server_close()
    assert len(made) <= 6


def test_no_secret_is_in_url_repr_errors_or_logs(behind, pass_on, s3_server, caplog, monkeypatch):
    token = "t0ken-of-a-session"  # noqa: S105
    monkeypatch.setenv("AWS_SESSION_TOKEN", token)
    caplog.set_level(logging.DEBUG)
    store = behind(first(2, None, lambda _: s3_error(500, "InternalError")))
    with pytest.raises(StoreUnavailableError) as caught:
        store.create("a", b"1")
    shown = [store.url, repr(store), repr(caught.value), repr(caught.value.__cause__), caplog.text]
    assert caplog.text
    for secret in (s3_server.secret_key, s3_server.access_key, token, "Signature="):
        assert not any(secret in text for text in shown)


def test_a_folder_store_is_opened_without_the_s3_client(tmp_path):
    code = (
        "import sys; from seedsweep.storage.stores import open_store\n"
        "open_store(sys.argv[1]).create('a', b'')"
        "; print('minio' in sys.modules or 'urllib3' in sys.modules)"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    assert subprocess.run(command, check=True, capture_output=True).stdout == b"False\n"


def test_the_server_of_the_tests_is_on_this_machine_alone(s3_server):
    assert urlsplit(s3_server.endpoint).hostname == "127.0.0.1"
