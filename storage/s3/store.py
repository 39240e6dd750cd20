"""A store behind the S3 protocol, through the `minio` client: MinIO, SeaweedFS, AWS and others.

Nothing beyond plain S3 is relied on. `If-None-Match: *`, which makes `create` create-only, is used
if a probe shows that the server honours it, and `x-amz-checksum-crc32` until it refuses that.
"""

import base64
import contextlib
import hashlib
import io
import threading
import time
import uuid
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from email.utils import parsedate_to_datetime

import urllib3
from minio.error import MinioException, S3Error
from minio.helpers import DictType, ObjectWriteResult
from minio.sse import Sse
from urllib3.exceptions import HTTPError
from urllib3.response import BaseHTTPResponse

from seedsweep.storage.s3.address import parse_address
from seedsweep.storage.s3.connection import Patience, connect
from seedsweep.storage.s3.credentials import StoreCredentials
from seedsweep.storage.s3.errors import NotS3Error, Translator
from seedsweep.storage.store import StoreFacts, check_key, check_prefix, is_key

SINGLE_PUT = 64 * 1024 * 1024
"""Larger objects are sent in parts of this many bytes."""

_PROBE = b"Does this store honour If-None-Match?"

_REFUSALS = {"InvalidArgument", "InvalidRequest", "NotImplemented"}
"""How servers answer a header that they do not know, if they do not ignore it."""


def _crc32(data: bytes) -> dict[str, str]:
    # Not every server compares the body with the signed SHA-256; those do compare this.
    checksum = zlib.crc32(data).to_bytes(4, "big")
    return {"x-amz-checksum-crc32": base64.b64encode(checksum).decode()}


def _md5(data: bytes) -> dict[str, str]:
    checksum = hashlib.md5(data, usedforsecurity=False).digest()
    return {"Content-MD5": base64.b64encode(checksum).decode()}


_CHECKSUMS: list[tuple[str | None, Callable[[bytes], dict[str, str]]]] = [
    (None, _crc32),
    ("Content-MD5", _md5),
    ("the signed SHA-256", lambda data: {}),
]
"""Checksums that an object can be sent with, the best first: one that was altered on the way is
refused."""


