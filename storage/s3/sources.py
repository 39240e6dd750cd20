"""Where the credentials of a store in S3 come from: the chain that S3 clients share."""

import configparser
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from minio.credentials.credentials import Credentials
from minio.credentials.providers import (
    EnvAWSProvider,
    EnvMinioProvider,
    IamAwsProvider,
)
from urllib3.exceptions import HTTPError
from urllib3.response import BaseHTTPResponse

from seedsweep.storage.errors import ConfigError, SeedsweepError, StoreUnavailableError
from seedsweep.storage.s3.address import Address
from seedsweep.storage.s3.connection import AGAIN, Http, Patience

_SERVER = Patience(connect=2.0, read=10.0, again=5.0)
# On most machines nobody answers.
_METADATA = Patience(connect=1.0, read=1.0, again=0.5)

_METADATA_SERVER = "http://169.254.169.254"
_PAIRS = {
    ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"): EnvAWSProvider,
    ("MINIO_ACCESS_KEY", "MINIO_SECRET_KEY"): EnvMinioProvider,
}
_OTHER_WAYS = (
    "role_arn",
    "credential_process",
    "credential_source",
    "sso_session",
    "sso_account_id",
    "login_session",
    "web_identity_token_file",
)
"""What a profile says of keys that it does not hold itself."""


@dataclass(frozen=True, slots=True)
class Source:
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


def find_source(address: Address) -> Source:
    """The first source that is set up here; raises `ConfigError` where that is done by halves."""
    return (
        _variables(address)
        or _web_identity(address)
        or _profile(address)
        or _container(address)
        or _instance(address)
    )


def _variables(address: Address) -> Source | None:
    for (access_key, secret_key), provider in _PAIRS.items():
        fetch = provider().retrieve
        try:
            fetch()
        except ValueError:
            continue
        name = f"{access_key} and {secret_key}"
        return Source(name, access_key, secret_key, fetch, "variables")
    for pair in _PAIRS:
        given = [name for name in pair if os.environ.get(name)]
        if given:
            raise _none(
                address, f"only {given[0]} is set", f"set {pair[0]} and {pair[1]}, or neither"
            )
    return None


def _web_identity(address: Address) -> Source | None:
    file = os.environ.get("AWS_WEB_IDENTITY_TOKEN_FILE")
    if not file:
        return None
    role = os.environ.get("AWS_ROLE_ARN")
    name = f"web identity ({f'the role {role} by ' if role else ''}the token in {file})"
    return _role(
        address,
        name,
        "look at AWS_ROLE_ARN, AWS_WEB_IDENTITY_TOKEN_FILE and AWS_ENDPOINT_URL_STS",
        _token_server(address),
        _Form(1, _SERVER),
    )


def _token_server(address: Address) -> str | None:
    """The STS to ask: AWS's own (None), or that of another store, which is at its endpoint."""
    named = os.environ.get("AWS_ENDPOINT_URL_STS")
    host = urlsplit(address.server).hostname or ""
    is_aws = host.endswith((".amazonaws.com", ".amazonaws.com.cn"))
    return named or (None if is_aws else address.endpoint)


def _profile(address: Address) -> Source | None:
    wanted = os.environ.get("AWS_PROFILE")
    name = wanted or "default"
    files = _profile_files(name)
    for file, section in files.items():
        profile = _section(address, file, section)
        other = [key for key in _OTHER_WAYS if key in profile]
        if other:
            raise _none(
                address,
                f"the profile {name} of {file} has them through {other[0]}",
                "set what `aws configure export-credentials --format env` prints for it",
            )
        if "aws_access_key_id" in profile:
            where = f"the profile {name} of {file}"
            return Source(
                where,
                f"aws_access_key_id in {where}",
                f"aws_secret_access_key in {where}",
                partial(_keys, address, file, section),
                "file",
            )
    if wanted:
        raise _none(
            address,
            f"AWS_PROFILE is {name}, and {' and '.join(map(str, files))} hold no keys of that name",
            "correct AWS_PROFILE, or add aws_access_key_id and aws_secret_access_key there",
        )
    return None


def _profile_files(profile: str) -> dict[Path, str]:
    """The two files that may hold a profile, and the name of its section in each."""
    home = Path(os.environ.get("HOME") or "~").expanduser() / ".aws"
    shared = os.environ.get("AWS_SHARED_CREDENTIALS_FILE") or home / "credentials"
    config = os.environ.get("AWS_CONFIG_FILE") or home / "config"
    section = profile if profile == "default" else f"profile {profile}"
    return {Path(shared).expanduser(): profile, Path(config).expanduser(): section}


