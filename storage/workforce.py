"""Who works: the leading scheduler, the live workers, and which model each of them serves.

Below `seedsweep:`
    leader   the leading scheduler, for a lease
    beats    sorted set: worker → its last sign of life, milliseconds of Redis time
    workers  hash: worker → its `Worker` record
    serves   hash: worker → the model whose queue it serves
    demand   hash: model → how many campaigns want it, and how many units wait for it
    analysts sorted set: analyst → its last sign of life
All of it appears again by itself, whatever the broker forgets.
"""

import uuid
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from pydantic import ValidationError

from storage.broker import ROOT, connect, translated
from storage.ledger import LEASE_MS
from storage.records import Worker

LEADER, ANALYSTS = f"{ROOT}leader", f"{ROOT}analysts"
BEATS, WORKERS, SERVES, DEMAND = (f"{ROOT}{n}" for n in ("beats", "workers", "serves", "demand"))
SCRIPT = Path(__file__).with_name("workforce.lua").read_text()

FORGET_MS = 3_600_000
"""How long a worker that vanished is still shown."""


@dataclass(frozen=True, slots=True)
class Demand:
    """How many campaigns want a model, and how many of their units wait for a worker."""

    campaigns: int
    waiting: int


@dataclass(frozen=True, slots=True)
class Sign:
    """A worker, what it serves, and how many seconds ago it last showed life."""

    worker: Worker
    model_id: str
    seconds_ago: float

    @property
    def alive(self) -> bool:
        """Whether its claims still hold."""
        return self.seconds_ago * 1000 <= LEASE_MS


class Workforce:
    """The workers and the leading scheduler behind one broker.

    Every method is atomic and safe to repeat, and raises `BrokerUnavailableError` where the broker
    does not answer.
    """

    def __init__(self, url: str) -> None:
        self._redis = connect(url)
        self._choose = self._redis.register_script(SCRIPT)
        self._scheduler = uuid.uuid4().hex

    def beat(self, worker: Worker) -> str:
        """Show that the worker lives; returns the model that it should serve, empty for none yet.

        It stays with its model while units wait for that, unless another model with waiting units
        has fewer workers for each of its campaigns, even with this one added.
        """
        with translated():
            with self._redis.pipeline(transaction=True) as pipe:
                pipe.hset(WORKERS, worker.name, worker.model_dump_json())
                pipe.zadd(BEATS, {worker.name: self._now()})
                pipe.execute()
            chosen = self._choose(keys=[BEATS, SERVES, DEMAND], args=[worker.name, LEASE_MS])
        return str(chosen.decode())

    def leave(self, worker: str) -> None:
        """Take leave: the worker is shown no more."""
        with translated():
            self._drop(worker)

    def demand(self, wanted: Mapping[str, Demand]) -> None:
        """Say which models have work, in place of what was said before."""
        entries = {model: f"{d.campaigns} {d.waiting}" for model, d in wanted.items()}
        with translated(), self._redis.pipeline(transaction=True) as pipe:
            pipe.delete(DEMAND)
            if entries:
                pipe.hset(DEMAND, mapping=cast("Any", entries))
            pipe.execute()

    def signs(self) -> list[Sign]:
        """Every worker that showed life within the last hour, by name."""
        with translated():
            now = self._now()
            for name in cast("list[bytes]", self._redis.zrangebyscore(BEATS, 0, now - FORGET_MS)):
                self._drop(name)
            with self._redis.pipeline() as pipe:
                pipe.hgetall(WORKERS)
                pipe.hgetall(SERVES)
                pipe.zrange(BEATS, 0, -1, withscores=True)
                workers, serves, beats = pipe.execute()
        signs = []
        for name, beat in beats:
            model_id = serves.get(name, b"").decode()
            try:
                worker = Worker.model_validate_json(workers.get(name, b""))
            except ValidationError:  # of another version
                continue
            signs.append(Sign(worker, model_id, max(0.0, (now - beat) / 1000)))
        return sorted(signs, key=lambda sign: sign.worker.name)

    def workers_by_model(self) -> dict[str, int]:
        """How many live workers serve each model."""
        with translated(), self._redis.pipeline() as pipe:
            pipe.zrangebyscore(BEATS, self._now() - LEASE_MS, "+inf")
            pipe.hgetall(SERVES)
            live, serves = pipe.execute()
        return dict(Counter(serves.get(name, b"").decode() for name in live))

    def beat_analyst(self, name: str) -> None:
        """Show that an analyst lives."""
        with translated():
            self._redis.zadd(ANALYSTS, {name: self._now()})

    def analysts(self) -> int:
        """How many analysts showed life within a lease; the others are forgotten."""
        with translated():
            self._redis.zremrangebyscore(ANALYSTS, "-inf", self._now() - LEASE_MS)
            return int(self._redis.zcard(ANALYSTS))

    def messages(self, queue: str) -> int:
        """How many messages the broker holds in the queue."""
        with translated():
            return int(self._redis.llen(ROOT + queue))

    def lead(self) -> bool:
        """Become or stay the leading scheduler for a lease; False where another one leads."""
        with translated():
            if self._redis.set(LEADER, self._scheduler, nx=True, px=LEASE_MS):
                return True
            if self._redis.get(LEADER) != self._scheduler.encode():
                return False
            return bool(self._redis.pexpire(LEADER, LEASE_MS))

    def resign(self) -> None:
        """Let another scheduler lead at once, if this one does."""
        with translated():
            if self._redis.get(LEADER) == self._scheduler.encode():
                self._redis.delete(LEADER)

    def is_led(self) -> bool:
        """Whether some scheduler leads."""
        with translated():
            return bool(self._redis.exists(LEADER))

    def _drop(self, worker: str | bytes) -> None:
        with self._redis.pipeline(transaction=True) as pipe:
            pipe.zrem(BEATS, worker)
            pipe.hdel(WORKERS, cast("str", worker))
            pipe.hdel(SERVES, cast("str", worker))
            pipe.execute()

    def _now(self) -> int:
        seconds, micro = self._redis.time()
        return int(seconds) * 1000 + int(micro) // 1000
