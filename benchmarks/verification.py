"""A training set of any size searched for the pictures of flagged prompts: time, memory, exactness.

    .venv/bin/python -m benchmarks.verification [--training N] [--side PIXELS] [--queries N]
                                                [--actors N] [--part N] [--kind jpg|png]

Training pictures are blends of shifted pictures with the spectrum of photographs, in Parquet files
of 50,000 rows; half of the pictures that are looked for nearly repeat one of them each, spread over
the set, the others are new. The whole set is searched as `seedsweep verify` does, by Ray actors
that read it twice: rates are of pictures read, decoded and compared with all that is looked for.
Every planted picture must be found. Then the middle of each is looked for as a part. The rival, on
the first --part pictures, holds all pixels in memory and compares one picture at a time; both read
what is stored, take turns, and must give the same matches, distances, scores and counts. Memory is
the peak RSS of an actor, Ray's own included.
"""

import argparse
import itertools
import os
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.machine import cpu_seconds, machine, span
from benchmarks.pictures import pink
from seedsweep.storage.settings.analysis import PartRule, Verification
from seedsweep.workers.analysis.cuts import centres
from seedsweep.workers.analysis.distances import l2_to_all
from seedsweep.workers.analysis.frames import frame_of, frames_of
from seedsweep.workers.analysis.matching import adaptive_score, distinct_l2
from seedsweep.workers.analysis.near_copies import Reference
from seedsweep.workers.analysis.part_matching import MaskedPicture
from seedsweep.workers.cluster.ray_cluster import Actors
from seedsweep.workers.training.picture_set import open_set
from seedsweep.workers.training.pictures import read_pictures
from seedsweep.workers.training.search import TrainingSearch
from seedsweep.workers.training.search_actors import searchers
from seedsweep.workers.training.slice_search import Searcher

FILE_ROWS, GROUP_ROWS, POOL, ROUNDS = 50_000, 1000, 400, 3
NEIGHBOURS, THRESHOLD = 50, 0.15


class Here:
    """A crew of one searcher, in this process."""

    def search(self, slices, query, reach):
        return (
            Searcher().search(number, part, query, reach()) for number, part in enumerate(slices)
        )

    def possible(self, questions, summary):
        return (Searcher().possible(question, summary) for question in questions)

    def judge(self, questions):
        return (Searcher().judge(question) for question in questions)

    def fetch(self, slices, places, query):
        for number, some in places.items():
            yield from Searcher().fetch(number, slices[number], some, query)

    def summaries(self, slices, places, query):
        for number, some in places.items():
            yield Searcher().summaries(number, slices[number], some, query)

    def frames(self, slices, places, query):
        for number, some in places.items():
            yield from Searcher().frames(number, slices[number], some, query)


def blends(rng, pool, count):
    """Pictures that differ: halves of two of the pool, each shifted."""
    side, made = pool.shape[1], np.empty((count, *pool.shape[1:]), np.uint8)
    for place in range(count):
        first, second = (
            np.roll(pool[i], rng.integers(side, size=2), (0, 1))
            for i in rng.integers(len(pool), size=2)
        )
        made[place] = first // 2 + second // 2
    return made


def write_file(folder, number, count, side, kind):
    rng, pool = np.random.default_rng([1, number]), pink(POOL, side, seed=0)
    schema = pa.schema([("image", pa.binary())])
    path = folder / f"{number:05}.parquet"
    with pq.ParquetWriter(path, schema, compression="none") as writer:
        for start in range(0, count, GROUP_ROWS):
            made = blends(rng, pool, min(GROUP_ROWS, count - start))
            rows = [cv2.imencode(f".{kind}", picture)[1].tobytes() for picture in made]
            writer.write_table(pa.table([rows], schema=schema))


def write_training_set(folder, count, side, kind):
    folder.mkdir()
    sizes = [min(FILE_ROWS, count - start) for start in range(0, count, FILE_ROWS)]
    with ProcessPoolExecutor() as pool:
        same = itertools.repeat
        list(pool.map(write_file, same(folder), range(len(sizes)), sizes, same(side), same(kind)))
    return sizes


def planted(rng, folder, sizes, count, side):
    """Near-copies of training pictures spread over the set: their names, and these."""
    names, made = [], []
    for where in np.linspace(0, sum(sizes) - 1, count).astype(int):
        number, row = divmod(int(where), FILE_ROWS)
        file = f"{number:05}.parquet"
        wanted = f"{file}#{row}"
        [(_, pixels, _)] = read_pictures(
            Verification(training_set=str(folder / file)), side, side, wanted=wanted.__eq__
        )
        names.append(wanted)
        made.append(np.clip(pixels + rng.integers(-12, 13, pixels.shape), 0, 255).astype(np.uint8))
    return names, made


class Clock:
    """When the first pass ended, as the search tells its progress."""

    def __init__(self):
        self.began, self.middle = time.perf_counter(), None

    def __call__(self, done, total):
        if done == total // 2 and self.middle is None:
            self.middle = time.perf_counter()


def search_all(folder, queries, actors):
    settings = Verification(training_set=str(folder), threshold=THRESHOLD)
    opened = open_set(folder)
    with searchers(Actors(actors)) as crew:
        clock = Clock()
        search = TrainingSearch(crew, opened, settings, 1, clock)
        found = search.match(queries, len(queries))
        ended = time.perf_counter()
        parts = [MaskedPicture(picture, middle_of(picture)) for picture in queries]
        matched_parts = search.match_parts(parts, PartRule(), found.coverage)
        third = time.perf_counter() - ended
    peak, first, second = search.peak_bytes, clock.middle - clock.began, ended - clock.middle
    return found, matched_parts, peak, (first, second, third)


