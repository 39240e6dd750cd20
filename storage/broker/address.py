"""Where the broker is: one reading of its URL for every client, and no secret in any refusal."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import SplitResult, parse_qsl, quote, unquote, urlsplit

import certifi
from redis.connection import parse_url

from seedsweep.storage.broker.tls import TlsConnection, make_context
from seedsweep.storage.errors import ConfigError

_FILES = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile")
_CHECKS = {"ssl_cert_reqs": ("required", "cert_required"), "ssl_check_hostname": ("true", "yes")}
"""What clients of Redis know as switches of the check, and the values that leave it on."""


@dataclass(frozen=True, slots=True)
class BrokerAddress:
    """A broker's address: `where` may be shown, `url` holds the password.

    `url` has no options, and all of the password is percent-encoded. `tls` are the options of TLS
    as redis and kombu both call them, None without it.
    """

    where: str
    url: str = field(repr=False)
    tls: Mapping[str, str] | None

    def connection_options(self) -> dict[str, Any]:
        """What a `redis.ConnectionPool` needs to connect: host, password, class and so on."""
        options: dict[str, Any] = parse_url(self.url)  # type: ignore[no-untyped-call]
        if self.tls is not None:
            options |= {**self.tls, "connection_class": TlsConnection}
        return options


def read_address(url: str) -> BrokerAddress:
    """Take a broker's URL apart: redis://, rediss:// for TLS, or unix://.

    The certificates to trust are those of `ssl_ca_certs` in the URL, else of SSL_CERT_FILE, else
    the public authorities'; `ssl_certfile` and `ssl_keyfile` are what we show of ourselves.
    Raises `ConfigError`, which repeats nothing that may be a password, where the URL cannot be
    read, a certificate cannot, or the server's is not to be checked.
    """
    parts = _split(url)
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    if parts.scheme == "unix":
        if options.keys() - {"db"}:
            raise _unknown_options()
        return BrokerAddress(parts.path, url, None)
    tls = _tls(options) if parts.scheme == "rediss" else None
    if options and tls is None:
        raise _unknown_options()
    port = parts.port or 6379
    bare = f"{parts.scheme}://{_who(parts)}{_host(parts)}:{port}/{parts.path.strip('/') or 0}"
    return BrokerAddress(f"{parts.hostname}:{port}", bare, tls)


def _split(url: str) -> SplitResult:
    """Refuse whatever a password that was not encoded would be taken for."""
    try:
        parts = urlsplit(url)
        has_host = bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        parts, has_host = urlsplit(""), False
    number = parts.path.strip("/")
    if parts.scheme == "unix":
        readable = parts.path.startswith("/")
    else:
        readable = has_host and parts.scheme in ("redis", "rediss")
        readable = readable and (not number or number.isdecimal())
    if not readable or "@" in parts.path + parts.query or parts.fragment:
        raise ConfigError(
            "The broker's URL cannot be read; write redis://:PASSWORD@HOST:PORT/NUMBER, with the "
            "password's special characters percent-encoded."
        )
    return parts


def _who(parts: SplitResult) -> str:
    """User and password, encoded to the last character: kombu ends a URL at a semicolon."""
    if not parts.username and not parts.password:
        return ""
    return (
        ":".join(quote(unquote(part or ""), safe="") for part in (parts.username, parts.password))
        + "@"
    )


def _host(parts: SplitResult) -> str:
    host = parts.hostname or ""
    return f"[{host}]" if ":" in host else host


def _tls(options: Mapping[str, str]) -> dict[str, str]:
    for name, allowed in _CHECKS.items():
        if options.get(name, allowed[0]).lower() not in allowed:
            raise ConfigError(
                f"The broker's certificate must be checked; leave {name} out of its URL, and set "
                "SSL_CERT_FILE to the certificate of the authority that signed it."
            )
    if options.keys() - {*_FILES, *_CHECKS}:
        raise _unknown_options()
    tls = {name: options[name] for name in _FILES if options.get(name)}
    tls.setdefault("ssl_ca_certs", os.environ.get("SSL_CERT_FILE") or certifi.where())
    # Now, since a wrong path would otherwise be told like a server that is away.
    make_context(tls["ssl_ca_certs"], tls.get("ssl_certfile"), tls.get("ssl_keyfile"))
    return tls


def _unknown_options() -> ConfigError:
    return ConfigError(
        f"The broker's URL has options other than {', '.join(_FILES)} with rediss://; write "
        "redis://:PASSWORD@HOST:PORT/NUMBER."
    )
