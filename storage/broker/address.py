"""Where the broker is: one reading of its URL for every client, and no secret in any refusal."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import SplitResult, parse_qsl, quote, unquote, urlsplit

import certifi
from redis import ConnectionPool
from redis.connection import parse_url

from seedsweep.storage.broker.sentinel import Sentinels, SentinelTlsConnection
from seedsweep.storage.broker.tls import TlsConnection, make_context
from seedsweep.storage.errors import ConfigError

_FILES = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile")
_CHECKS = {"ssl_cert_reqs": ("required", "cert_required"), "ssl_check_hostname": ("true", "yes")}
"""What clients of Redis know as switches of the check, and the values that leave it on."""
_SENTINEL = "+sentinel"
_LOGIN = ("sentinel_username", "sentinel_password")
_FORMS = (
    "redis://:PASSWORD@HOST:PORT/NUMBER, or redis+sentinel://:PASSWORD@HOST:PORT,HOST:PORT/NAME "
    "for the primary that sentinels know by that name"
)


@dataclass(frozen=True, slots=True)
class BrokerAddress:
    """A broker's address: `where` may be shown, `url` holds the password.

    `url` has no options, and all of the password is percent-encoded. `tls` are the options of TLS
    as redis and kombu both call them, None without it. With `sentinels` the host in `url` is the
    first of them, and the broker is whom they call its primary at each new connection.
    """

    where: str
    url: str = field(repr=False)
    tls: Mapping[str, str] | None
    sentinels: Sentinels | None = field(default=None, repr=False)

    def pool(self, options: Mapping[str, Any]) -> ConnectionPool:
        """Connections to the broker, of which none is made yet; `options` of redis go first."""
        known: dict[str, Any] = parse_url(self.url)  # type: ignore[no-untyped-call]
        if self.tls is not None:
            checking = SentinelTlsConnection if self.sentinels else TlsConnection
            known |= {**self.tls, "connection_class": checking}
        known |= options
        return self.sentinels.pool(known) if self.sentinels else ConnectionPool(**known)


def read_address(url: str) -> BrokerAddress:
    """Take a broker's URL apart: redis://, rediss:// for TLS, or unix://. With redis+sentinel://
    and rediss+sentinel:// the first part of the path names the primary.

    The certificates to trust are those of `ssl_ca_certs` in the URL, else of SSL_CERT_FILE, else
    the public authorities'; `ssl_certfile` and `ssl_keyfile` are our own certificate and its key.
    Raises `ConfigError`, which repeats nothing that may be a password, if the URL cannot be read, a
    certificate cannot, or the server's is not to be checked.
    """
    parts = _split(url)
    # In a form a plus sign would be a space; in passwords and paths it is itself.
    options = dict(parse_qsl(parts.query.replace("+", "%2B"), keep_blank_values=True))
    if parts.scheme == "unix":
        if options.keys() - {"db"}:
            raise _unknown_options()
        return BrokerAddress(parts.path, url, None)
    scheme, with_sentinels = parts.scheme.removesuffix(_SENTINEL), _SENTINEL in parts.scheme
    login = {name: options.pop(name, "") for name in _LOGIN} if with_sentinels else {}
    tls = _tls(options) if scheme == "rediss" else None
    if options and tls is None:
        raise _unknown_options()
    places = [(each.hostname or "", each.port or _port(parts)) for each in _servers(parts)]
    shown = ", ".join(f"{_host(host)}:{port}" for host, port in places)
    name, number = _path(parts)
    host, port = places[0]
    bare = f"{scheme}://{_who(parts)}{_host(host)}:{port}/{number or 0}"
    if not with_sentinels:
        return BrokerAddress(shown, bare, tls)
    given = {key.removeprefix("sentinel_"): value for key, value in login.items() if value}
    sentinels = Sentinels(name, places, given, tls)
    return BrokerAddress(f"{name} (sentinels {shown})", bare, tls, sentinels)


def _split(url: str) -> SplitResult:
    """Refuse a URL that a password without percent-encoding would break up."""
    try:
        parts = urlsplit(url)
        servers = _servers(parts)
        has_host = all(each.hostname and each.port != 0 for each in servers)
    except ValueError:
        parts, servers, has_host = urlsplit(""), [], False
    name, number = _path(parts)
    if parts.scheme == "unix":
        readable = parts.path.startswith("/")
    else:
        readable = has_host and parts.scheme.removesuffix(_SENTINEL) in ("redis", "rediss")
        readable = readable and (not number or number.isdecimal())
        readable = readable and (bool(name) if _SENTINEL in parts.scheme else len(servers) == 1)
    if not readable or "@" in parts.path + parts.query or parts.fragment:
        raise ConfigError(
            f"The broker's URL cannot be read; write {_FORMS}, with the password's special "
            "characters percent-encoded."
        )
    return parts


def _servers(parts: SplitResult) -> list[SplitResult]:
    """Each of the hosts that are listed, apart."""
    return [urlsplit(f"//{host}") for host in parts.netloc.rpartition("@")[2].split(",")]


def _port(parts: SplitResult) -> int:
    return 26379 if _SENTINEL in parts.scheme else 6379


def _path(parts: SplitResult) -> tuple[str, str]:
    """The name by which sentinels know the broker, empty without sentinels, and the number."""
    path = parts.path.strip("/")
    if _SENTINEL not in parts.scheme:
        return "", path
    name, _, number = path.partition("/")
    return unquote(name), number


def _who(parts: SplitResult) -> str:
    """User and password, encoded to the last character: kombu ends a URL at a semicolon."""
    if not parts.username and not parts.password:
        return ""
    return (
        ":".join(quote(unquote(part or ""), safe="") for part in (parts.username, parts.password))
        + "@"
    )


def _host(host: str) -> str:
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
        f"The broker's URL has options other than {', '.join(_FILES)} with rediss://, and "
        f"{' and '.join(_LOGIN)} with sentinels; write {_FORMS}."
    )