class S3Store:
    """A store in a bucket, below a prefix, of any S3 server.

    `url` is `s3://BUCKET/PREFIX?endpoint=URL&region=REGION`; without an endpoint it is AWS. The
    prefix is decoded as in any URL: `%20` is a space. `StoreCredentials` says whose credentials it
    is used with. The region comes from the environment if the URL names none. SSL_CERT_FILE
    names the certificates to trust instead of the public authorities'. Opening makes no request;
    `ConfigError` if URL or environment do not do. May be used by many threads; up to `threads`
    keep a connection.

    `create` is create-only if the server honours `If-None-Match: *`, which the first call finds
    out, and the object has at most 64 MiB. Otherwise it looks, then writes: of writers that race,
    the last one's whole object stays, and more than one may get True. A `create` whose answer was
    lost is sent again and then returns False although the object is its own.

    An object of at most 64 MiB is sent with its CRC-32, or with its MD5 if the server refuses
    that header, or else with nothing but the SHA-256 that is signed over plain HTTP.

    Every method raises `ConfigError` if the bucket is missing, the credentials are refused, the
    server's certificate is not trusted or no S3 server answers at the endpoint, and
    `StoreUnavailableError` for all that may pass, such as either of the last two if the server
    did answer before.
    """

    def __init__(self, url: str, threads: int = 16, patience: Patience | None = None) -> None:
        address = parse_address(url)
        self.url = address.url
        self._bucket = address.bucket
        self._prefix = f"{address.prefix}/" if address.prefix else ""
        credentials = StoreCredentials(address)
        self._source = credentials.source
        self._client = connect(address, credentials, threads, patience or Patience())
        self._translated = Translator(self.url, self._source).translated
        self._checksum = 0
        self._lock = threading.Lock()
        self._probed: Future[bool] | None = None

    def create(self, key: str, data: bytes) -> bool:
        name = self._name(key)
        with self._translated("write", key):
            if len(data) <= SINGLE_PUT and self._is_conditional():
                return self._put_new(name, data)
            if self._get(name, "bytes=0-0") is not None:
                return False
            self._put(name, data)
            return True

    def replace(self, key: str, data: bytes) -> None:
        name = self._name(key)
        with self._translated("write", key):
            self._put(name, data)

    def read(self, key: str) -> bytes | None:
        name = self._name(key)
        with self._translated("read", key):
            response = self._get(name)
            return None if response is None else response.data or b""

    def read_range(self, key: str, start: int, length: int) -> bytes | None:
        name = self._name(key)
        wanted = f"{start}-{start + max(length, 1) - 1}" if start >= 0 else f"{start}"
        with self._translated("read", key):
            response = self._get(name, f"bytes={wanted}")
            if response is None:
                return None
            data = response.data or b""
            return data[:length] if response.status == 206 else data[start:][:length]

    def exists(self, key: str) -> bool:
        # A HEAD would be answered without saying whether the key or the bucket is missing.
        return self.read_range(key, 0, 1) is not None

    def list(self, prefix: str) -> Iterator[str]:
        yield from filter(is_key, self._listed(prefix, recursive=True))

    def folders(self, prefix: str) -> Iterator[str]:
        below = (name for name in self._listed(prefix, recursive=False) if name.endswith("/"))
        names = (name.removeprefix(prefix).rstrip("/") for name in below)
        yield from sorted({*filter(is_key, names)})

    def delete(self, key: str) -> None:
        name = self._name(key)
        with self._translated("delete", key):
            self._client.remove_object(self._bucket, name)

    def inspect(self) -> StoreFacts:
        with self._translated("write", "a probe"):
            return self._probe()

    def create_bucket(self) -> None:
        """Create the store's bucket; fine if it exists."""
        with self._translated("create", "its bucket"):
            if self._client.bucket_exists(self._bucket):
                return
            try:
                self._client.make_bucket(self._bucket)
            except S3Error as error:
                if error.code != "BucketAlreadyOwnedByYou":
                    raise

    def _name(self, key: str) -> str:
        return self._prefix + check_key(key)

    def _put(self, name: str, data: bytes, only_new: bool = False) -> ObjectWriteResult:
        """Send the object, in one request with its checksum if it is not too large for that."""
        headers = {"If-None-Match": "*"} if only_new else {}
        if len(data) > SINGLE_PUT:
            return self._sent(name, data, headers)
        refusal: S3Error | None = None
        for number in range(self._checksum, len(_CHECKSUMS)):
            try:
                result = self._sent(name, data, headers | _CHECKSUMS[number][1](data))
            except S3Error as error:
                if error.code not in _REFUSALS:
                    raise
                refusal = refusal or error
            else:
                self._checksum = number
                return result
        raise refusal or NotS3Error

    def _sent(self, name: str, data: bytes, headers: dict[str, str]) -> ObjectWriteResult:
        result = self._client.put_object(
            self._bucket,
            name,
            io.BytesIO(data),
            len(data),
            sse=_SentHeaders(headers),
            part_size=SINGLE_PUT,
            num_parallel_uploads=1,
        )
        if not result.etag:
            raise NotS3Error
        return result

    def _put_new(self, name: str, data: bytes) -> bool:
        try:
            self._put(name, data, only_new=True)
        except S3Error as error:
            if error.code == "PreconditionFailed":
                return False
            raise
        return True

    def _get(self, name: str, wanted: str | None = None) -> BaseHTTPResponse | None:
        headers: DictType | None = {"Range": wanted} if wanted else None
        try:
            response = self._client.get_object(self._bucket, name, request_headers=headers)
        except S3Error as error:
            if error.code == "NoSuchKey":
                return None
            if error.code == "InvalidRange":
                return urllib3.HTTPResponse(b"", status=206)
            raise
        if "etag" not in response.headers:
            raise NotS3Error
        return response

    def _listed(self, prefix: str, recursive: bool) -> Iterator[str]:
        below = self._prefix + check_prefix(prefix)
        with self._translated("list", prefix):
            try:
                for entry in self._client.list_objects(self._bucket, below, recursive):
                    yield (entry.object_name or "").removeprefix(self._prefix)
            except ValueError as error:  # XML, but no listing
                raise NotS3Error from error

    def _is_conditional(self) -> bool:
        """Probe once; threads that ask meanwhile get the same outcome or error."""
        with self._lock:
            mine = self._probed is None
            probed = self._probed = self._probed or Future()
        if mine:
            try:
                probed.set_result(self._probe().conditional_create)
            except BaseException as error:
                self._probed = None
                probed.set_exception(error)
        return probed.result()

    def _probe(self) -> StoreFacts:
        name = f"{self._prefix}.probe-{uuid.uuid4().hex}"
        begun = time.time()
        date = self._put(name, _PROBE).http_headers.get("date")
        between = (begun + time.time()) / 2
        try:
            conditional = not self._put_new(name, _PROBE)
        except S3Error as error:
            if error.code not in _REFUSALS:
                raise
            conditional = False
        # Who may not delete may still write; no listing shows what then stays.
        with contextlib.suppress(MinioException, HTTPError):
            self._client.remove_object(self._bucket, name)
        # The header's seconds are cut off: half of one is lost on average.
        clock = parsedate_to_datetime(date).timestamp() + 0.5 if date else between
        return StoreFacts(
            conditional_create=conditional,
            clock_skew_seconds=clock - between,
            checked_by=_CHECKSUMS[self._checksum][0],
            credentials=self._source.name,
        )


class _SentHeaders(Sse):
    """Makes `put_object` send headers, signed like every other.

    `put_object` has no argument for headers, and sends what an `Sse` tells it to.
    """

    def __init__(self, headers: dict[str, str]) -> None:
        self._headers = headers

    def headers(self) -> dict[str, str]:
        return self._headers
