"""A campaign's live state in Redis: small, changed atomically, and rebuildable from the store.

Per campaign, below `seedsweep:<campaign_id>:`
    meta     hash: units, per_prompt, cursor, done, parked, analysed, flagged, state
    done     bitmap, one bit per unit
    tokens   hash: the window, unit → the token of its present issue (queued or claimed)
    leases   sorted set: claimed unit → when its lease ends, milliseconds of Redis time
    again    list: units that came back and are issued first
    errors, losses   hashes: how often a unit failed, or its worker vanished
    parked   set: units given up
    ready    sorted set: prompts whose units are all done or parked → when they may be taken
Over all campaigns: `seedsweep:epoch` (missing: Redis lost its memory, and every change is refused
until the state is restored), `seedsweep:leader`, `seedsweep:workers`.
"""

import contextlib
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
import redis
from numpy.typing import NDArray

from storage.errors import BrokerUnavailableError, ConfigError

ROOT = "seedsweep:"
EPOCH, LEADER, WORKERS = f"{ROOT}epoch", f"{ROOT}leader", f"{ROOT}workers"
SCRIPT = Path(__file__).with_name("ledger.lua").read_text()
PARTS = ("meta", "done", "tokens", "leases", "again", "errors", "losses", "parked", "ready")

LEASE_MS = 15_000
"""How long a claim holds without a sign of life: a killed worker's units run again after it."""
READY_LEASE_MS = 120_000
MAX_ERRORS = 3
MAX_LOSSES = 5

ClaimOutcome = Literal["granted", "done", "paused", "cancelled", "stale"]


class EpochMissingError(BrokerUnavailableError):
    """Redis forgot everything; the leading scheduler restores it from the store."""


@dataclass(frozen=True, slots=True)
class Restored:
    """A campaign's state as the store knows it.

    `done`: (units,) bool; `parked`: unit indexes; `ready`: prompts to be analysed.
    """

    per_prompt: int
    done: NDArray[np.bool_]
    parked: frozenset[int]
    ready: tuple[int, ...]
    analysed: int
    flagged: int
    state: str


@dataclass(frozen=True, slots=True)
class LiveCounts:
    """A campaign's live counts; `ready`, `analysed` and `flagged` count prompts, the rest units."""

    units: int
    done: int
    parked: int
    queued: int
    claimed: int
    ready: int
    analysed: int
    flagged: int
    state: str
    per_prompt: int

    @property
    def prompts(self) -> int:
        """How many prompts the campaign has."""
        return self.units // self.per_prompt


@contextlib.contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except redis.ResponseError as error:
        if "NOEPOCH" in str(error):
            raise EpochMissingError(
                "The broker has lost the campaigns' state; a running scheduler restores it."
            ) from error
        if isinstance(error, redis.OutOfMemoryError | redis.ReadOnlyError):
            raise BrokerUnavailableError(
                f"The broker refuses to write ({error}); give it memory, or name the primary one."
            ) from error
        raise
    except redis.RedisError as error:
        raise BrokerUnavailableError(
            f"The broker does not answer ({error}); start it, or correct SEEDSWEEP_BROKER_URL."
        ) from error


