"""How soon a broker that forgot everything is mended, with 100,000 units done on S3.

    .venv/bin/python -m benchmarks.forgetting [--units N] [--rounds N]

The units' shards lie on a real S3 server (their keys are what a listing costs; the objects are a
few bytes), 2,000 more are to be made by a real worker. In every round the broker gets `FLUSHALL`,
and the clock runs until the running scheduler has restored the campaign and the worker has stored
its next unit. By turns the scheduler finds a checkpoint of what is done in the store, or has to
list all shards. At the end the campaign is finished, and the worker's count says how many units
were rendered that were done already.
"""

import argparse
import os
import statistics
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import redis

from benchmarks.machine import machine
from seedsweep.scheduler.campaign.restore import load_plan
from seedsweep.storage import keys
from seedsweep.storage.campaigns import forget_done, load_campaign, load_done, store_done
from seedsweep.storage.errors import BrokerUnavailableError
from seedsweep.storage.ledger import Ledger
from seedsweep.storage.stores import open_store
from seedsweep.storage.workforce import Workforce
from seedsweep.workers.generation.heartbeat import BEAT_SECONDS
from tests.support.deployment import Deployment
from tests.support.servers import wait_until

LEFT = 2000
IMAGES_A_UNIT = 50
CAMPAIGN = f"""
name = "forgetting"
[model]
pipeline = "noise"
[prompts]
file = "prompts.txt"
[sampling]
seeds = {10 * IMAGES_A_UNIT}
width = 64
height = 64
images_per_unit = {IMAGES_A_UNIT}
batch_size = {IMAGES_A_UNIT}
"""


def fill(store, campaign_id, units):
    """Store so many units' shards, the campaign's first; returns its plan."""
    plan = load_plan(store, load_campaign(store, campaign_id))
    with ThreadPoolExecutor(16) as pool:
        made = (keys.unit_shard(plan.unit(index)) for index in range(units))
        assert all(pool.map(lambda key: store.create(key, b"shard"), made))
    return plan


def counts_of(ledger, campaign_id):
    try:
        return ledger.counts(campaign_id) if ledger.has_epoch() else None
    except BrokerUnavailableError:
        return None


def forget(ledger, client, campaign_id, images):
    """Seconds from FLUSHALL until all is known again, and until the next unit is stored."""
    before, made = ledger.counts(campaign_id).done, images()
    began = time.perf_counter()
    client.flushall()
    wait_until(lambda: (c := counts_of(ledger, campaign_id)) and c.done >= before, timeout=300)
    known = time.perf_counter() - began
    wait_until(lambda: images() > made, timeout=300)
    return known, time.perf_counter() - began


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--units", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    print(machine("redis", "minio"), end="\n\n", flush=True)
    with (
        tempfile.TemporaryDirectory(prefix="seedsweep-benchmark-") as name,
        Deployment(folder := Path(name)) as deployment,
    ):
        os.environ.update(deployment.s3.environment)
        deployment.seedsweep("doctor", "--create-bucket")
        prompts = (f"a picture of number {i}\n" for i in range((options.units + LEFT) // 10))
        (folder / "prompts.txt").write_text("".join(prompts))
        (folder / "campaign.toml").write_text(CAMPAIGN)
        campaign_id = deployment.submit(folder / "campaign.toml")
        measure(deployment, campaign_id, options)


def measure(deployment, campaign_id, options):
    store = open_store(deployment.store_url)
    began = time.perf_counter()
    plan = fill(store, campaign_id, options.units)
    print(f"{options.units:,} shards stored in {time.perf_counter() - began:.0f} s", flush=True)
    ledger, workforce = Ledger(deployment.broker_url), Workforce(deployment.broker_url)
    began = time.perf_counter()
    deployment.start("scheduler", "scheduler", "--metrics-port", "0")
    wait_until(lambda: counts_of(ledger, campaign_id), timeout=300)
    print(f"first restored, with the scheduler's start: {time.perf_counter() - began:.1f} s")
    deployment.start_worker("worker-0")
    images = lambda: sum(sign.worker.images for sign in workforce.signs())  # noqa: E731
    wait_until(images, timeout=60)
    client = redis.Redis.from_url(deployment.broker_url)
    found = {"listing": [], "checkpoint": []}
    for number in range(2 * options.rounds):
        kind = sorted(found)[number % 2]
        if kind == "listing":
            forget_done(store, campaign_id)
        elif load_done(store, campaign_id, len(plan)) is None:
            store_done(store, campaign_id, ledger.done_units(campaign_id))
        found[kind].append(forget(ledger, client, campaign_id, images))
    wait_until(lambda: counts_of(ledger, campaign_id).done == len(plan), timeout=300)
    print("\n| | known again, s | lowest | highest | next unit stored, s | lowest | highest |")
    print("|---|---|---|---|---|---|---|")
    for kind, seconds in found.items():
        cells = [
            f"{f(each):.1f}"
            for each in zip(*seconds, strict=True)
            for f in (statistics.median, min, max)
        ]
        print(f"| {kind} | {' | '.join(cells)} |")
    time.sleep(2 * BEAT_SECONDS)  # what the worker says of itself is as old as its last beat
    again = images() / IMAGES_A_UNIT - (len(plan) - options.units)
    print(f"\nunits done again: {again:.0f} of {options.units:,}, {2 * options.rounds} times")


if __name__ == "__main__":
    main()