def middle_of(picture):
    """A mask of a quarter of the picture, in its middle."""
    height, width, _ = picture.shape
    mask = np.zeros((height, width), bool)
    mask[height // 4 : 3 * height // 4, width // 4 : 3 * width // 4] = True
    return mask


def by_search(folder, queries):
    settings = Verification(training_set=str(folder), threshold=THRESHOLD)
    found = TrainingSearch(Here(), open_set(folder), settings, 1, lambda *_: None).match(
        queries, len(queries)
    )
    return [
        (fetched.name, match.l2, match.adaptive, found.copies[fetched.position])
        for fetched, match in zip(found.fetched, found.matches, strict=True)
    ]


def by_brute_force(folder, queries, side):
    """The same, from all pixels in memory, one picture looked for after the other."""
    settings = Verification(training_set=str(folder), threshold=THRESHOLD)
    read = list(read_pictures(settings, side, side))
    pictures = np.stack([pixels for _, pixels, _ in read])
    known = centres(frames_of(pictures))
    matches = []
    for query in queries:
        distances = l2_to_all(query, pictures)
        index, l2 = int(distances.argmin()), float(distances.min())
        others, frame = l2_to_all(pictures[index], pictures), frame_of(pictures[index])
        nearest = np.argsort(others, kind="stable")[: 10 * NEIGHBOURS]
        around = distinct_l2(
            frame, frames_of(pictures[nearest]), others[nearest].tolist(), NEIGHBOURS, settings
        )
        copies = int(Reference(frame, settings.near_copies, False).copies(known).sum())
        matches.append((read[index][0], l2, adaptive_score(l2, around, settings), copies))
    return matches


def compare(folder, queries, side):
    """Brute force ÷ ours in seconds of CPU, by turns, with the same answers."""
    sides = {"ours": lambda: by_search(folder, queries)}
    sides["theirs"] = lambda: by_brute_force(folder, queries, side)
    ratios = []
    for number in range(ROUNDS):
        spent, answers = {}, {}
        for name in sorted(sides, reverse=bool(number % 2)):
            before = cpu_seconds()
            answers[name] = sides[name]()
            spent[name] = cpu_seconds() - before
        assert answers["ours"] == answers["theirs"]
        ratios.append(spent["theirs"] / spent["ours"])
    return ratios


def report(options, folder):
    began = time.perf_counter()
    training = folder / "training"
    sizes = write_training_set(training, options.training, options.side, options.kind)
    stored = sum(file.stat().st_size for file in training.iterdir()) / 1e6
    print(f"Written in {time.perf_counter() - began:.0f} s: {stored:,.0f} MB.\n", flush=True)
    rng, half = np.random.default_rng(0), options.queries // 2
    names, near = planted(rng, training, sizes, half, options.side)
    strangers = list(pink(options.queries - half, options.side, seed=99))
    queries = np.stack([*near, *strangers])
    found, matched_parts, peak, seconds = search_all(training, queries, options.actors)
    assert found.coverage.read == options.training
    assert [fetched.name for fetched in found.fetched[:half]] == names
    print(f"| {options.queries} pictures looked for, {options.actors} actors | |")
    print("|---|---|")
    own = sum(
        each.nearest.name == name and each.copies > 0
        for each, name in zip(matched_parts, names, strict=False)
    )
    strange = sum(each.copies > 0 for each in matched_parts[half:])
    passes = ("nearest picture", "what lies around the matches", "the middle of each as a part")
    for name, took in zip(passes, seconds, strict=True):
        print(f"| {name} | {took:.1f} s, {options.training / took:,.0f} pictures/s |")
    print(f"| whole search | {sum(seconds):.1f} s; all {half} planted pictures found |")
    print(
        f"| parts | {own} of {half} planted ones shown by their own picture, the nearest of all; "
        f"{strange} of {options.queries - half} strangers' shown by any |"
    )
    print(f"| peak RSS of an actor | {peak / 1e6:,.0f} MB |", flush=True)
    if options.part:
        part = folder / "part"
        write_training_set(part, options.part, options.side, options.kind)
        _, near = planted(rng, part, [options.part], half, options.side)
        ratios = compare(part, np.stack([*near, *strangers]), options.side)
        print(
            f"| brute force ÷ ours, CPU s, on {options.part:,} pictures | {span(ratios)}, same "
            "answers |"
        )


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--training", type=int, default=100_000)
    parser.add_argument("--side", type=int, default=64)
    parser.add_argument("--queries", type=int, default=50)
    parser.add_argument("--actors", type=int, default=2)
    parser.add_argument("--part", type=int, default=5000)
    parser.add_argument("--kind", choices=["jpg", "png"], default="jpg")
    options = parser.parse_args()
    print(machine("numpy", "pyarrow", "pillow", "ray"))
    words = f"{options.training:,} training pictures of {options.side} x {options.side} pixels"
    print(f"\n{words}, {options.kind}:\n")
    with tempfile.TemporaryDirectory() as folder:
        report(options, Path(folder))


if __name__ == "__main__":
    main()
