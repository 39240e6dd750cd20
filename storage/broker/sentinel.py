"""Redis Sentinel: servers that watch the broker, and say which of its hosts is the primary."""

from collections.abc import Mapping, Sequence
from typing import Any, cast

import redis
from redis.backoff import NoBackoff
from redis.exceptions import NoPermissionError
from redis.retry import Retry
from redis.sentinel import (
    MasterNotFoundError,
    Sentinel,
    SentinelConnectionPool,
    SentinelManagedConnection,
)

from seedsweep.storage.broker.tls import TlsConnection

TIMEOUT_SECONDS = 5.0


class SentinelTlsConnection(SentinelManagedConnection, TlsConnection):
    """A connection in TLS to whom the sentinels call the primary."""


class Sentinels(Sentinel):
    """Sentinels at these places, host and port, that know the broker by this `name`.

    `login` is their own `username` and `password`, `tls` as for the broker.
    """

    def __init__(
        self,
        name: str,
        places: Sequence[tuple[str, int]],
        login: Mapping[str, str],
        tls: Mapping[str, str] | None,
    ) -> None:
        super().__init__([])  # type: ignore[no-untyped-call]
        self.name = name
        options: dict[str, Any] = {
            **login,
            **(tls or {}),
            "connection_class": redis.Connection if tls is None else TlsConnection,
            "socket_timeout": TIMEOUT_SECONDS,
            "socket_connect_timeout": TIMEOUT_SECONDS,
            "retry": Retry(NoBackoff(), 0),
            "protocol": 2,  # the other one answers a missing password with words on HELLO
        }
        self.sentinels = [
            redis.Redis.from_pool(redis.ConnectionPool(host=host, port=port, **options))
            for host, port in places
        ]

    def pool(self, options: Mapping[str, Any]) -> SentinelConnectionPool:
        """Connections to whom the sentinels call the primary when one is made."""
        elsewhere = {key: each for key, each in options.items() if key not in ("host", "port")}
        return SentinelConnectionPool(self.name, self, **elsewhere)  # type: ignore[no-untyped-call]

    def primary(self) -> str:
        """Host and port of the primary; raises as `discover_master` does."""
        host, port = self.discover_master(self.name)
        return f"{host}:{port}"

    def discover_master(self, service_name: str) -> tuple[str, int]:
        """Host and port of the primary of this name.

        The sentinel that names it is asked first the next time. Raises `AuthenticationError` if
        one refuses us and none names it, else `MasterNotFoundError`; both say what each answered.
        """
        reasons: list[str] = []
        cause: redis.RedisError | None = None
        kind: type[redis.ConnectionError] = MasterNotFoundError
        for sentinel in self.sentinels:
            try:
                primaries = cast("dict[str, dict[str, Any]]", sentinel.sentinel_masters())
            except redis.RedisError as error:
                kind = redis.AuthenticationError if _is_refusal(error) else kind
                reason, cause = str(error), error
            else:
                state = primaries.get(service_name)
                if state and self.check_master_state(state, service_name):  # type: ignore[no-untyped-call]
                    others = [other for other in self.sentinels if other is not sentinel]
                    self.sentinels = [sentinel, *others]
                    return state["ip"], state["port"]
                reason = "it calls it down" if state else "it knows none of that name"
            known = sentinel.connection_pool.connection_kwargs
            reasons.append(f"{known['host']}:{known['port']}: {reason.rstrip('.')}")
        raise kind(f"no sentinel names a primary {service_name}: {'; '.join(reasons)}") from cause


def _is_refusal(error: redis.RedisError) -> bool:
    return isinstance(error, redis.AuthenticationError | NoPermissionError)
