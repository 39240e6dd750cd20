"""The connection to an S3 server: requests that end in bounded time and are sent again."""

import http.client
import os
import time
from dataclasses import dataclass
from typing import Any, Self
from urllib.parse import urlsplit

import certifi
import urllib3
from minio import Minio
from minio.credentials.providers import Provider
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.response import BaseHTTPResponse

from seedsweep.storage.s3.address import Address, url_error

AGAIN = (409, 429, 500, 502, 503, 504)
"""A request that is answered with one of these is sent again."""

_PIECE = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Patience:
    """How long one request may take, in seconds: with these, under a minute if no bytes flow.

    `connect` bounds connecting and the sending of each megabyte, `read` each wait for bytes; as
    long as bytes do flow, an object may take its time. A request that failed is sent again up to
    four times, after pauses that grow from `backoff`, unless `again` has gone by since the first.
    """

    connect: float = 5.0
    read: float = 30.0
    again: float = 15.0
    backoff: float = 0.2


def connect(address: Address, credentials: Provider, threads: int, patience: Patience) -> Minio:
    """Make a client for many threads, up to `threads` of which keep a connection; asks nothing.

    Raises `ConfigError` if the address does not do.
    """
    server = urlsplit(address.server)
    try:
        return Minio(
            server.netloc,
            secure=server.scheme == "https",
            region=address.region,
            credentials=credentials,
            http_client=Http(threads, patience),
        )
    except ValueError as error:
        raise url_error(address.url, f"cannot be used ({error})") from error


class _Retry(urllib3.Retry):
    """Retries none of which begins after `ends`, on the monotonic clock."""

    ends = float("inf")

    def new(self, **kw: Any) -> Self:
        again = super().new(**kw)
        again.ends = self.ends
        return again

    def is_exhausted(self) -> bool:
        return super().is_exhausted() or time.monotonic() > self.ends


class _Answer(http.client.HTTPResponse):
    """An answer that must say where it ends: else one that was cut within its headers would pass
    for whole."""

    def begin(self) -> None:
        super().begin()
        if self.msg.defects or (self.length is None and not self.chunked):
            raise http.client.IncompleteRead(b"")


class _Connection(HTTPConnection):
    response_class = _Answer


class _TlsConnection(HTTPSConnection):
    response_class = _Answer


class _Pool(HTTPConnectionPool):
    ConnectionCls = _Connection


class _TlsPool(HTTPSConnectionPool):
    ConnectionCls = _TlsConnection


class Http(urllib3.PoolManager):
    """Connections whose requests end in bounded time, their bodies read whole and retried too."""

    def __init__(self, threads: int, patience: Patience) -> None:
        super().__init__(
            maxsize=threads,
            timeout=urllib3.Timeout(connect=patience.connect, read=patience.read),
            ca_certs=os.environ.get("SSL_CERT_FILE") or certifi.where(),
            cert_reqs="CERT_REQUIRED",
        )
        self.pool_classes_by_scheme = {"http": _Pool, "https": _TlsPool}
        self.patience = patience

    def urlopen(  # type: ignore[override]
        self, method: str, url: str, redirect: bool = True, **kw: Any
    ) -> BaseHTTPResponse:
        retries = _Retry(
            total=4,
            allowed_methods=None,
            status_forcelist=AGAIN,
            raise_on_status=False,
            respect_retry_after_header=False,
            backoff_factor=self.patience.backoff,
            backoff_jitter=self.patience.backoff,
        )
        retries.ends = time.monotonic() + self.patience.again
        if body := kw.get("body"):
            # Bytes would be sent in one go, within the time meant for connecting; views cost none.
            view = memoryview(body)
            kw["body"] = [view[i : i + _PIECE] for i in range(0, len(view), _PIECE)]
        kw.update(retries=retries, preload_content=True)
        return super().urlopen(method, url, redirect=False, **kw)
