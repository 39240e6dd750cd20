"""A store in a bucket of Google Cloud Storage or a container of Azure, through `obstore`."""

import contextlib
import os
import re
import time
import uuid
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, urlencode, urlsplit

import obstore
from obstore.exceptions import (
    AlreadyExistsError,
    BaseError,
    NotSupportedError,
    PermissionDeniedError,
    UnauthenticatedError,
)
from obstore.store import AzureStore, GCSStore, ObjectStore

from seedsweep.storage.errors import ConfigError, SeedsweepError, StoreUnavailableError
from seedsweep.storage.prefix import read_prefix, write_prefix
from seedsweep.storage.store import StoreFacts, check_key, check_prefix, is_key

if TYPE_CHECKING:
    from obstore import GetOptions
    from obstore.store import ClientConfig, RetryConfig

FORMS = {"gs": "gs://BUCKET/PREFIX", "az": "az://CONTAINER/PREFIX?account=ACCOUNT"}
"""How the URL of a store of each kind is written."""

_BUCKET = re.compile(r"[a-z0-9][a-z0-9._-]{1,220}[a-z0-9]")
_ACCOUNT = re.compile(r"[a-z0-9]{3,24}")
_NO_BUCKET = re.compile(r"NoSuchBucket|ContainerNotFound|bucket does not exist", re.I)
# The last is what Azurite says of an empty object.
_PAST_THE_END = re.compile(r"\b416\b|InvalidRange|StartTooLarge|bytes 0--1/0")
_REASON = re.compile(r"\b[45]\d\d [A-Z][a-z]+(?: [A-Z][a-z]+)*|timed out|refused|dns error")
_LISTED_AT_ONCE = 1000


class CloudStore:
    """A store below a prefix of a bucket, of any kind that `obstore` knows; `url` opens it again.

    `create` is create-only by the service's own precondition. One whose answer was lost may be sent
    again and then returns False although the object is its own. Listings are in the order of the
    service, which is ascending for those that `open_cloud_store` opens.

    A request ends within two minutes, and is not sent again once 15 seconds have gone by. Every
    method raises `ConfigError` if the bucket is missing or the credentials are refused, and
    `StoreUnavailableError` for all that may pass. May be used by many threads.
    """

    def __init__(self, url: str, bucket: ObjectStore, prefix: str) -> None:
        self.url = url
        self._bucket = bucket
        self._prefix = f"{prefix}/" if prefix else ""
        self._met = False

    def create(self, key: str, data: bytes) -> bool:
        name = self._name(key)
        with self._translated("write", key):
            return self._put_new(name, data)

    def replace(self, key: str, data: bytes) -> None:
        name = self._name(key)
        with self._translated("write", key):
            obstore.put(self._bucket, name, data, use_multipart=False)

    def read(self, key: str) -> bytes | None:
        name = self._name(key)
        with self._translated("read", key):
            return self._get(name, {})

    def read_range(self, key: str, start: int, length: int) -> bytes | None:
        name = self._name(key)
        with self._translated("read", key):
            if start >= 0:
                data = self._get(name, {"range": (start, start + max(length, 1))})
            else:
                data = self._get_end(name, -start)
            return None if data is None else data[:length]

    def exists(self, key: str) -> bool:
        return self.read_range(key, 0, 1) is not None

    def list(self, prefix: str) -> Iterator[str]:
        below = self._prefix + check_prefix(prefix)
        with self._translated("list", prefix):
            batches = obstore.list(
                self._bucket, below.rstrip("/") or None, chunk_size=_LISTED_AT_ONCE
            )
            for entry in (entry for batch in batches for entry in batch):
                key = entry["path"].removeprefix(self._prefix)
                # A folder's marker comes without its slash: nothing lies there.
                if key.startswith(prefix) and is_key(key) and (entry["size"] or self.exists(key)):
                    yield key

    def folders(self, prefix: str) -> Iterator[str]:
        below = self._prefix + check_prefix(prefix)
        with self._translated("list", prefix):
            found = obstore.list_with_delimiter(self._bucket, below.rstrip("/") or None)
        names = (path.removeprefix(below).rstrip("/") for path in found["common_prefixes"])
        yield from sorted({*filter(is_key, names)})

    def delete(self, key: str) -> None:
        name = self._name(key)
        with self._translated("delete", key):
            try:
                obstore.delete(self._bucket, name)
            except FileNotFoundError as error:
                if _NO_BUCKET.search(str(error)):
                    raise

    def inspect(self) -> StoreFacts:
        name = f"{self._prefix}.probe-{uuid.uuid4().hex}"
        with self._translated("write", "a probe"):
            begun = time.time()
            obstore.put(self._bucket, name, b"", use_multipart=False)
            between = (begun + time.time()) / 2
            clock = obstore.head(self._bucket, name)["last_modified"].timestamp()
            conditional = not self._put_new(name, b"")
            # Who may not delete may still write; no listing shows what then stays.
            with contextlib.suppress(BaseError, OSError):
                obstore.delete(self._bucket, name)
        return StoreFacts(conditional_create=conditional, clock_skew_seconds=clock - between)

    def _name(self, key: str) -> str:
        return self._prefix + check_key(key)

    def _put_new(self, name: str, data: bytes) -> bool:
        try:
            obstore.put(self._bucket, name, data, mode="create", use_multipart=False)
        except AlreadyExistsError:
            return False
        return True

    def _get(self, name: str, options: "GetOptions") -> bytes | None:
        try:
            return obstore.get(self._bucket, name, options=options).bytes().to_bytes()
        except FileNotFoundError as error:
            if _NO_BUCKET.search(str(error)):
                raise
            return None
        except BaseError as error:
            if "range" in options and _PAST_THE_END.search(str(error)):
                return b""
            raise

    def _get_end(self, name: str, length: int) -> bytes | None:
        with contextlib.suppress(NotSupportedError):
            return self._get(name, {"range": {"suffix": length}})
        try:
            size = obstore.head(self._bucket, name)["size"]
        except FileNotFoundError:
            return None
        return self._get(name, {"range": (max(0, size - length), max(size, 1))})

    @contextlib.contextmanager
    def _translated(self, action: str, key: str) -> Iterator[None]:
        failed = f"The store {self.url} could not {action} {key or 'its keys'}"
        try:
            yield
        except (BaseError, OSError) as error:
            # Their text is of many lines, and may hold a signature.
            raise self._in_words(failed, error) from None
        self._met = True

    def _in_words(self, failed: str, error: Exception) -> SeedsweepError:
        text = str(error)
        found = _REASON.search(text)
        reason = found[0] if found else type(error).__name__
        if "token request" in text:
            kind = StoreUnavailableError if self._met else ConfigError
            return kind(f"{failed}: no credentials work there; {self._login()}.")
        if isinstance(error, FileNotFoundError) or reason.startswith("404"):
            return ConfigError(f"{failed}: there is no such bucket; create it.")
        denied = isinstance(error, PermissionDeniedError | UnauthenticatedError)
        if denied or reason.startswith(("401", "403")):
            return ConfigError(
                f"{failed}: access is denied; let these credentials read, write, list and delete "
                "there."
            )
        return StoreUnavailableError(f"{failed} ({reason}); look at its service and the network.")

    def _login(self) -> str:
        if isinstance(self._bucket, GCSStore):
            return "set GOOGLE_APPLICATION_CREDENTIALS, or give this machine or pod an identity"
        return "set AZURE_STORAGE_ACCOUNT_KEY, or give this machine or pod an identity"


