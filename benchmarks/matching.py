"""Verification against a large training set: indexing it once, and matching flagged generations.

    .venv/bin/python -m benchmarks.matching [--training N] [--side PIXELS] [--generations N]
                                            [--brute N]

The training pictures are noise with the spectrum of photographs and crops of a few photographs,
half each (`benchmarks.pictures`); one in a hundred nearly repeats another. Half of the generations
nearly repeat a training picture, the others are new pictures of both kinds. They are matched as the
analysis does, with one BLAS thread, by the index on disk in a process of its own; the rival, called
for --brute of them one right after ours, compares all pixels held in memory. Both must give the
same answers. Ratios are of CPU time, the median with lowest and highest. Peak RSS counts mapped
pages of the index that the system may drop; beside it stands the most memory that is not such.
"""

import argparse
import multiprocessing
import os
import statistics
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.machine import machine
from benchmarks.pictures import photographs, pink
from seedsweep.storage.settings.analysis import Verification
from seedsweep.workers.analysis import nearest
from seedsweep.workers.analysis.distances import l2_to_all
from seedsweep.workers.analysis.frames import frame_of, frames_of
from seedsweep.workers.analysis.matching import distinct_l2, match_of, nearest_training
from seedsweep.workers.images import encode_png
from seedsweep.workers.training.fingerprint import fingerprint_training_set
from seedsweep.workers.training.index import load_training_set

TILES, NEIGHBOURS = 4, 50
BATCH, STRANGERS = 1000, 10**6


def originals(number, count, side):
    """A batch of different pictures: noise and photographs by turns."""
    return (photographs if number % 2 else pink)(count, side, seed=number)


def near_copy(rng, picture):
    grain = rng.integers(-12, 13, picture.shape)
    return np.clip(picture + grain + rng.integers(-3, 4), 0, 255).astype(np.uint8)


