import contextlib
import http.client

import pytest
from minio import Minio

from seedsweep.storage.s3.store import S3Store
from tests.support.answers import HASTE, Answer, serving


@pytest.fixture
def serve():
    """Start an HTTP server that answers as a function says, and drops connections for None."""
    with contextlib.ExitStack() as running:
        yield lambda behave: running.enter_context(serving(behave))


@pytest.fixture
def pass_on(s3_server):
    """Give a request to the real server, and return its answer."""

    def ask(request):
        connection = http.client.HTTPConnection("127.0.0.1", s3_server.port, timeout=60)
        with contextlib.closing(connection):
            connection.putrequest(
                request.method, request.path, skip_host=True, skip_accept_encoding=True
            )
            for name, value in request.headers.items():
                connection.putheader(name, value)
            connection.endheaders(request.body)
            response = connection.getresponse()
            headers = {
                name: value
                for name, value in response.getheaders()
                if name.lower() not in ("connection", "transfer-encoding", "content-length")
            }
            return Answer(response.status, response.read(), headers)

    return ask


@pytest.fixture
def behind(s3_url, serve):
    """A store that sees the real server through one that behaves as a function says."""

    def open_behind(behave, **options):
        url = f"{s3_url.partition('?')[0]}?endpoint={serve(behave)}"
        return S3Store(url, **{"patience": HASTE, **options})

    return open_behind


@pytest.fixture
def bare(s3_server):
    """The minio client alone, on the real server."""
    return Minio(
        f"127.0.0.1:{s3_server.port}",
        s3_server.access_key,
        s3_server.secret_key,
        secure=False,
        region="us-east-1",
    )
