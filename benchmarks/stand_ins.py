"""Stand-ins for workers: they say over the wire what a worker says, and wait where one renders.

Many live in one process. Each claims from its model's queue by BRPOP with kombu's keys and
time-out, calls the ledger's and the workforce's own Lua scripts with redis-py's own retries, beats
every `BEAT_SECONDS`, and creates an object of a few bytes. Like a worker it claims once more after
a failure and then drops the message, leaves a unit that it cannot complete to the lease, and after
a lost connection kombu's part tries again at once, then after 2, 4, 6, ... 30 s.

A worker holds up to 5 connections (CLIENT LIST: kombu 2, ledger 2 once it completes one unit while
it claims the next, workforce 1), and so does a stand-in.
"""

import asyncio
import base64
import contextlib
import json
import multiprocessing
import random
import time

import numpy as np
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from seedsweep.storage import keys, ledger, workforce
from seedsweep.storage.broker.connection import EPOCH, ROOT
from seedsweep.storage.records import Worker, WorkUnit
from seedsweep.storage.stores import open_store
from seedsweep.workers.generation.celery_app import IDLE_QUEUE, queue_of
from seedsweep.workers.generation.heartbeat import BEAT_SECONDS

RENDER_SECONDS = 25.0
PRIORITIES = ("", *(f"\x06\x16{step}" for step in (3, 6, 9)))
BROKEN = RedisError, OSError


class Board:
    """What all stand-ins write for the benchmark to read, in shared memory: an entry a slot."""

    def __init__(self, slots):
        names = ("beats", "last_beat", "slowest", "waited", "renders", "stored", "again", "busy")
        self._shared = {name: multiprocessing.RawArray("d", slots) for name in names}
        self.render_seconds = multiprocessing.RawValue("d", RENDER_SECONDS)

    def __getattr__(self, name):
        return np.frombuffer(self._shared[name])


class StandIn:
    """One worker slot: everything that a worker does but rendering."""

    def __init__(self, url, store, board, slot):
        options = {"socket_timeout": 30, "socket_connect_timeout": 5}
        own = {**options, "health_check_interval": 30}
        self._ledger, self._workforce = Redis.from_url(url, **own), Redis.from_url(url, **own)
        once = Retry(NoBackoff(), 0)
        self._carrier = Redis.from_url(url, **options, retry=once, single_connection_client=True)
        self._celery = Redis.from_url(url, **options, retry=once)
        self._change = self._ledger.register_script(ledger.SCRIPT)
        self._choose = self._workforce.register_script(workforce.SCRIPT)
        self._store, self._board, self._slot = store, board, slot
        self._name, self._model, self._held, self._storing = f"slot-{slot}", "", {}, set()

    async def live(self):
        await self._connect()
        await asyncio.gather(self._beat_for_ever(), self._work_for_ever())

    async def _connect(self):
        """Have all of a worker's connections, however long the broker takes to accept them."""
        while True:
            pings = (each.ping() for each in (self._ledger, self._ledger, self._celery))
            answers = await asyncio.gather(*pings, return_exceptions=True)
            failed = [answer for answer in answers if isinstance(answer, BaseException)]
            if not failed:
                return
            if not isinstance(failed[0], BROKEN):
                raise failed[0]
            await asyncio.sleep(1)

    async def _beat_for_ever(self):
        board, slot = self._board, self._slot
        await asyncio.sleep(random.uniform(0, BEAT_SECONDS))  # workers do not start at one instant
        while True:
            began = time.monotonic()
            try:
                await self._beat()
                board.last_beat[slot] = now = time.monotonic()
                board.beats[slot] += 1
                board.waited[slot] += now - began
                board.slowest[slot] = max(board.slowest[slot], now - began)
            except BROKEN:
                pass
            await asyncio.sleep(BEAT_SECONDS)

    async def _beat(self):
        """As `Workforce.beat` and `Ledger.renew`, command by command."""
        seconds, micro = await self._workforce.time()
        says = Worker(
            name=self._name, host="h", device="cuda:0", model="m", images=9, images_per_second=1.234
        )
        async with self._workforce.pipeline(transaction=True) as pipe:
            pipe.hset(workforce.WORKERS, self._name, says.model_dump_json())
            pipe.zadd(workforce.BEATS, {self._name: int(seconds) * 1000 + int(micro) // 1000})
            pipe.zrem(workforce.OUT, self._name)
            pipe.hdel(workforce.TOLD, self._name)
            await pipe.execute()
        chosen = await self._choose(
            keys=[
                *(workforce.BEATS, workforce.SERVES),
                *(workforce.DEMAND, workforce.LATER, workforce.CREWS),
            ],
            args=[self._name, ledger.LEASE_MS],
        )
        await self._workforce.hkeys(workforce.LATER)
        self._model = chosen.decode() or self._model
        if self._held:
            claims = [part for unit in self._held.values() for part in (unit.index, unit.token)]
            await self._call(next(iter(self._held.values())), "renew", ledger.LEASE_MS, *claims)

    def _call(self, unit, name, *arguments):
        return self._change(keys=[f"{ROOT}{unit.campaign_id}:", EPOCH], args=[name, *arguments])

    async def _work_for_ever(self):
        failures, seconds = 0, random.uniform(0, RENDER_SECONDS)  # the first one is under way
        while True:
            queues = (IDLE_QUEUE, queue_of(self._model)) if self._model else (IDLE_QUEUE,)
            names = [ROOT + queue + priority for priority in PRIORITIES for queue in queues]
            try:
                if failures:
                    await self._celery.ping()
                message = await self._carrier.brpop(names, timeout=1)
                failures = 0
            except BROKEN:
                await asyncio.sleep(min(2 * failures, 30))
                failures += 1
                continue
            if message:
                body = json.loads(base64.b64decode(json.loads(message[1])["body"]))
                if await self._render(WorkUnit.model_validate(body[0][0]), seconds):
                    seconds = RENDER_SECONDS * random.uniform(0.8, 1.2)

    async def _render(self, unit, seconds):
        """As `Renderer.render` and, beside the next unit, `Writer`; returns whether it rendered."""
        if not await self._is_granted(unit):
            return False
        is_held = unit.index in self._held
        self._held[unit.index] = unit
        if is_held:
            return False
        key, board, slot = keys.unit_shard(unit), self._board, self._slot
        if self._store.exists(key):
            await self._complete(unit)
            return False
        board.busy[slot] = 1
        await asyncio.sleep(seconds * board.render_seconds.value / RENDER_SECONDS)
        board.busy[slot] = 0
        board.renders[slot] += 1
        storing = asyncio.create_task(self._keep(unit, key))
        self._storing.add(storing)
        storing.add_done_callback(self._storing.discard)
        return True

    async def _is_granted(self, unit):
        for _ in range(2):
            try:
                outcome, _ = await self._call(
                    unit, "claim", unit.index, unit.token, ledger.LEASE_MS
                )
                return outcome == b"granted"
            except BROKEN:
                continue
        return False

    async def _keep(self, unit, key):
        if await asyncio.to_thread(self._store.create, key, b"shard"):
            self._board.stored[self._slot] += 1
        else:
            self._board.again[self._slot] += 1
        await self._complete(unit)

    async def _complete(self, unit):
        with contextlib.suppress(BROKEN):
            await self._call(unit, "complete", unit.index)
        self._held.pop(unit.index, None)


def stand_in(url, store_url, board, slots):
    """A process of stand-ins."""

    async def live():
        store = open_store(store_url)
        await asyncio.gather(*(StandIn(url, store, board, slot).live() for slot in slots))

    asyncio.run(live())
