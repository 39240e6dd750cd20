import ssl
import subprocess
import threading
from http.server import ThreadingHTTPServer

import pytest

from seedsweep.storage.errors import ConfigError, StoreUnavailableError
from seedsweep.storage.s3.store import S3Store
from tests.support.answers import HASTE, Answer, handler_of
from tests.support.servers import S3Server
from tests.support.store_calls import every_call


def make_certificate(folder):
    """Make a certificate for 127.0.0.1 that no known authority signed; returns it and its key."""
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-nodes", "-days", "2"),
            *("-pkeyopt", "ec_paramgen_curve:prime256v1", "-subj", "/CN=127.0.0.1"),
            *("-addext", "subjectAltName=IP:127.0.0.1", "-keyout", "key", "-out", "cert"),
        ],
        cwd=folder,
        check=True,
        capture_output=True,
    )
    return folder / "cert", folder / "key"


class TestTls:
    @pytest.fixture(scope="class")
    @classmethod
    def certificate(cls, tmp_path_factory):
        return make_certificate(tmp_path_factory.mktemp("tls"))

    @pytest.fixture(scope="class")
    @classmethod
    def server(cls, certificate, tmp_path_factory):
        with S3Server(tmp_path_factory.mktemp("s3-tls"), *certificate) as server:
            server.start()
            yield server

    @pytest.fixture
    def url(self, s3_server, server):
        return f"s3://tls-tests/x?endpoint={server.endpoint}"

    def test_a_certificate_named_by_the_environment_is_trusted(self, url, certificate, monkeypatch):
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate[0]))
        store = S3Store(url)
        store.create_bucket()
        assert store.create("a/b", b"data")
        assert not store.create("a/b", b"other")
        assert store.read("a/b") == b"data"
        assert store.read_range("a/b", -2, 2) == b"ta"
        assert list(store.list("")) == ["a/b"]

    @every_call
    def test_one_of_no_known_authority_is_refused(self, url, monkeypatch, call):
        monkeypatch.delenv("SSL_CERT_FILE", raising=False)
        with pytest.raises(ConfigError, match=r"certificate.*; set SSL_CERT_FILE to the"):
            call(S3Store(url, patience=HASTE))

    @pytest.mark.parametrize("content", [None, b"", b"no certificate"])
    def test_a_certificate_file_that_holds_none_is_refused(
        self, url, tmp_path, monkeypatch, content
    ):
        if content is not None:
            (tmp_path / "cert").write_bytes(content)
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "cert"))
        with pytest.raises(ConfigError, match="set SSL_CERT_FILE to the"):
            S3Store(url, patience=HASTE).read("a")

    def test_a_server_that_was_trusted_may_mend_its_certificate(
        self, s3_server, certificate, tmp_path, monkeypatch
    ):
        """One that ran out must not end a worker that has run for days."""
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate[0]))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*certificate)
        answer = Answer(200, b"data", {"ETag": '"1"', "Connection": "close"})
        with ThreadingHTTPServer(("127.0.0.1", 0), handler_of(lambda _: answer)) as server:
            server.socket = context.wrap_socket(server.socket, server_side=True)
            threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
            url = f"s3://bucket?endpoint=https://127.0.0.1:{server.server_port}"
            store = S3Store(url, patience=HASTE)
            assert store.read("a") == b"data"
            context.load_cert_chain(*make_certificate(tmp_path))
            with pytest.raises(StoreUnavailableError, match="set SSL_CERT_FILE to the"):
                store.read("a")
            context.load_cert_chain(*certificate)
            assert store.read("a") == b"data"
            server.shutdown()