def open_cloud_store(url: str) -> CloudStore:
    """Open the store that `gs://BUCKET/PREFIX` or `az://CONTAINER/PREFIX?account=ACCOUNT` names.

    Without `account`, AZURE_STORAGE_ACCOUNT_NAME says it; credentials are found as `obstore` does.
    Raises `ConfigError` for a URL or an environment that does not do, and shows no credentials.
    """
    scheme = url.partition(":")[0]
    try:
        parts = urlsplit(url)
        options = dict(parse_qsl(parts.query, keep_blank_values=True))
        prefix = read_prefix(parts.path)
    except ValueError:
        raise _wrong(scheme, "cannot be read") from None
    if not _BUCKET.fullmatch(parts.netloc):
        raise _wrong(scheme, "names no bucket")
    if parts.fragment or options.keys() - ({"account"} if scheme == "az" else set()):
        raise _wrong(scheme, "has options that it cannot have")
    whole = f"{scheme}://{parts.netloc}/{write_prefix(prefix)}".rstrip("/")
    try:
        if scheme == "gs":
            bucket: ObjectStore = GCSStore(
                parts.netloc, client_options=_client(), retry_config=_retry()
            )
        else:
            account = options.get("account") or os.environ.get("AZURE_STORAGE_ACCOUNT_NAME", "")
            if not _ACCOUNT.fullmatch(account):
                raise _wrong(scheme, "names no account")
            whole += f"?{urlencode({'account': account})}"
            bucket = AzureStore(
                parts.netloc,
                account_name=account,
                client_options=_client(),
                retry_config=_retry(),
            )
    except (BaseError, ValueError, OSError):
        family = {"gs": "GOOGLE", "az": "AZURE"}[scheme]
        raise ConfigError(
            f"The store {whole} cannot be opened with what the environment says; correct its "
            f"{family}_ variables, or SSL_CERT_FILE."
        ) from None
    return CloudStore(whole, bucket, prefix)


def _wrong(scheme: str, why: str) -> ConfigError:
    return ConfigError(f"The store's {scheme}: URL {why}; write {FORMS[scheme]}.")


def _client() -> "ClientConfig":
    options: ClientConfig = {"connect_timeout": "5s", "timeout": "120s"}
    if file := os.environ.get("SSL_CERT_FILE"):
        options["root_certificate"] = Path(file).read_bytes()
    return options


def _retry() -> "RetryConfig":
    return {"max_retries": 4, "retry_timeout": timedelta(seconds=15)}
