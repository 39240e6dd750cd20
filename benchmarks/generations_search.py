"""Very many generations searched for in a training set, each with its adaptive score: time, memory
and how both grow.

    .venv/bin/python -m benchmarks.generations_search [--queries N …] [--training N …]
                                                      [--side PIXELS] [--actors N] [--check N]

Training pictures are blends of shifted pictures with the spectrum of photographs, in Parquet files;
generations are training pictures, drawn by lot, with noise. All are searched for by Ray actors, or
with --actors 0 in this process. Seconds are those of the CPU, of this process and the actors
together, so that what else runs on the machine counts for little; the wall clock stands beside
them. Memory is the peak RSS of an actor, Ray's own included, and of this process. The first --check
generations must have the match and the score that comparing all pixels gives, and all of them the
picture that they were made of.
"""

import argparse
import contextlib
import os
import resource
import tempfile
import time
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np
import psutil

from benchmarks.machine import machine
from benchmarks.verification import Here, by_brute_force, write_training_set
from seedsweep.storage.settings.analysis import Verification
from seedsweep.workers.cluster.ray_cluster import Actors
from seedsweep.workers.training.picture_set import open_set
from seedsweep.workers.training.pictures import read_pictures
from seedsweep.workers.training.search import TrainingSearch
from seedsweep.workers.training.search_actors import searchers

THRESHOLD = 0.15


def perturbed(folder, count, side):
    """Noisy training pictures, and the names of these."""
    rng = np.random.default_rng(count)
    settings = Verification(training_set=str(folder))
    named = [(name, pixels) for name, pixels, _ in read_pictures(settings, side, side)]
    chosen = [named[place] for place in rng.integers(len(named), size=count)]
    pictures = np.stack([pixels for _, pixels in chosen])
    noise = rng.integers(-12, 13, pictures.shape, dtype=np.int16)
    return [name for name, _ in chosen], np.clip(pictures + noise, 0, 255).astype(np.uint8)


def cpu_of_all():
    """CPU seconds of this process, its children, and theirs, those that ended included."""
    mine = psutil.Process()
    own = sum(mine.cpu_times()[:4])
    each = [child.cpu_times() for child in mine.children(recursive=True)]
    return own + sum(times.user + times.system for times in each)


def search_all(folder, queries, actors):
    settings = Verification(training_set=str(folder), threshold=THRESHOLD)
    opened = open_set(folder)
    with searchers(Actors(actors)) if actors else contextlib.nullcontext(Here()) as crew:
        search = TrainingSearch(crew, opened, settings, 1, lambda *_: None)
        began, cpu = time.perf_counter(), cpu_of_all()
        found = search.match(queries, len(queries), counted=False)
        wall, cpu = time.perf_counter() - began, cpu_of_all() - cpu
    return found, wall, cpu, search.peak_bytes


def check(found, names, folder, queries, side, count):
    """Hold what was found against the pictures that generations were made of, and brute force."""
    assert [fetched.name for fetched in found.fetched] == names
    slow = by_brute_force(folder, queries[:count], side)
    for (name, l2, adaptive, _), fetched, match in zip(
        slow, found.fetched, found.matches, strict=False
    ):
        assert (fetched.name, match.l2, match.adaptive) == (name, l2, adaptive)


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--queries", type=int, nargs="+", default=[1000, 5000, 20_000])
    parser.add_argument("--training", type=int, nargs="+", default=[5000, 20_000])
    parser.add_argument("--side", type=int, default=32)
    parser.add_argument("--actors", type=int, default=2)
    parser.add_argument("--check", type=int, default=20)
    options = parser.parse_args()
    print(machine("numpy", "pyarrow", "pillow", "ray"))
    print(f"\nPictures of {options.side} x {options.side} pixels:\n")
    print("| generations | training pictures | different matches | CPU s | wall s | MB an actor |")
    print("|---|---|---|---|---|---|", flush=True)
    with tempfile.TemporaryDirectory() as scratch:
        for training in options.training:
            folder = Path(scratch) / str(training)
            write_training_set(folder, training, options.side, "png")
            for count in options.queries:
                names, queries = perturbed(folder, count, options.side)
                found, wall, cpu, peak = search_all(folder, queries, options.actors)
                check(found, names, folder, queries, options.side, options.check)
                print(
                    f"| {count:,} | {training:,} | {len(set(names)):,} | {cpu:,.1f} | {wall:,.1f} "
                    f"| {peak / 1e6:,.0f} |",
                    flush=True,
                )
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(f"\nThis process held {own / 1e6:,.0f} MB at most.")


if __name__ == "__main__":
    main()
