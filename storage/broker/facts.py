"""What a broker says of itself, for `doctor`; no sentence here ever repeats a password."""

import contextlib
import statistics
import time
from collections.abc import Iterator, Mapping
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
    """A broker that answers. None and an empty text stand for what it does not tell.

    `product`: `valkey` or `redis`, with its own `version`; `redis_version`: the Redis whose
    commands it speaks. `used_bytes` of `max_bytes`, 0 if there is no limit.
    `clock_skew_seconds`: how far its clock is ahead of ours. `persistence_error`: its last write
    to the disk failed. `needs_password`: it refuses who gives none. `primary`: host and port of the
    one that sentinels name, empty without any.
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
    primary: str = ""


def read_broker_facts(url: str) -> BrokerFacts:
    """Ask the broker; writes nothing and takes seconds at most.

    Only `INFO` is asked, which managed services allow where they forbid `CONFIG`; if even that
    is forbidden the facts are unknown. Raises `BrokerUnavailableError` if nothing answers as a
    Redis does, and `ConfigError` if the URL, its password, its database number or a certificate
    is wrong, or a Redis Cluster or a sentinel answers.
    """
    address = read_address(url)
    with contextlib.closing(_connect(address)) as client, _translated(address.where):
        info = _info(client)
        _refuse_unfit(client, address.where, info)
        round_trips = [_seconds(client) for _ in range(PINGS)]
        skew = _clock_skew(client)
        primary = address.sentinels.primary() if address.sentinels else ""
        needs_password = _refuses_strangers(address)
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
        primary=primary,
    )


def refuse_unfit(url: str) -> None:
    """Raise `ConfigError` if a Redis Cluster or a sentinel answers where a broker should.

    A broker that does not answer, or refuses us, passes: whoever uses it waits for it.
    """
    address = read_address(url)
    with contextlib.closing(_connect(address)) as client, contextlib.suppress(redis.RedisError):
        _refuse_unfit(client, address.where, {})


def _connect(address: BrokerAddress, stranger: bool = False) -> redis.Redis:
    """A client that waits for seconds at most; a `stranger` gives neither user nor password."""
    options = {
        "socket_timeout": TIMEOUT_SECONDS,
        "socket_connect_timeout": TIMEOUT_SECONDS,
        "retry": Retry(NoBackoff(), 0),
        "protocol": 2,  # so that a server too old for the other one can say how old it is
    }
    nobody = {"username": None, "password": None} if stranger else {}
    return redis.Redis.from_pool(address.pool({**options, **nobody}))


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


def _refuse_unfit(client: redis.Redis, where: str, info: Mapping[str, Any]) -> None:
    mode = _mode(client) or info.get("redis_mode")
    if mode == "cluster":
        raise ConfigError(
            f"The broker at {where} is a Redis Cluster, which cannot change at once what lies on "
            "several servers; name a Redis or Valkey that is none, or one that sentinels watch."
        )
    if mode == "sentinel":
        raise ConfigError(
            f"What answers at {where} is a sentinel and no broker; write "
            f"redis+sentinel://:PASSWORD@{where}/NAME in SEEDSWEEP_BROKER_URL."
        )


def _mode(client: redis.Redis) -> str:
    """The mode that the server names in its greeting, which every user may ask for; empty before
    Redis 6."""
    try:
        told = client.execute_command("HELLO")  # type: ignore[no-untyped-call]
    except redis.ResponseError:
        return ""
    pairs = told if isinstance(told, dict) else dict(zip(told[::2], told[1::2], strict=True))
    return str(pairs[b"mode"].decode())


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


def _refuses_strangers(address: BrokerAddress) -> bool:
    """Whether the same server refuses a connection that gives neither user nor password."""
    with contextlib.closing(_connect(address, stranger=True)) as stranger:
        try:
            stranger.ping()
        except (redis.AuthenticationError, redis.ResponseError):
            return True
    return False