def _section(address: Address, file: Path, section: str) -> Mapping[str, str]:
    # The client's own provider expands %, which may stand in a secret.
    parser = configparser.RawConfigParser(strict=False)
    try:
        parser.read_string(file.read_text())
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        return {}
    except OSError as error:
        words, remedy = f"{file} cannot be read ({error.strerror})", "correct its rights"
        raise _none(address, words, remedy) from None
    except (configparser.Error, UnicodeDecodeError):
        raise _none(address, f"{file} is no file of profiles", "correct it") from None
    return dict(parser[section]) if section in parser else {}


def _keys(address: Address, file: Path, section: str) -> Credentials:
    profile = _section(address, file, section)
    try:
        return Credentials(
            profile.get("aws_access_key_id", ""),
            profile.get("aws_secret_access_key", ""),
            profile.get("aws_session_token"),
        )
    except ValueError:
        raise _none(
            address,
            f"[{section}] in {file} lacks one of them",
            "give it aws_access_key_id and aws_secret_access_key",
        ) from None


def _container(address: Address) -> Source | None:
    names = ("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "AWS_CONTAINER_CREDENTIALS_FULL_URI")
    given = [name for name in names if os.environ.get(name)]
    if not given:
        return None
    name = f"the container's role ({given[0]})"
    remedy = f"look at {given[0]}, AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE and the container's role"
    return _role(address, name, remedy, None, Http(1, _SERVER))


def _instance(address: Address) -> Source:
    credentials, config = _profile_files("default")
    searched = (
        "none are in AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, MINIO_ACCESS_KEY and "
        "MINIO_SECRET_KEY, AWS_WEB_IDENTITY_TOKEN_FILE, the profile default of "
        f"{credentials} and {config}, or AWS_CONTAINER_CREDENTIALS_FULL_URI"
    )
    remedy = "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or one of the others"
    if os.environ.get("AWS_EC2_METADATA_DISABLED", "").lower() == "true":
        raise _none(address, f"{searched}, and AWS_EC2_METADATA_DISABLED is set", remedy)
    server = os.environ.get("AWS_EC2_METADATA_SERVICE_ENDPOINT", "").rstrip("/")
    server = server or _METADATA_SERVER
    source = _role(
        address,
        f"the instance's role (from {server})",
        "give the instance a role, or set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
        server,
        Http(1, _METADATA),
    )

    def fetch() -> Credentials:
        try:
            return source.fetch()
        except _UnansweredError:
            words = f"{searched}, and no metadata server answers at {server}"
            raise _none(address, words, remedy) from None

    return replace(source, fetch=fetch)


class _UnansweredError(StoreUnavailableError):
    """Nobody answered."""


def _role(address: Address, name: str, remedy: str, endpoint: str | None, http: Http) -> Source:
    """A source that asks a server, by the protocol that the environment names."""

    def fetch() -> Credentials:
        # The client's provider would give what it fetched until ten seconds before its end.
        provider = IamAwsProvider(custom_endpoint=endpoint, http_client=http, region=address.region)
        try:
            return provider.retrieve()
        except Exception as error:  # the client raises whatever reading the answer does
            kind, why = _what_failed(error)
        # Raised here, it does not carry along what the client raised, which may hold the token.
        raise _none(address, f"{name} gives none ({why})", remedy, kind)

    given = f"what {name} gives"
    return Source(name, given, given, fetch, "server")


def _what_failed(error: Exception) -> tuple[type[SeedsweepError], str]:
    """What became of asking a server, in words that hold nothing of what was sent or answered."""
    if isinstance(error, HTTPError):
        return _UnansweredError, "nobody answers"
    if isinstance(file := error.__cause__ or error, OSError):
        return ConfigError, f"{file.filename or 'a file'} cannot be read: {file.strerror}"
    if status := re.search(r"failed with HTTP status code (\d+)$", str(error)):
        kind = StoreUnavailableError if int(status[1]) in AGAIN else ConfigError
        return kind, f"HTTP {status[1]}"
    if "loopback" in str(error):
        return ConfigError, "it is elsewhere, and AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE is not set"
    return ConfigError, "the token or the answer is none"


class _Form(Http):
    """Sends what a POST asks in its body: a URL, with the token in it, would be logged."""

    def urlopen(  # type: ignore[override]
        self, method: str, url: str, redirect: bool = True, **kw: Any
    ) -> BaseHTTPResponse:
        if method == "POST":
            url, _, query = url.partition("?")
            kw["body"] = query.encode()
            kw["headers"] = {
                "Content-Type": "application/x-www-form-urlencoded",
                "Content-Length": str(len(kw["body"])),
            }
        return super().urlopen(method, url, redirect, **kw)


def _none(
    address: Address, why: str, remedy: str, kind: type[SeedsweepError] = ConfigError
) -> SeedsweepError:
    return kind(f"There are no credentials for the store {address.url}: {why}; {remedy}.")