class Ledger:
    """The live state of all campaigns behind one broker.

    Every method is atomic and safe to repeat, and raises `BrokerUnavailableError` where the broker
    does not answer, `EpochMissingError` where it has lost its memory.
    """

    def __init__(self, url: str) -> None:
        try:
            self._redis = redis.Redis.from_url(
                url, socket_timeout=30, socket_connect_timeout=5, health_check_interval=30
            )
        except ValueError as error:
            raise ConfigError(
                f"The broker's URL cannot be read ({error}); write redis://HOST:PORT/NUMBER."
            ) from error
        self._script = self._redis.register_script(SCRIPT)

    def ping(self) -> None:
        """Return if the broker answers."""
        with _translated():
            self._redis.ping()

    def restore(self, campaign_id: str, restored: Restored) -> None:
        """Put the state in place of whatever was there, at once; nothing is in the window then."""
        name = f"{ROOT}{campaign_id}:"
        with _translated(), self._redis.pipeline(transaction=True) as pipe:
            pipe.delete(*(name + part for part in PARTS))
            pipe.set(f"{name}done", np.packbits(restored.done).tobytes())
            meta = {
                "units": len(restored.done),
                "per_prompt": restored.per_prompt,
                "cursor": 0,
                "done": int(restored.done.sum()),
                "parked": len(restored.parked),
                "analysed": restored.analysed,
                "flagged": restored.flagged,
                "state": restored.state,
            }
            pipe.hset(f"{name}meta", mapping=cast("Any", meta))
            if restored.parked:
                pipe.sadd(f"{name}parked", *restored.parked)
            if restored.ready:
                pipe.zadd(f"{name}ready", dict.fromkeys(map(str, restored.ready), 0))
            pipe.execute()

    def begin_epoch(self) -> None:
        """Declare all campaigns restored: from here on changes are accepted."""
        with _translated():
            self._redis.set(EPOCH, uuid.uuid4().hex, nx=True)

    def has_epoch(self) -> bool:
        """Tell whether the broker still holds the campaigns' state."""
        with _translated():
            return bool(self._redis.exists(EPOCH))

    def set_state(self, campaign_id: str, state: str) -> None:
        """Let workers claim (`active`) or not (`paused`, `cancelled`)."""
        self._call(campaign_id, "set_state", state)

    def issue(self, campaign_id: str, count: int) -> tuple[str, list[int]]:
        """Put up to `count` pending units into the window; returns their token and indexes."""
        token = uuid.uuid4().hex
        return token, self._call(campaign_id, "issue", count, token)

    def claim(self, campaign_id: str, index: int, token: str) -> ClaimOutcome:
        """Claim an issued unit for `LEASE_MS`; only one claim of an issue is ever granted."""
        answer = self._call(campaign_id, "claim", index, token, LEASE_MS)
        return cast("ClaimOutcome", answer.decode())

    def renew(self, campaign_id: str, claims: Iterable[tuple[int, str]]) -> int:
        """Renew the leases of claimed units; returns how many are still this holder's."""
        flat = [part for claim in claims for part in claim]
        return int(self._call(campaign_id, "renew", LEASE_MS, *flat)) if flat else 0

    def complete(self, campaign_id: str, index: int) -> None:
        """Record that the unit's shard exists, whoever made it."""
        self._call(campaign_id, "complete", index)

    def release(self, campaign_id: str, index: int, token: str) -> None:
        """Hand an unfinished unit back, without counting it as a failure."""
        self._call(campaign_id, "release", index, token)

    def fail(self, campaign_id: str, index: int, token: str) -> bool:
        """Count a failure; True when it was the last allowed one and the caller must park it."""
        return int(self._call(campaign_id, "fail", index, token, MAX_ERRORS)) >= MAX_ERRORS

    def park(self, campaign_id: str, index: int) -> None:
        """Give the unit up; its prompt is analysed without it."""
        self._call(campaign_id, "park", index)

    def reap(self, campaign_id: str) -> list[int]:
        """Take back units whose lease ran out; returns those to park: lost `MAX_LOSSES` times."""
        return cast("list[int]", self._call(campaign_id, "reap", MAX_LOSSES, LEASE_MS))

    def reissue_queued(self, campaign_id: str) -> None:
        """Take back all units that are queued but not claimed: their messages are lost."""
        self._call(campaign_id, "reissue_queued")

    def take_ready(self, campaign_id: str, count: int) -> list[int]:
        """Take up to `count` prompts to analyse; they come again if no result follows."""
        return cast("list[int]", self._call(campaign_id, "take_ready", count, READY_LEASE_MS))

    def analysed(self, campaign_id: str, prompt: int, flagged: bool) -> None:
        """Record that the prompt's result is stored."""
        self._call(campaign_id, "analysed", prompt, int(flagged))

    def counts(self, campaign_id: str) -> LiveCounts | None:
        """Count a campaign's units and prompts; None where the broker does not know it."""
        name = f"{ROOT}{campaign_id}:"
        with _translated(), self._redis.pipeline() as pipe:
            pipe.hgetall(f"{name}meta")
            pipe.hlen(f"{name}tokens")
            pipe.zcard(f"{name}leases")
            pipe.zcard(f"{name}ready")
            meta, window, claimed, ready = pipe.execute()
        if not meta:
            return None
        numbers = {k.decode(): int(v) for k, v in meta.items() if k != b"state"}
        return LiveCounts(
            units=numbers["units"],
            done=numbers["done"],
            parked=numbers["parked"],
            queued=window - claimed,
            claimed=claimed,
            ready=ready,
            analysed=numbers["analysed"],
            flagged=numbers["flagged"],
            state=meta[b"state"].decode(),
            per_prompt=numbers["per_prompt"],
        )

    def messages(self, queue: str) -> int:
        """How many messages the broker holds in the queue."""
        with _translated():
            return int(self._redis.llen(queue))

    def beat(self, worker: str) -> None:
        """Show that the worker lives."""
        with _translated():
            self._redis.zadd(WORKERS, {worker: self._now()})

    def live_workers(self) -> int:
        """How many workers showed life within the last lease."""
        with _translated():
            now = self._now()
            self._redis.zremrangebyscore(WORKERS, "-inf", now - 3600)
            return int(self._redis.zcount(WORKERS, now - LEASE_MS / 1000, "+inf"))

    def lead(self, name: str) -> bool:
        """Become or stay the leading scheduler for a lease; False where another one leads."""
        with _translated():
            if self._redis.set(LEADER, name, nx=True, px=LEASE_MS):
                return True
            if self._redis.get(LEADER) != name.encode():
                return False
            return bool(self._redis.pexpire(LEADER, LEASE_MS))

    def _now(self) -> float:
        seconds, micro = self._redis.time()
        return seconds + micro / 1e6

    def _call(self, campaign_id: str, name: str, *arguments: object) -> Any:
        with _translated():
            return self._script(
                keys=[f"{ROOT}{campaign_id}:", EPOCH], args=[name, *cast("Any", arguments)]
            )
