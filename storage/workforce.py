"""Who works: the leading scheduler, the live workers, and which load each of them serves.

A load is what a worker holds at once for a unit, named by the model's id, or by a hash of several;
before it stands the kind of work and a dash, if that is a later one than `FIRST_KINDS`.

Below `seedsweep:`
    leader   the leading scheduler, for a lease
    beats    sorted set: worker → its last sign of life, milliseconds of Redis time
    workers  hash: worker → its `Worker` record
    serves   hash: worker → the load whose queue it serves
    knows    hash: worker → the kinds of work that it knows beside `FIRST_KINDS`, if any
    crews    hash: load → how many live workers serve it, as counted within the last second
    demand   hash: load → the priority of its campaigns, what they weigh, how many units wait, and
             the campaigns whose units these are
    later    hash: the same of loads of later kinds, of which earlier versions do not know
    out      sorted set: worker that took itself out → when it said so last
    analysts sorted set: analyst → its last sign of life
    troubles hash: scheduler, analyst or worker → when it complained of the store, and of what
    shows    sorted set: kind, host and metrics address of a scheduler or analyst → its last sign
All of it appears again by itself, whatever the broker forgets.
"""

import contextlib
import json
import platform
import time
import uuid
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from importlib.resources import files
from typing import Any, cast

from pydantic import ValidationError

from seedsweep.storage.broker.connection import ROOT, connect, read_info, translated
from seedsweep.storage.ledger import LEASE_MS
from seedsweep.storage.life_signs import (
    BrokerLoad,
    Complaint,
    Demand,
    MetricsPlace,
    ServiceKind,
    Sign,
    later_kind,
)
from seedsweep.storage.records import FIRST_KINDS, StoreTrouble, Worker

LEADER, ANALYSTS, SHOWS = f"{ROOT}leader", f"{ROOT}analysts", f"{ROOT}shows"
BEATS, WORKERS, SERVES, DEMAND = (f"{ROOT}{n}" for n in ("beats", "workers", "serves", "demand"))
OUT, CREWS, TROUBLES = f"{ROOT}out", f"{ROOT}crews", f"{ROOT}troubles"
LATER, TOLD, KNOWS = f"{ROOT}later", f"{ROOT}told", f"{ROOT}knows"
SCRIPT = files("seedsweep.storage").joinpath("workforce.lua").read_text()

LEAD_MS = 8_000
"""How long a scheduler that vanished keeps another one from leading."""

FORGET_MS = 3_600_000
"""How long a worker that vanished, or took itself out, is still shown."""


