"""One source of a store's credentials, and asking the server that gives them."""

import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import urlsplit

from minio.credentials.credentials import Credentials
from minio.credentials.providers import Provider
from urllib3.exceptions import HTTPError
from urllib3.response import BaseHTTPResponse

from seedsweep.storage.errors import ConfigError, SeedsweepError, StoreUnavailableError
from seedsweep.storage.s3.address import Address
from seedsweep.storage.s3.connection import AGAIN, Http, Patience

SERVER = Patience(connect=2.0, read=10.0, again=5.0)
"""The patience with a server that something names."""


@dataclass(frozen=True, slots=True)
class CredentialSource:
    """Where credentials come from.

    `name` says so in words, and `access_key` and `secret_key` where each of them stands. `fetch`
    asks for them, and its errors hold no secret. `kind`: those of `variables` stay for the life of
    this process, a `file` may change, a `server` is asked over the network.
    """

    name: str
    access_key: str
    secret_key: str
    fetch: Callable[[], Credentials]
    kind: Literal["variables", "file", "server"]


class UnansweredError(StoreUnavailableError):
    """Nobody answered."""


def role(
    address: Address, name: str, remedy: str, provider: Callable[[], Provider]
) -> CredentialSource:
    """A source that asks a server; `provider` makes one of the client's, for one time.

    A provider that is kept would return its old credentials until ten seconds before they expire.
    """

    def fetch() -> Credentials:
        try:
            return provider().retrieve()
        except SeedsweepError:
            raise
        except Exception as error:  # the client raises whatever reading the answer does
            kind, why = _what_failed(error)
        # Raised here, it does not carry along what the client raised, which may hold the token.
        raise no_credentials(address, f"{name} gives none ({why})", remedy, kind)

    given = f"what {name} gives"
    return CredentialSource(name, given, given, fetch, "server")


def no_credentials(
    address: Address, why: str, remedy: str, kind: type[SeedsweepError] = ConfigError
) -> SeedsweepError:
    """The error that says why a store cannot be used."""
    return kind(f"There are no credentials for the store {address.url}: {why}; {remedy}.")


def token_server(address: Address) -> str:
    """The STS to ask: that of AWS in the region, or of another store, which is at its endpoint."""
    if named := os.environ.get("AWS_ENDPOINT_URL_STS"):
        return named
    host = urlsplit(address.server).hostname or ""
    if address.endpoint and not host.endswith((".amazonaws.com", ".amazonaws.com.cn")):
        return address.endpoint
    end = ".cn" if address.region.startswith("cn-") else ""
    return f"https://sts.{address.region}.amazonaws.com{end}"


class FormPost(Http):
    """Sends the fields of a POST in its body: in the URL the token would be logged."""

    def urlopen(  # type: ignore[override]
        self, method: str, url: str, redirect: bool = True, **kw: Any
    ) -> BaseHTTPResponse:
        if method == "POST":
            url, _, query = url.partition("?")
            kw["body"] = (kw.get("body") or query).encode()
            kw["headers"] = {
                "Content-Type": "application/x-www-form-urlencoded",
                **(kw.get("headers") or {}),
                "Content-Length": str(len(kw["body"])),
            }
        return super().urlopen(method, url, redirect, **kw)


def _what_failed(error: Exception) -> tuple[type[SeedsweepError], str]:
    """Why a server gave no credentials, in words that repeat nothing that was sent or answered."""
    if isinstance(error, HTTPError):
        return UnansweredError, "nobody answers"
    if isinstance(file := error.__cause__ or error, OSError):
        return ConfigError, f"{file.filename or 'a file'} cannot be read: {file.strerror}"
    if status := re.search(r"failed with HTTP status code (\d+)$", str(error)):
        kind = StoreUnavailableError if int(status[1]) in AGAIN else ConfigError
        return kind, f"HTTP {status[1]}"
    if "loopback" in str(error):
        return ConfigError, "it is elsewhere, and AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE is not set"
    return ConfigError, "the token or the answer is none"
