"""What orchestration costs: images per second of one worker beside a bare diffusers loop.

    .venv/bin/python -m benchmarks.orchestration [--rounds N] [--images-per-unit N]

A deployment of separate processes (Valkey, SeaweedFS, scheduler, analyst with Ray, one worker)
renders the example campaign, analysed as it goes, while `BARE` calls the same model with the same
batches and throws the pictures away. Only one of the two ever runs: the campaign is paused and then
every process of the deployment stopped, or the bare loop is. A round runs the bare loop, the
worker, and the bare loop again, so that a machine that becomes slower or faster favours nobody. The
worker's rate is that between two units recorded as done, the bare loop's that between two batches.
Rounds are made with three ways of placing threads, in turn; about three minutes a round on an idle
machine of two cores or more, of which two are used.
"""

import argparse
import contextlib
import os
import statistics
import sys
import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from benchmarks.machine import machine
from benchmarks.sides import Bare, Deployed
from seedsweep.scheduler.campaign.file import read_campaign
from tests.support.deployment import Deployment
from tests.support.servers import free_ports, wait_until

EXAMPLE = Path(__file__).parents[1] / "examples" / "emoji"
MARK = 0.97
SECONDS = 20.0
"""Of the worker's part of a round, and of the bare loop's two halves together."""

SEEDS = 256
"""So many that the campaign does not end before the rounds do."""


@dataclass(frozen=True)
class Placing:
    """On which cores the rendering thread runs, and all the rest of the deployment."""

    name: str
    rendering: set
    rest: set
    observer: set


def sum_up(rounds):
    total = Counter()
    for found in rounds:
        total.update(found)
    return total


def write_campaign(folder, images_per_unit):
    """The example with more seeds than will be made; returns its file."""
    for path in EXAMPLE.iterdir():
        (folder / path.name).symlink_to(path)
    file = folder / "campaign.toml"
    text = file.read_text()
    for key, number in (("seeds", SEEDS), ("images_per_unit", images_per_unit)):
        assert f"\n{key} = 32\n" in text
        text = text.replace(f"\n{key} = 32\n", f"\n{key} = {number}\n")
    file.unlink()
    file.write_text(text)
    return file


def measure(placings, bare, deployed, rounds):
    """Every round of every placing: name → its rounds as pairs (bare, worker) of totals."""
    found = {placing.name: [] for placing in placings}
    for number in range(1, rounds + 1):
        for placing in placings:
            os.sched_setaffinity(0, placing.observer)
            bare.place(placing.rendering)
            deployed.place(placing.rest, placing.rendering)
            first = bare.run(SECONDS / 2)
            worker = deployed.run(SECONDS)
            pair = sum_up([first, bare.run(SECONDS / 2)]), worker
            found[placing.name].append(pair)
            print(f"{number} {placing.name}: {ratio(*pair):.3f}", file=sys.stderr, flush=True)
    return found


def rate(totals):
    return totals["images"] / totals["seconds"]


def ratio(bare, worker):
    return rate(worker) / rate(bare)


def report(found):
    print("| threads | bare images/s | worker images/s | worker ÷ bare | lowest | highest | all |")
    print("|---|---|---|---|---|---|---|")
    for name, pairs in found.items():
        bare, worker = (statistics.median(map(rate, side)) for side in zip(*pairs, strict=True))
        ratios = sorted(ratio(*pair) for pair in pairs)
        together = ratio(*(sum_up(side) for side in zip(*pairs, strict=True)))
        print(
            f"| {name} | {bare:.2f} | {worker:.2f} | **{statistics.median(ratios):.3f}** "
            f"| {ratios[0]:.3f} | {ratios[-1]:.3f} | {together:.3f} |"
        )


def report_costs(found):
    """Where the worker's time goes, in milliseconds per image over all rounds."""
    columns = [costs(*map(sum_up, zip(*pairs, strict=True))) for pairs in found.values()]
    print("| milliseconds per image |", " | ".join(found), "|")
    print("|---|" + "---|" * len(columns))
    for name in columns[0]:
        print(f"| {name} |", " | ".join(f"{column[name]:.2f}" for column in columns), "|")


def costs(bare, worker):
    def per_image(totals, *names):
        return 1000 * sum(totals[name] for name in names) / totals["images"]

    took, rendering = per_image(worker, "seconds"), per_image(worker, "denoise")
    between = per_image(worker, "wait")
    return {
        "bare loop": per_image(bare, "seconds"),
        "its thread on a core": per_image(bare, "on_core"),
        "**worker**": took,
        "rendering": rendering,
        "waiting for the next unit": between,
        "claim, look in the store, hand over": took - rendering - between,
        "rendering thread on a core": per_image(worker, "on_core"),
        "rendering thread ready, but its core taken": per_image(worker, "queued"),
        "rendering thread blocked": took - per_image(worker, "on_core", "queued"),
        "writer, beside it: encode": per_image(worker, "encode"),
        "writer, beside it: store": per_image(worker, "upload"),
    } | {name: per_image(worker, name) for name in worker if name.startswith("CPU")}


def settings(campaign, rounds):
    sampling = campaign.sampling
    return (
        f"{sampling.width} px, {sampling.steps} steps, batches of {sampling.batch_size}, "
        f"units of {sampling.images_per_unit}, one torch thread; {rounds} rounds"
    )


def placings():
    own, other = sorted(os.sched_getaffinity(0))[:2]
    return [
        Placing("rendering on one core, the rest on another", {own}, {other}, {other}),
        Placing("all on both cores", {own, other}, {own, other}, {own, other}),
        Placing("all on one core", {own}, {own}, {other}),
    ]


def main():
    """Start both sides, wait until they run steadily, measure and report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--images-per-unit", type=int, default=32)
    given = parser.parse_args()
    ways = placings()
    with (
        tempfile.TemporaryDirectory(prefix="seedsweep-benchmark-") as name,
        Deployment(folder := Path(name)) as deployment,
        contextlib.ExitStack() as ending,
    ):
        os.environ.update(deployment.s3.environment)
        file = write_campaign(folder, given.images_per_unit)
        campaign, prompts, _ = read_campaign(file)
        print(machine("torch", "diffusers", "celery", "ray", "redis", "minio"), end="\n\n")
        print(settings(campaign, given.rounds), end="\n\n", flush=True)
        deployment.seedsweep("doctor", "--create-bucket")
        (port,) = free_ports(1)
        deployment.start_services(workers=0)
        options = ("--device", "cpu", "--name", "worker", "--metrics-port", str(port))
        deployment.start("worker", "worker", *options)
        deployed = Deployed(deployment, deployment.submit(file), port, given.images_per_unit)
        wait_until(lambda: (c := deployed.counts()) and c.done >= 4 and c.analysed, timeout=300)
        bare = Bare(campaign, prompts, deployment)
        ending.callback(bare.close)
        ending.callback(deployed.go_on)
        deployed.find_rendering_thread()
        deployed.pause()
        found = measure(ways, bare, deployed, given.rounds)
    report(found)
    print()
    report_costs(found)
    median = statistics.median(ratio(*pair) for pair in found[ways[0].name])
    print(f"\nMark: at least {MARK} with {ways[0].name}: {'kept' if median >= MARK else 'MISSED'}.")


if __name__ == "__main__":
    main()
