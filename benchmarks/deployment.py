"""The example campaign as a deployment of separate processes, against the embedded run.

    python -m benchmarks.deployment [--restarts] [--prompts N]

Broker (Valkey with append-only file), S3 server (SeaweedFS), scheduler, analyst and two workers,
each its own process; `--restarts` kills and restarts every one on the way; `--prompts` takes
the first so many of the example's. Prints whether pixels (sha256) and `results --json` are equal,
and how long each took.
"""

import argparse
import json
import os
import tempfile
import time
from pathlib import Path

from benchmarks.machine import machine
from seedsweep.storage.ledger import Ledger
from seedsweep.storage.stores import open_store
from tests.support.deployment import Deployment, Process, pixels
from tests.support.servers import wait_until

EXAMPLE = Path(__file__).parents[1] / "examples" / "emoji"


def write_campaign(folder, prompts):
    """The example with its first prompts alone, or all; returns its file."""
    for path in EXAMPLE.iterdir():
        (folder / path.name).symlink_to(path)
    listed = folder / "prompts.csv"
    lines = listed.read_text().splitlines(keepends=True)
    listed.unlink()
    listed.write_text("".join(lines if prompts is None else lines[: 1 + prompts]))
    return folder / "campaign.toml"


def restart_all(deployment, has_done, units):
    """Kill or end every service in turn, each at its own share of the way."""
    services = deployment.services
    steps = {
        "broker killed": lambda: end_and_start(services["broker"], Process.kill),
        "S3 server killed": deployment.s3.restart,
        "scheduler killed": lambda: end_and_start(services["scheduler"], Process.kill),
        "analyst killed": lambda: end_and_start(services["analyst"], Process.kill),
        "worker 0 killed": lambda: end_and_start(services["worker-0"], Process.kill),
        "worker 1 ended": lambda: end_and_start(services["worker-1"], Process.stop),
    }
    for number, (name, step) in enumerate(steps.items(), start=1):
        wait_until(lambda goal=number * units // 8: has_done(goal), timeout=1200)
        print(f"{name} at {number * units // 8} of {units} units or later", flush=True)
        step()


def end_and_start(service, end):
    """End a service in its way, and start it again."""
    end(service)
    service.start()


def main():
    """Run the example both ways and print what came of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--restarts", action="store_true")
    parser.add_argument("--prompts", type=int)
    options = parser.parse_args()
    print(machine("torch", "diffusers", "celery", "ray", "redis"), end="\n\n", flush=True)
    with (
        tempfile.TemporaryDirectory(prefix="seedsweep-benchmark-") as name,
        Deployment(folder := Path(name)) as deployment,
    ):
        (folder / "example").mkdir()
        file = write_campaign(folder / "example", options.prompts)
        os.environ.update(deployment.s3.environment)
        deployment.seedsweep("doctor", "--create-bucket")
        deployment.start_services()
        ledger, began = Ledger(deployment.broker_url), time.monotonic()
        campaign_id = deployment.submit(file)

        def counts():
            try:
                return ledger.counts(campaign_id) if ledger.has_epoch() else None
            except Exception:
                return None

        wait_until(counts, timeout=60)
        if options.restarts:
            restart_all(deployment, lambda goal: (c := counts()) and c.done >= goal, counts().units)
        wait_until(lambda: (c := counts()) and c.settled, timeout=1800)
        deployed_seconds = time.monotonic() - began
        results = json.loads(deployment.seedsweep("results", campaign_id, "--json"))
        deployed = pixels(open_store(deployment.store_url), campaign_id)
        for service in list(deployment.services):
            if service != "broker":
                deployment.services[service].stop()

        url, began = f"file:{folder / 'embedded'}", time.monotonic()
        deployment.seedsweep("run", str(file), "--workers", "2", store=url, timeout=1800)
        embedded_seconds = time.monotonic() - began
        expected = json.loads(deployment.seedsweep("results", campaign_id, "--json", store=url))
        embedded = pixels(open_store(url), campaign_id)
        print(f"images: {len(deployed)} deployed, {len(embedded)} embedded")
        print(f"pixels equal: {deployed == embedded}")
        print(f"results equal: {results == expected} ({len(results)} prompts)")
        print(f"flagged: {sum(result['flagged'] for result in results)}")
        print(f"seconds: {deployed_seconds:.1f} deployed, {embedded_seconds:.1f} embedded")


if __name__ == "__main__":
    main()
