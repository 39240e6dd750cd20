"""Very many generations searched for in a training set, each with its adaptive score: time, memory
and how both grow.

    .venv/bin/python -m benchmarks.generations_search [--queries N …] [--training N …]
                                                      [--side PIXELS] [--actors N] [--check N]
                                                      [--strangers SHARE]

The first number of generations is searched for among the first number of training pictures, and so
on. Training pictures are blends of shifted pictures with the spectrum of photographs, in Parquet
files; generations are training pictures, drawn by lot, with noise, but for a share of strangers,
which are new blends. All are searched for by Ray actors, or with --actors 0 in this process.
Seconds are those of the CPU, of this process and the actors together, so that what else runs on the
machine counts for little; the wall clock stands beside them. Memory is the peak RSS of an actor,
Ray's own included, and of this process, all queries included.

Brute force compares all pixels of one generation after the other, --check of them, which must have
the very match and score; what it takes for all is reasoned from these. And all noisy pictures must
have been found.
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
from benchmarks.pictures import pink
from benchmarks.verification import NEIGHBOURS, POOL, Here, blends, write_training_set
from seedsweep.storage.settings.analysis import Verification
from seedsweep.workers.analysis.distances import l2_to_all
from seedsweep.workers.analysis.frames import frame_of, frames_of
from seedsweep.workers.analysis.matching import adaptive_score, distinct_l2
from seedsweep.workers.cluster.ray_cluster import Actors
from seedsweep.workers.training.picture_set import open_set
from seedsweep.workers.training.pictures import read_pictures
from seedsweep.workers.training.search import TrainingSearch
from seedsweep.workers.training.search_actors import searchers

THRESHOLD = 0.15


def generations(folder, count, side, share):
    """Noisy training pictures, with the names of these, and a share of strangers, without one."""
    rng = np.random.default_rng(count)
    settings = Verification(training_set=str(folder))
    named = [(name, pixels) for name, pixels, _ in read_pictures(settings, side, side)]
    chosen = [named[place] for place in rng.integers(len(named), size=count)]
    names = [name for name, _ in chosen]
    pictures = np.stack([pixels for _, pixels in chosen])
    for at in range(0, count, 1024):
        some = pictures[at : at + 1024]
        noise = rng.integers(-12, 13, some.shape, dtype=np.int16)
        some[:] = np.clip(some + noise, 0, 255)
    new = np.flatnonzero(rng.random(count) < share)
    pictures[new] = blends(rng, pink(POOL, side, seed=1), len(new))
    for place in new:
        names[place] = None
    return names, pictures


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


def check(found, names, folder, queries, side):
    """Hold what was found against the pictures that generations were made of, and of these queries
    against brute force, whose CPU seconds are returned."""
    for fetched, name in zip(found.fetched, names, strict=True):
        assert name is None or fetched.name == name
    settings = Verification(training_set=str(folder), threshold=THRESHOLD)
    read = list(read_pictures(settings, side, side))
    pictures = np.stack([pixels for _, pixels, _ in read])
    began = cpu_of_all()
    for query, fetched, match in zip(queries, found.fetched, found.matches, strict=False):
        distances = l2_to_all(query, pictures)
        index = int(distances.argmin())
        others, frame = l2_to_all(pictures[index], pictures), frame_of(pictures[index])
        nearest = np.argsort(others, kind="stable")[: 4 * NEIGHBOURS]
        around = distinct_l2(
            frame, frames_of(pictures[nearest]), others[nearest].tolist(), NEIGHBOURS, settings
        )
        l2 = float(distances[index])
        assert len(around) == NEIGHBOURS
        expected = (read[index][0], l2, adaptive_score(l2, around, settings))
        assert (fetched.name, match.l2, match.adaptive) == expected
    return cpu_of_all() - began


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    sizes = [12_500, 25_000, 50_000, 100_000]
    parser.add_argument("--queries", type=int, nargs="+", default=sizes)
    parser.add_argument("--training", type=int, nargs="+", default=[n // 2 for n in sizes])
    parser.add_argument("--strangers", type=float, default=0.0)
    parser.add_argument("--side", type=int, default=32)
    parser.add_argument("--actors", type=int, default=2)
    parser.add_argument("--check", type=int, default=20)
    options = parser.parse_args()
    print(machine("numpy", "pyarrow", "pillow", "ray"))
    print(f"\nPictures of {options.side} x {options.side} pixels:\n")
    print(
        "| generations | training pictures | of them matched | CPU s | wall s | MB an actor ",
        end="",
    )
    print(f"| MB here | brute force, CPU s of {options.check} | of all |")
    print("|---|---|---|---|---|---|---|---|---|", flush=True)
    with tempfile.TemporaryDirectory() as scratch:
        for training, count in zip(options.training, options.queries, strict=True):
            folder = Path(scratch) / str(training)
            if not folder.exists():
                write_training_set(folder, training, options.side, "png")
            names, queries = generations(folder, count, options.side, options.strangers)
            found, wall, cpu, peak = search_all(folder, queries, options.actors)
            own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
            matched = len({fetched.position for fetched in found.fetched})
            slow = check(found, names, folder, queries[: options.check], options.side)
            print(
                f"| {count:,} | {training:,} | {matched:,} | {cpu:,.1f} | {wall:,.1f} "
                f"| {peak / 1e6:,.0f} | {own / 1e6:,.0f} | {slow:,.1f} "
                f"| {slow * count / options.check:,.0f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
