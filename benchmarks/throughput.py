"""How many units a second go through the whole system, and whether its memory stays flat.

    .venv/bin/python -m benchmarks.throughput [--units N] [--workers N] [--analysis] [--profile]

Broker, scheduler and workers are processes of their own, the store is a folder. The pipeline is
`noise` with two pictures of 8 x 8 pixels a unit, so nearly all of the time is the system's own.
Printed are, for every tenth of the campaign, units a second, the resident memory of the scheduler,
and what the broker holds; then the seconds of CPU that each kind of process took for a unit, and
how many units' worth of them two cores have in a second: the limit.
`--profile` has one worker say where its time goes.
"""

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

import redis

from benchmarks.machine import machine
from seedsweep.scheduler.services.embedded_broker import embedded_broker
from seedsweep.storage.ledger import Ledger
from seedsweep.storage.stores import open_store
from tests.support.deployment import Process
from tests.support.processes import cpu_seconds, resident_bytes
from tests.support.servers import wait_until

SEEDS_A_UNIT = 2
UNITS_A_PROMPT = 10
CAMPAIGN = f"""
name = "throughput"
[model]
pipeline = "noise"
[prompts]
file = "prompts.txt"
[sampling]
seeds = {SEEDS_A_UNIT * UNITS_A_PROMPT}
width = 8
height = 8
batch_size = {SEEDS_A_UNIT}
images_per_unit = {SEEDS_A_UNIT}
"""
MODULE = [sys.executable, "-m", "seedsweep.cli"]


def submit(folder, units, environment):
    from seedsweep.scheduler.campaign.file import read_campaign
    from seedsweep.scheduler.campaign.submission import plan_campaign, submit_campaign

    (folder / "campaign.toml").write_text(CAMPAIGN)
    prompts = "".join(f"a picture of number {i}\n" for i in range(units // UNITS_A_PROMPT))
    (folder / "prompts.txt").write_text(prompts)
    store = open_store(environment["SEEDSWEEP_STORE_URL"])
    plan = plan_campaign(store, *read_campaign(folder / "campaign.toml"))
    submit_campaign(store, plan)
    return plan.campaign.campaign_id, len(plan)


def services(folder, environment, workers, analysis, profile):
    """Start everything; yields the processes by the kind of work that they do."""
    quiet = ("--metrics-port", "0")
    commands = {"scheduler": [[*MODULE, "scheduler", *quiet]]}
    commands["workers"] = [[*MODULE, "worker", "--device", "cpu", *quiet] for _ in range(workers)]
    if profile:
        watched = [sys.executable, "-m", "cProfile", "-o", str(folder / "profile")]
        commands["workers"][0][:1] = watched
    if analysis:
        commands["analyst"] = [[*MODULE, "analyst", "--actors", "1", *quiet]]
    return {
        kind: [
            Process(command, folder, environment, folder / f"{kind}-{number}.log")
            for number, command in enumerate(those)
        ]
        for kind, those in commands.items()
    }


def megabytes(count):
    return f"{count / 1e6:.1f}"


def watch(ledger, broker, scheduler, campaign_id, units):
    """Print a line for every tenth of the units."""
    print("| units | units/s | scheduler MB | broker MB |")
    print("|---|---|---|---|")
    done, began = 0, time.perf_counter()
    for tenth in range(1, 11):
        goal = units * tenth // 10
        wait_until(lambda goal=goal: ledger.counts(campaign_id).done >= goal, timeout=3600)
        now, count = time.perf_counter(), ledger.counts(campaign_id).done
        cells = [
            f"{count:,}",
            f"{(count - done) / (now - began):.0f}",
            megabytes(resident_bytes(scheduler.pid)),
            megabytes(broker.info("memory")["used_memory"]),
        ]
        print(f"| {' | '.join(cells)} |", flush=True)
        done, began = count, now


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--units", type=int, default=100_000)
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--analysis", action="store_true")
    parser.add_argument("--profile", action="store_true")
    options = parser.parse_args()
    print(machine("celery", "redis", "pyarrow"), f"{options.workers} workers", sep="; ", end="\n\n")
    with tempfile.TemporaryDirectory(prefix="seedsweep-") as name:
        folder = Path(name)
        with embedded_broker(folder) as (url, broker):
            environment = os.environ | {
                "SEEDSWEEP_BROKER_URL": url,
                "SEEDSWEEP_STORE_URL": f"file:{folder / 'store'}",
                "PYTHONPATH": str(Path.cwd()),
                "OMP_NUM_THREADS": "1",
            }
            measure(folder, url, broker, environment, options)


def measure(folder, url, broker, environment, options):
    campaign_id, units = submit(folder, options.units, environment)
    ledger = Ledger(url)
    begun = services(folder, environment, options.workers, options.analysis, options.profile)
    try:
        wait_until(lambda: ledger.has_epoch() and ledger.counts(campaign_id), timeout=60)
        wait_until(lambda: ledger.counts(campaign_id).done > 0, timeout=60)
        kinds = {kind: [p.pid for p in those] for kind, those in begun.items()}
        kinds["broker"] = [broker.pid]
        before = {kind: cpu_seconds(pids) for kind, pids in kinds.items()}
        first, began = ledger.counts(campaign_id).done, time.perf_counter()
        client = redis.Redis.from_url(url)
        watch(ledger, client, begun["scheduler"][0], campaign_id, units)
        made, seconds = units - first, time.perf_counter() - began
        used = {kind: cpu_seconds(pids) - before[kind] for kind, pids in kinds.items()}
        print(f"\n{made / seconds:.0f} units/s; CPU ms a unit:", end=" ")
        print(", ".join(f"{kind} {1e3 * cpu / made:.2f}" for kind, cpu in used.items()), end="; ")
        print(f"two cores have room for {2 * made / sum(used.values()):.0f} units/s")
        if options.analysis:
            wait_until(lambda: ledger.counts(campaign_id).settled, timeout=3600)
            print(f"all analysed {time.perf_counter() - began - seconds:.0f} s later")
    finally:
        for process in [process for those in begun.values() for process in those]:
            if process.is_running:
                process.stop()
    if options.profile:
        show_profile(folder / "profile")


def show_profile(file):
    import pstats

    pstats.Stats(str(file)).sort_stats("tottime").print_stats(40)


if __name__ == "__main__":
    main()
