"""What a broker says of itself, for `doctor`; no sentence here ever repeats a password."""

import contextlib
import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from storage.errors import BrokerUnavailableError, ConfigError

PINGS = 5
TIMEOUT_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class BrokerFacts:
    """A broker that answers; None and an empty text are what it does not tell.

    `product`: `valkey` or `redis`, with its own `version`; `redis_version`: the Redis whose
    commands it speaks. `used_bytes` of `max_bytes`, 0 where there is no limit.
    `clock_skew_seconds`: how far its clock is ahead of ours. `persistence_error`: its last write
    to the disk failed. `needs_password`: it refuses who gives none.
    """

    product: str
    version: str
    redis_version: str
    append_only: bool | None
    eviction_policy: str | None
    used_bytes: int
    max_bytes: int
    clock_skew_seconds: float
    round_trip_ms: float
    persistence_error: bool
    needs_password: bool


def read_broker_facts(url: str) -> BrokerFacts:
    """Ask the broker; writes nothing and takes seconds at most.

    Only `INFO` is asked, which managed services allow where they forbid `CONFIG`; where even that
    is forbidden the facts are unknown. Raises `BrokerUnavailableError` where nothing answers as a
    Redis does, and `ConfigError` where the URL, its password or its database number is wrong.
    """
    where = _address(url)
    with contextlib.closing(_connect(url, where)) as client, _translated(where):
        round_trips = [_seconds(client) for _ in range(PINGS)]
        skew = _clock_skew(client)
        info = _info(client)
        needs_password = _refuses_strangers(client)
    valkey = info.get("valkey_version")
    return BrokerFacts(
        product="valkey" if valkey else "redis",
        version=str(valkey or info.get("redis_version", "")),
        redis_version=str(info.get("redis_version", "")),
        append_only=bool(info["aof_enabled"]) if "aof_enabled" in info else None,
        eviction_policy=info.get("maxmemory_policy"),
        used_bytes=int(info.get("used_memory", 0)),
        max_bytes=int(info.get("maxmemory", 0)),
        clock_skew_seconds=skew,
        round_trip_ms=statistics.median(round_trips) * 1000,
        persistence_error="err"
        in (info.get("aof_last_write_status"), info.get("rdb_last_bgsave_status")),
        needs_password=needs_password,
    )


def _address(url: str) -> str:
    """Name the broker without its secrets; a password that was not encoded is never taken apart."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port, parts = None, None, urlsplit("")
    if "@" in parts.path + parts.query + parts.fragment or not (host or parts.scheme == "unix"):
        raise ConfigError(
            "The broker's URL cannot be read; write redis://:PASSWORD@HOST:PORT/NUMBER, with the "
            "password's special characters percent-encoded."
        )
    return f"{host}:{port or 6379}" if host else parts.path


def _connect(url: str, where: str) -> redis.Redis:
    try:
        client = redis.Redis.from_url(
            url,
            socket_timeout=TIMEOUT_SECONDS,
            socket_connect_timeout=TIMEOUT_SECONDS,
            retry=Retry(NoBackoff(), 0),
            protocol=2,  # so that a server too old for the other one can say how old it is
        )
        client.connection_pool.make_connection()  # only now are the URL's options looked at
        return client
    except (ValueError, TypeError) as error:
        raise ConfigError(
            f"The URL of the broker at {where} names something that its client does not know; "
            "write redis://:PASSWORD@HOST:PORT/NUMBER, or rediss:// for TLS."
        ) from error


@contextlib.contextmanager
def _translated(where: str) -> Iterator[None]:
    try:
        yield
    except redis.AuthenticationError as error:
        raise ConfigError(
            f"The broker at {where} refuses the user or password ({error}); "
            "correct SEEDSWEEP_BROKER_URL."
        ) from error
    except (redis.ConnectionError, redis.TimeoutError) as error:
        raise BrokerUnavailableError(
            f"The broker at {where} does not answer as a Redis does ({error}); start it, or "
            "correct SEEDSWEEP_BROKER_URL."
        ) from error
    except redis.RedisError as error:
        raise ConfigError(
            f"The broker at {where} refuses what it is asked ({error}); correct "
            "SEEDSWEEP_BROKER_URL, or the rights of its user."
        ) from error


def _seconds(client: redis.Redis) -> float:
    began = time.perf_counter()
    client.ping()
    return time.perf_counter() - began


def _clock_skew(client: redis.Redis) -> float:
    before = time.time()
    seconds, micro = client.time()
    return float(seconds + micro / 1e6 - (before + time.time()) / 2)


def _info(client: redis.Redis) -> dict[str, Any]:
    try:
        return dict(client.info())
    except redis.ResponseError:
        return {}


def _refuses_strangers(client: redis.Redis) -> bool:
    """Whether the same server refuses a connection that gives neither user nor password."""
    given = client.connection_pool.connection_kwargs
    pool = redis.ConnectionPool(
        connection_class=client.connection_pool.connection_class,
        **{name: value for name, value in given.items() if name not in ("username", "password")},
    )
    with contextlib.closing(redis.Redis(connection_pool=pool)) as stranger:
        try:
            stranger.ping()
        except (redis.AuthenticationError, redis.ResponseError):
            return True
        finally:
            pool.disconnect()
    return False
