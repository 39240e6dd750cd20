"""What holds for `gs:` and `az:` alone; what every store promises is in test_store.py."""

import builtins
import json
import sys

import pytest
from obstore.store import MemoryStore

from seedsweep.storage import cloud_store
from seedsweep.storage.cloud_store import CloudStore
from seedsweep.storage.errors import ConfigError, StoreUnavailableError
from seedsweep.storage.stores import open_store
from tests.support.answers import Answer, serving
from tests.support.commands import seedsweep_here
from tests.support.store_calls import every_call


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    """No account, no credentials, and no waiting for a service that fails."""
    for name in ("AZURE_STORAGE_ACCOUNT_NAME", "GOOGLE_APPLICATION_CREDENTIALS", "SSL_CERT_FILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(cloud_store, "_retry", lambda: {"max_retries": 0})
    return monkeypatch


@pytest.fixture
def behind(environment):
    """Open a store of Google's kind, on a server that answers as a function says."""
    environment.setattr(cloud_store, "_client", lambda: {"allow_http": True})

    def open_behind(server):
        login = {"client_email": "", "private_key": "", "private_key_id": ""}
        login |= {"gcs_base_url": server, "disable_oauth": True}
        environment.setenv("GOOGLE_SERVICE_ACCOUNT_KEY", json.dumps(login))
        return open_store("gs://bucket/audit")

    return open_behind


def refusal(status, code):
    xml = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>told</Message></Error>"
    return Answer(status, xml.encode(), {"Content-Type": "application/xml"})


class TestUrl:
    @pytest.mark.parametrize(
        ("given", "whole"),
        [
            ("gs://bucket", "gs://bucket"),
            ("gs://bucket.example.com/a/b/", "gs://bucket.example.com/a/b"),
            ("gs://bucket/team a/user=ann/50%", "gs://bucket/team%20a/user=ann/50%25"),
            ("az://images/a?account=ours", "az://images/a?account=ours"),
            ("az://images", "az://images?account=fromthere"),
        ],
    )
    def test_a_stores_url_is_whole_and_opens_the_same_store(self, environment, given, whole):
        environment.setenv("AZURE_STORAGE_ACCOUNT_NAME", "fromthere")
        store = open_store(given)
        assert store.url == whole
        assert open_store(store.url).url == whole

    @pytest.mark.parametrize(
        ("url", "why"),
        [
            ("gs://", "names no bucket"),
            ("gs:bucket/a", "names no bucket"),
            ("gs://key:s3cret@bucket/a", "names no bucket"),
            ("gs://bucket/a//b", "cannot be read"),
            ("gs://bucket/../b", "cannot be read"),
            ("gs://bucket/a#s3cret", "has options that it cannot have"),
            ("gs://bucket/a?key=s3cret", "has options that it cannot have"),
            ("az://images/a?account=ours&sig=s3cret", "has options that it cannot have"),
            ("az://images/a", "names no account"),
            ("az://images/a?account=s3cret/x", "names no account"),
        ],
    )
    def test_a_url_that_names_no_store_is_refused_without_showing_secrets(self, url, why):
        with pytest.raises(ConfigError, match=f"URL {why}; write (gs|az)://") as caught:
            open_store(url)
        assert "s3cret" not in str(caught.value)

    @pytest.mark.parametrize(
        "variables",
        [
            {"GOOGLE_SERVICE_ACCOUNT": "/no/such/file"},
            {"GOOGLE_SERVICE_ACCOUNT_KEY": "s3cret"},
            {"SSL_CERT_FILE": "/no/such/file"},
        ],
    )
    def test_so_is_an_environment_that_does_not_do(self, environment, variables):
        for name, value in variables.items():
            environment.setenv(name, value)
        with pytest.raises(ConfigError, match="correct its GOOGLE_ variables") as caught:
            open_store("gs://bucket/a")
        assert "s3cret" not in str(caught.value)

    def test_without_the_extra_the_package_is_named(self, environment, tmp_path):
        def refuse(name, *arguments, **options):
            if name.partition(".")[0] == "obstore":
                raise ModuleNotFoundError(name)
            return real(name, *arguments, **options)

        real = builtins.__import__
        environment.setattr(builtins, "__import__", refuse)
        environment.delitem(sys.modules, "seedsweep.storage.cloud_store")
        done = seedsweep_here("status", "--store", "gs://bucket/a", folder=tmp_path, environment={})
        assert done.returncode == 2
        assert "run pip install 'seedsweep[cloud]'." in " ".join(done.stderr.split())
        assert "Traceback" not in done.stderr


class TestTrouble:
    @every_call
    @pytest.mark.parametrize(
        ("answer", "kind", "words"),
        [
            (refusal(403, "AccessDenied"), ConfigError, "access is denied; let these credentials"),
            (refusal(401, "Unauthorized"), ConfigError, "access is denied; let these credentials"),
            (refusal(404, "NoSuchBucket"), ConfigError, "there is no such bucket; create it"),
            (Answer(503, b"later"), StoreUnavailableError, r"\(503 Service Unavailable\); look at"),
            (Answer(429, b"later"), StoreUnavailableError, r"\(429 Too Many Requests\); look at"),
            (None, StoreUnavailableError, "; look at its service"),
        ],
        ids=["denied", "unknown", "no bucket", "busy", "too fast", "dropped"],
    )
    def test_what_the_service_says_is_told_in_one_sentence(self, behind, call, answer, kind, words):
        with serving(lambda _: answer) as server, pytest.raises(kind, match=words) as caught:
            call(behind(server))
        assert str(caught.value).startswith("The store gs://bucket/audit could not ")
        assert "\n" not in str(caught.value)
        assert caught.value.__suppress_context__

    def test_nothing_listens(self, behind, free_port):
        with pytest.raises(StoreUnavailableError, match="look at its service and the network"):
            behind(f"http://127.0.0.1:{free_port()}").read("a")

    def test_a_marker_of_a_folder_is_no_key(self, behind):
        names = ("audit/a/", "audit/a/b", "audit/a/c/", "audit/a/d e")
        entries = "".join(
            f"<Contents><Key>{name}</Key><Size>{0 if name.endswith('/') else 4}</Size>"
            "<LastModified>2026-01-01T00:00:00.000Z</LastModified><ETag>1</ETag></Contents>"
            for name in names
        )
        listing = f"<ListBucketResult><IsTruncated>false</IsTruncated>{entries}</ListBucketResult>"

        def answer(request):
            if "list-type" in request.path:
                return Answer(200, listing.encode(), {"Content-Type": "application/xml"})
            return refusal(404, "NoSuchKey")

        with serving(answer) as server:
            assert list(behind(server).list("a/")) == ["a/b"]

    def test_create_asks_the_service_for_its_own_precondition(self, behind):
        seen = []

        def answer(request):
            seen.append(request.headers.get("x-goog-if-generation-match"))
            return Answer(412)

        with serving(answer) as server:
            assert not behind(server).create("a", b"data")
        assert seen == ["0"]


def test_a_store_that_ignores_the_precondition_says_so(monkeypatch):
    def put(bucket, name, data, mode="overwrite", **options):
        return real(bucket, name, data, **options)

    real = cloud_store.obstore.put
    monkeypatch.setattr(cloud_store.obstore, "put", put)
    assert not CloudStore("gs://memory", MemoryStore(), "").inspect().conditional_create