def write_training_set(path, count, side):
    """Write it as Parquet; returns some of its pictures."""
    rng = np.random.default_rng(0)
    schema, some = pa.schema([("image", pa.binary())]), []
    with pq.ParquetWriter(path, schema, compression="none") as writer:
        for number, start in enumerate(range(0, count, BATCH)):
            made = originals(number, min(BATCH, count - start), side)
            for place in range(99, len(made), 100):
                made[place] = near_copy(rng, made[place - 99])
            some += list(made[:: max(1, BATCH // 20)])
            writer.write_table(pa.table([[encode_png(p) for p in made]], schema=schema))
    return some


def make_generations(count, side, some):
    """Strangers and near-copies of training pictures by turns."""
    rng = np.random.default_rng(1)
    chosen = rng.choice(len(some), count, replace=False)
    strangers = [originals(STRANGERS + i, count, side) for i in range(2)]
    return [
        near_copy(rng, some[chosen[i]]) if i % 2 else strangers[i // 2 % 2][i] for i in range(count)
    ]


def brute_force(image, pictures, settings):
    """Both scans of all pixels, as the analysis did them before it had an index."""
    from_image = l2_to_all(image, pictures)
    index, l2 = int(from_image.argmin()), float(from_image.min())
    picture, wanted = pictures[index], settings.neighbours
    of_training = around(picture, l2_to_all(picture, pictures), pictures, wanted, settings)
    of_generation = [l2, *around(picture, from_image, pictures, wanted - 1, settings)]
    return match_of(index, l2, image, picture, TILES, False, of_training, of_generation, settings)


def around(picture, distances, pictures, count, settings):
    """The l2 to the nearest that are neither near-copies of the picture nor of each other."""
    nearest = np.argsort(distances, kind="stable")[: 10 * NEIGHBOURS]
    frames = frames_of(pictures[nearest])
    return distinct_l2(frame_of(picture), frames, distances[nearest].tolist(), count, settings)


def timed(function, *arguments):
    wall, cpu = time.perf_counter(), time.process_time()
    found = function(*arguments)
    return found, time.perf_counter() - wall, time.process_time() - cpu


def build(settings, side):
    """In a process of its own: seconds of wall and CPU, and peak RSS in MB."""
    _, wall, cpu = timed(load_training_set, settings, side, side)
    return wall, cpu, memory("VmHWM")


def match_all(settings, side, generations):
    """In a process of its own: what each match took and found, what was looked at, and memory."""
    looked_at, own = [0], []
    compare = nearest.l2_to_all

    def counted(image, others):
        looked_at[0] += len(others)
        return compare(image, others)

    nearest.l2_to_all = counted
    training = load_training_set(settings, side, side)
    found = []
    for image in generations:
        found.append(timed(nearest_training, image, training.images, TILES, settings))
        own.append(memory("RssAnon"))
    share = looked_at[0] / (2 * len(generations) * len(training.images))
    return found, share, memory("VmHWM"), max(own)


def compare_with_brute_force(settings, side, generations):
    """In a process of its own: ours ÷ theirs in seconds of CPU, with the same answers."""
    training = load_training_set(settings, side, side)
    pictures = np.array(training.images.pictures)
    nearest_training(generations[0], training.images, TILES, settings)  # all is equally warm
    pairs = []
    for image in generations:
        ours, _, mine = timed(nearest_training, image, training.images, TILES, settings)
        theirs, wall, cpu = timed(brute_force, image, pictures, settings)
        assert ours == theirs, (ours, theirs)
        pairs.append((cpu / mine, wall, cpu))
    return pairs, memory("VmHWM")


def memory(word):
    """In MB, as the kernel counts it: VmHWM the peak with all that is mapped, RssAnon without."""
    status = Path("/proc/self/status").read_text()
    return int(status.split(f"{word}:")[1].split()[0]) / 1e3


def apart(function, *arguments):
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()


def report(options, folder):
    side, path = options.side, folder / "training.parquet"
    some = write_training_set(path, options.training, side)
    generations = make_generations(options.generations, side, some)
    settings = Verification(training_set=str(path), fingerprint=fingerprint_training_set(path))
    wall, cpu, rss = apart(build, settings, side)
    size = sum(file.stat().st_size for file in (folder / "cache").rglob("*")) / 1e6
    print("| | wall s | CPU s | peak RSS MB | |")
    print("|---|---|---|---|---|")
    index = f"{size:,.0f} MB on disk"
    print(f"| index, once | {wall:.1f} | {cpu:.1f} | {rss:,.0f} | {index} |")
    found, share, rss, own = apart(match_all, settings, side, generations)
    wall, cpu = (sum(each[i] for each in found) for i in (1, 2))
    words = f"{share:.2%} of the pictures compared by pixels, {own:,.0f} MB of its own"
    print(f"| {len(found)} matches | {wall:.1f} | {cpu:.1f} | {rss:,.0f} | {words} |")
    for word, those in (("near-copies", found[1::2]), ("strangers", found[::2])):
        wall, cpu = (sum(each[i] for each in those) for i in (1, 2))
        middle = statistics.median(match.l2 for match, _, _ in those)
        print(f"| {len(those)} {word} | {wall:.1f} | {cpu:.1f} | | median l2 {middle:.3f} |")
    if options.brute:
        few = generations[: options.brute]
        pairs, rss = apart(compare_with_brute_force, settings, side, few)
        wall, cpu = (len(found) * statistics.median(p[i] for p in pairs) for i in (1, 2))
        ratios = [ratio for ratio, _, _ in pairs]
        words = (
            f"scaled from {len(few)}; brute force ÷ ours {statistics.median(ratios):.1f} "
            f"({min(ratios):.1f} to {max(ratios):.1f}), same answers"
        )
        print(f"| brute force | {wall:.0f} | {cpu:.0f} | {rss:,.0f} | {words} |")


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--training", type=int, default=100_000)
    parser.add_argument("--side", type=int, default=64)
    parser.add_argument("--generations", type=int, default=50)
    parser.add_argument("--brute", type=int, default=4)
    options = parser.parse_args()
    print(machine("numpy", "pyarrow", "pillow"))
    print(f"\n{options.training:,} training pictures of {options.side} x {options.side} pixels:\n")
    with tempfile.TemporaryDirectory() as folder:
        os.environ["SEEDSWEEP_CACHE_DIR"] = str(Path(folder) / "cache")
        report(options, Path(folder))


if __name__ == "__main__":
    main()
