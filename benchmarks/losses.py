"""How soon a unit runs again whose worker was killed, and how soon another scheduler leads.

    .venv/bin/python -m benchmarks.losses [--kills N] [--failovers N]

A deployment of real processes: broker, S3 server, two schedulers, two workers. A worker is killed
with SIGKILL while it has a unit claimed, and the clock runs until the other one has claimed that
very unit anew; then the killed one is started again. After that the leading scheduler is killed,
and the clock runs until the other one leads and has issued a unit. Printed are the median, the
95th percentile (of n sorted values the one at ceil(0.95 n)) and the highest.
"""

import argparse
import math
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

import redis

from benchmarks.machine import machine
from seedsweep.storage.ledger import Ledger
from tests.support.deployment import Deployment
from tests.support.servers import wait_until

CAMPAIGN = """
name = "losses"
[model]
pipeline = "python"
path = "slow:draw"
[prompts]
file = "prompts.txt"
[sampling]
seeds = 400
width = 8
height = 8
images_per_unit = 4
batch_size = 4
"""
SLOW = """
import time
import numpy as np


def draw(prompt, seed, width, height):
    time.sleep(0.5)
    return np.random.default_rng(seed).integers(0, 255, (height, width, 3)).astype(np.uint8)
"""


def write(deployment):
    (deployment.folder / "slow.py").write_text(SLOW)
    prompts = "".join(f"a picture of number {i}\n" for i in range(100))
    (deployment.folder / "prompts.txt").write_text(prompts)
    (deployment.folder / "campaign.toml").write_text(CAMPAIGN)
    path = f"{deployment.environment['PYTHONPATH']}:{deployment.folder}"
    deployment.environment.update(PYTHONPATH=path, SEEDSWEEP_ALLOW_PYTHON="slow:draw")
    sys.path.append(str(deployment.folder))  # commands are called within this process
    return deployment.folder / "campaign.toml"


class Eyes:
    """What the broker says of the campaign's claimed units."""

    def __init__(self, url, campaign_id):
        self._client = redis.Redis.from_url(url)
        self._prefix = f"seedsweep:{campaign_id}:"

    def claims(self):
        """Claimed unit → the token of its issue."""
        claimed = self._client.zrange(f"{self._prefix}leases", 0, -1)
        tokens = self._client.hmget(f"{self._prefix}tokens", claimed) if claimed else []
        return dict(zip(claimed, tokens, strict=True))


def kill_a_worker(deployment, eyes, name):
    """Seconds from SIGKILL until the unit that the worker had claimed is claimed anew."""

    def both_render():
        """The claims, if each worker has one: one that stores a unit has another for a moment."""
        first = eyes.claims()
        time.sleep(0.3)
        return len(first) == 2 and first == eyes.claims() and first

    before = wait_until(both_render, timeout=60)
    deployment.services[name].kill()
    began = time.perf_counter()

    def is_claimed_anew():
        now = eyes.claims()
        # Units of the other worker are done before long: they are claimed no more.
        return any(now.get(unit, token) != token for unit, token in before.items())

    wait_until(is_claimed_anew, timeout=120)
    seconds = time.perf_counter() - began
    deployment.services[name].start()
    # A unit that loses its worker five times is parked, so none is to be hit twice.
    wait_until(lambda: not before.keys() & eyes.claims().keys(), timeout=60)
    return seconds


def kill_the_leader(ledger, campaign_id, leader, other):
    """Seconds from SIGKILL of the leading scheduler until another one leads."""
    leader.kill()
    began = time.perf_counter()
    wait_until(lambda: leads(other), timeout=120)
    seconds = time.perf_counter() - began
    done = ledger.counts(campaign_id).done
    wait_until(lambda: ledger.counts(campaign_id).done > done, timeout=120)
    return seconds


def leads(scheduler):
    """Whether it says so, since it was started last."""
    said = scheduler.said
    return said.rfind("This scheduler leads now") > said.rfind("Another scheduler leads now")


def show(what, seconds):
    """One line of the table."""
    ordered = sorted(seconds)
    p95 = ordered[math.ceil(0.95 * len(ordered)) - 1]
    middle = statistics.median(ordered)
    print(f"| {what} | {len(ordered)} | {middle:.1f} | {p95:.1f} | {ordered[-1]:.1f} |", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--failovers", type=int, default=10)
    options = parser.parse_args()
    print(machine("celery", "redis"), end="\n\n", flush=True)
    with (
        tempfile.TemporaryDirectory(prefix="seedsweep-benchmark-") as folder,
        Deployment(Path(folder)) as deployment,
    ):
        os.environ.update(deployment.s3.environment)
        deployment.seedsweep("doctor", "--create-bucket")
        campaign_id = deployment.submit(write(deployment))
        for name in ("scheduler-0", "scheduler-1"):
            deployment.start(name, "scheduler", "--metrics-port", "0")
        for name in ("worker-0", "worker-1"):
            deployment.start_worker(name)
        ledger = Ledger(deployment.broker_url)
        wait_until(lambda: ledger.has_epoch() and ledger.counts(campaign_id), timeout=60)
        wait_until(lambda: ledger.counts(campaign_id).done > 2, timeout=120)
        measure(deployment, ledger, campaign_id, options)


def measure(deployment, ledger, campaign_id, options):
    eyes = Eyes(deployment.broker_url, campaign_id)
    print("| | n | median, s | 95th percentile | highest |\n|---|---|---|---|---|")
    workers = ("worker-0", "worker-1")
    show(
        "SIGKILL of a worker: its unit claimed anew",
        [kill_a_worker(deployment, eyes, workers[i % 2]) for i in range(options.kills)],
    )
    schedulers = [deployment.services[f"scheduler-{i}"] for i in range(2)]
    seconds = []
    for _ in range(options.failovers):
        leader, other = sorted(schedulers, key=leads, reverse=True)
        seconds.append(kill_the_leader(ledger, campaign_id, leader, other))
        leader.start()
        wait_until(lambda s=leader: "is ready" in s.said, timeout=60)
    show("SIGKILL of the leading scheduler: another one leads", seconds)
    print(f"\nparked: {ledger.counts(campaign_id).parked}")


if __name__ == "__main__":
    main()