class Workforce:
    """The workers and the leading scheduler behind one broker.

    `metrics` is where the scheduler or analyst that uses this shows its own, as HOST:PORT.
    `trouble` tells what is wrong with the store, which each sign of life then says.
    Every method is atomic and safe to repeat, and raises `BrokerUnavailableError` if the broker
    does not answer.
    """

    def __init__(
        self,
        url: str,
        metrics: str = "",
        trouble: Callable[[], StoreTrouble | None] = lambda: None,
    ) -> None:
        self._redis = connect(url)
        self._choose = self._redis.register_script(SCRIPT)
        self._scheduler = uuid.uuid4().hex
        self._metrics, self._trouble = metrics, trouble
        self._complaining: set[str] = set()

    def beat(self, worker: Worker, kinds: Collection[str] = FIRST_KINDS) -> str:
        """Show that the worker lives; returns the load that it should serve, empty for none yet.

        Its kind is one of `kinds`, those that the worker knows, which counts for no other load. It
        stays with its load while units wait for that, unless another load with waiting units has a
        higher priority, or the same one and fewer workers for its weight, even with this one added.
        Workers that vanish are counted among the others for up to a second longer.
        """
        with translated():
            with self._redis.pipeline(transaction=True) as pipe:
                pipe.hset(WORKERS, worker.name, worker.model_dump_json())
                pipe.zadd(BEATS, {worker.name: self._now()})
                pipe.zrem(OUT, worker.name)
                pipe.hdel(TOLD, worker.name)
                if later := sorted({*kinds} - FIRST_KINDS):
                    pipe.hset(KNOWS, worker.name, " ".join(later))
                else:
                    pipe.hdel(KNOWS, worker.name)
                pipe.execute()
            self._complain("worker", worker.name)
            keys = [BEATS, SERVES, DEMAND, LATER, CREWS]
            chosen = self._choose(keys=keys, args=[worker.name, LEASE_MS, *kinds])
        return str(chosen.decode())

    def take_out(self, worker: Worker) -> None:
        """Say that the worker took itself out: it no longer lives, but it is shown as it was."""
        with translated(), self._redis.pipeline(transaction=True) as pipe:
            pipe.zrem(BEATS, worker.name)
            pipe.hdel(SERVES, worker.name)
            pipe.delete(CREWS)
            pipe.hset(WORKERS, worker.name, worker.model_dump_json())
            pipe.zadd(OUT, {worker.name: self._now()})
            pipe.execute()

    def leave(self, worker: str) -> None:
        """Take leave: the worker is shown no more."""
        with translated():
            self._drop(worker)

    def note_lost(self, worker: str) -> bool:
        """Note that the worker's loss is told; False if it was told since it last lived."""
        with translated():
            return bool(self._redis.hset(TOLD, worker, str(self._now())))

    def demand(self, wanted: Mapping[str, Demand]) -> None:
        """Say which loads have work, in place of what was said before."""
        entries: dict[str, dict[str, str]] = {DEMAND: {}, LATER: {}}
        for load, d in wanted.items():
            key = LATER if later_kind(load) else DEMAND
            entries[key][load] = d.as_text()
        with translated(), self._redis.pipeline(transaction=True) as pipe:
            for key, lines in entries.items():
                pipe.delete(key)
                if lines:
                    pipe.hset(key, mapping=cast("Any", lines))
            pipe.execute()

    def demanded(self) -> dict[str, Demand]:
        """Which loads have work, as a scheduler said last."""
        with translated(), self._redis.pipeline(transaction=True) as pipe:
            pipe.hgetall(DEMAND)
            pipe.hgetall(LATER)
            first, later = pipe.execute()
        said = (first | later).items()
        return {load.decode(): Demand.of_text(text.decode()) for load, text in said}

    def later_kinds(self) -> set[str]:
        """The kinds of the units that wait for a worker, but for those that every worker knows."""
        with translated():
            loads = cast("list[bytes]", self._redis.hkeys(LATER))
            return {later_kind(load.decode()) for load in loads}

    def signs(self) -> list[Sign]:
        """Every worker that showed life, or took itself out, within the last hour, by name."""
        with translated():
            now = self._now()
            for key in (BEATS, OUT):
                for name in cast("list[bytes]", self._redis.zrangebyscore(key, 0, now - FORGET_MS)):
                    self._drop(name)
            with self._redis.pipeline() as pipe:
                pipe.hgetall(WORKERS)
                pipe.hgetall(SERVES)
                pipe.hgetall(KNOWS)
                pipe.zrange(BEATS, 0, -1, withscores=True)
                pipe.zrange(OUT, 0, -1, withscores=True)
                workers, serves, knows, beats, out = pipe.execute()
        signs = []
        for name, beat in beats + out:
            load = serves.get(name, b"").decode()
            try:
                worker = Worker.model_validate_json(workers.get(name, b""))
            except ValidationError:  # of another version
                continue
            kinds = sorted(FIRST_KINDS.union(knows.get(name, b"").decode().split()))
            signs.append(Sign(worker, load, max(0.0, (now - beat) / 1000), tuple(kinds)))
        return sorted(signs, key=lambda sign: sign.worker.name)

    def workers_by_load(self) -> dict[str, int]:
        """How many live workers serve each load."""
        with translated(), self._redis.pipeline() as pipe:
            pipe.zrangebyscore(BEATS, self._now() - LEASE_MS, "+inf")
            pipe.hgetall(SERVES)
            live, serves = pipe.execute()
        return dict(Counter(serves.get(name, b"").decode() for name in live))

    def beat_analyst(self, name: str) -> None:
        """Show that an analyst lives."""
        with translated():
            self._redis.zadd(ANALYSTS, {name: self._now()})
            self._show("analyst")
            self._complain("analyst", name)

    def analysts(self) -> int:
        """How many analysts showed life within a lease; the others are forgotten."""
        with translated():
            self._redis.zremrangebyscore(ANALYSTS, "-inf", self._now() - LEASE_MS)
            return int(self._redis.zcard(ANALYSTS))

    def shown(self) -> list[MetricsPlace]:
        """The schedulers and analysts that showed life within a lease, and metrics."""
        with translated():
            self._redis.zremrangebyscore(SHOWS, "-inf", self._now() - LEASE_MS)
            members = cast("list[bytes]", self._redis.zrange(SHOWS, 0, -1))
            return [MetricsPlace(*json.loads(member)) for member in sorted(members)]

    def complaints(self) -> list[Complaint]:
        """What schedulers, analysts and workers said within a lease to be wrong with the store."""
        with translated():
            said = cast("dict[bytes, bytes]", self._redis.hgetall(TROUBLES))
            now = self._now() if said else 0
        complaints = []
        for service, words in sorted(said.items()):
            kind, (at, _, text) = service.decode().partition(" ")[0], words.partition(b" ")
            with contextlib.suppress(ValueError):  # of another version
                if now - int(at) <= LEASE_MS:
                    trouble = StoreTrouble.model_validate_json(text)
                    complaints.append(Complaint(cast("ServiceKind", kind), trouble))
        return complaints

    def messages(self, queue: str) -> int:
        """How many messages the broker holds in the queue."""
        with translated():
            return int(self._redis.llen(ROOT + queue))

    def broker_load(self) -> BrokerLoad:
        """What the broker bears just now."""
        with translated():
            began = time.perf_counter()
            self._redis.ping()
            round_trip = time.perf_counter() - began
            info = read_info(self._redis)
        return BrokerLoad(
            memory_bytes=int(info.get("used_memory", 0)),
            memory_limit_bytes=int(info.get("maxmemory", 0)),
            connections=int(info.get("connected_clients", 0)),
            round_trip_seconds=round_trip,
        )

    def lead(self) -> bool:
        """Become or stay the leading scheduler for a lease; False if another one leads."""
        with translated():
            self._show("scheduler")
            self._complain("scheduler", self._scheduler)
            if self._redis.set(LEADER, self._scheduler, nx=True, px=LEAD_MS):
                return True
            if self._redis.get(LEADER) != self._scheduler.encode():
                return False
            return bool(self._redis.pexpire(LEADER, LEAD_MS))

    def resign(self) -> None:
        """Let another scheduler lead at once, if this one does; its metrics are shown no more."""
        with translated():
            self._redis.zrem(SHOWS, self._shown_as("scheduler"))
            if self._redis.get(LEADER) == self._scheduler.encode():
                self._redis.delete(LEADER)

    def is_led(self) -> bool:
        """Whether some scheduler leads."""
        with translated():
            return bool(self._redis.exists(LEADER))

    def _show(self, kind: str) -> None:
        if self._metrics:
            self._redis.zadd(SHOWS, {self._shown_as(kind): self._now()})

    def _complain(self, kind: ServiceKind, name: str) -> None:
        """Say what is wrong with the store, or once that nothing is any more."""
        trouble, service = self._trouble(), f"{kind} {name}"
        if trouble is not None:
            words = f"{self._now()} {trouble.model_dump_json()}"
            with self._redis.pipeline(transaction=True) as pipe:
                pipe.hset(TROUBLES, service, words)
                pipe.pexpire(TROUBLES, LEASE_MS)
                pipe.execute()
            self._complaining.add(service)
        elif service in self._complaining:
            self._redis.hdel(TROUBLES, service)
            self._complaining.discard(service)

    def _shown_as(self, kind: str) -> str:
        return json.dumps([kind, platform.node(), self._metrics])

    def _drop(self, worker: str | bytes) -> None:
        with self._redis.pipeline(transaction=True) as pipe:
            pipe.zrem(BEATS, worker)
            pipe.zrem(OUT, worker)
            pipe.hdel(WORKERS, cast("str", worker))
            pipe.hdel(SERVES, cast("str", worker))
            pipe.hdel(TOLD, cast("str", worker))
            pipe.hdel(KNOWS, cast("str", worker))
            pipe.delete(CREWS)
            pipe.execute()

    def _now(self) -> int:
        seconds, micro = self._redis.time()
        return int(seconds) * 1000 + int(micro) // 1000
