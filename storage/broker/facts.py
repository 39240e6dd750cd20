"""What a broker says of itself, for `doctor`; no sentence here ever repeats a password."""

import contextlib
import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from seedsweep.storage.broker.address import BrokerAddress, read_address
from seedsweep.storage.broker.answers import in_our_words
from seedsweep.storage.broker.tls import tls_fault
from seedsweep.storage.errors import BrokerRefusesError, BrokerUnavailableError, ConfigError

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
    Redis does, and `ConfigError` where the URL, its password, its database number or a certificate
    is wrong.
    """
    address = read_address(url)
    with contextlib.closing(_connect(address)) as client, _translated(address.where):
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


def _connect(address: BrokerAddress) -> redis.Redis:
    pool = redis.ConnectionPool(
        **address.connection_options(),
        socket_timeout=TIMEOUT_SECONDS,
        socket_connect_timeout=TIMEOUT_SECONDS,
        retry=Retry(NoBackoff(), 0),
        protocol=2,  # so that a server too old for the other one can say how old it is
    )
    return redis.Redis.from_pool(pool)


@contextlib.contextmanager
def _translated(where: str) -> Iterator[None]:
    try:
        yield
    except redis.AuthenticationError as error:
        raise ConfigError(
            f"The broker at {where} refuses the user or password ({error}); "
            "correct SEEDSWEEP_BROKER_URL."
        ) from error
    except redis.RedisError as error:
        if fault := tls_fault(error):
            passes = isinstance(error, redis.TimeoutError | redis.InvalidResponse)
            raise (BrokerUnavailableError if passes else ConfigError)(
                f"The broker at {where} does not answer as a Redis does ({fault[0]}); {fault[1]}."
            ) from error
        if isinstance(error, redis.ConnectionError | redis.TimeoutError):
            raise BrokerUnavailableError(
                f"The broker at {where} does not answer as a Redis does ({error}); start it, or "
                "correct SEEDSWEEP_BROKER_URL."
            ) from error
        if not isinstance(said := in_our_words(error), BrokerRefusesError):
            raise said from error
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
