"""Choosing prompts from a training set: which copies are found, and what it takes as sets grow.

    .venv/bin/python -m benchmarks.selection [--training N ...] [--part N] [--actors N]
        [--embedding FILE | --embedding stand-in]

The sets are JPEGs of quality 95 and 64 px in Parquet: strangers, each a blend of two pictures of a
pool, and among them one in ten a copy of an earlier picture, edited in one of the ways below. One
set more has a group of 60 %. What is found is held against what was planted, and, on a set of its
own (`--part`), against a comparison of all pairs by the rule itself. With `--embedding` all is
measured with a model; the stand-in averages a picture to 4 x 4 and weighs that at random.
"""

import argparse
import contextlib
import itertools
import resource
import tempfile
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
from threadpoolctl import threadpool_limits

from benchmarks.machine import cpu_seconds, machine
from benchmarks.pictures import pink
from benchmarks.verification import blends
from seedsweep.audit.findings.intervals import rate
from seedsweep.storage.settings.analysis import Verification
from seedsweep.workers.analysis.cuts import centres
from seedsweep.workers.analysis.frames import frames_of
from seedsweep.workers.analysis.near_copies import Reference
from seedsweep.workers.analysis.outliers import ThumbnailSpace, furthest, thumbnails
from seedsweep.workers.cluster.ray_cluster import Actors
from seedsweep.workers.training.copies import TrainingCopies
from seedsweep.workers.training.describers import describers
from seedsweep.workers.training.embedding_file import embedding_file
from seedsweep.workers.training.embedding_model import open_embedding
from seedsweep.workers.training.picture_set import open_set
from seedsweep.workers.training.pictures import read_pictures
from tests.support.onnx_models import write_model
from tests.support.pictures import cut, data_of, drawings, scaled_and_back, stored_anew

SIDE, GROUP_ROWS, FILE_ROWS, OUTLIERS, NEIGHBOURS = 64, 1000, 10_000, 100, 50
COPIED = 0.1
EDITS = {
    "exact": np.array,
    "JPEG 90": lambda picture: stored_anew(picture, 90),
    "JPEG 75": lambda picture: stored_anew(picture, 75),
    "JPEG 60": lambda picture: stored_anew(picture, 60),
    "half the size and back": lambda picture: scaled_and_back(picture, 0.5),
    "2 % cut off all around": lambda picture: cut(picture, 0.02, 0.02, 0.02, 0.02),
    "5 % cut off at the left": lambda picture: cut(picture, 0.05, 0, 0, 0),
    "moved by 3 pixels both ways": lambda picture: np.roll(picture, (3, 3), (0, 1)),
    "recoloured: red + 15, blue - 15": lambda picture: recoloured(picture, 15),
    "recoloured: red + 40, blue - 40, another picture by the rule": lambda picture: recoloured(
        picture, 40
    ),
}
"""That of three pixels is what the rule just allows; what leaves at one side comes back at the
other."""


def recoloured(picture, levels):
    """The picture with more red and less blue."""
    moved = picture.astype(np.int16) + np.array([levels, 0, -levels])
    return np.clip(moved, 0, 255).astype(np.uint8)


def write_file(folder, number, count, share):
    """Strangers and copies; `share` of all are copies of the file's first picture. `of` is the
    place of the picture that one is a copy of, and `edit` says how; both have one caption."""
    rng = np.random.default_rng([3, number])
    pool = np.concatenate([pink(300, SIDE, seed=0), drawings(300, 0, SIDE)])
    made, originals, edits = [], [], []
    names = list(EDITS)
    for place, stranger in enumerate(blends(rng, pool, count)):
        name, of = "", place
        if place and rng.random() < share:
            name, of = f"JPEG {int(rng.integers(40, 95))}", 0
            stranger = stored_anew(made[0], int(name.split()[1]))
        elif place and rng.random() < COPIED:
            name = names[rng.integers(len(names))]
            of = int(rng.integers(place))
            while edits[of]:
                of = int(rng.integers(place))
            stranger = EDITS[name](made[of])
        made.append(np.ascontiguousarray(stranger))
        originals.append(of)
        edits.append(name)
    files = [data_of(picture, "JPEG", quality=95) for picture in made]
    captions = [f"picture {of} of file {number}" for of in originals]
    table = pa.table({"image": files, "caption": captions, "of": originals, "edit": edits})
    unfinished = folder / f".{number:05}.writing"
    pq.write_table(table, unfinished, row_group_size=GROUP_ROWS)
    unfinished.rename(folder / f"{number:05}.parquet")


def write_training_set(folder, count, share=0.0):
    folder.mkdir()
    sizes = [min(FILE_ROWS, count - start) for start in range(0, count, FILE_ROWS)]
    with ProcessPoolExecutor() as pool:
        same = itertools.repeat
        list(pool.map(write_file, same(folder), range(len(sizes)), sizes, same(share)))
    return sizes


def grouped_by_search(folder, actors, model=None):
    """The set described, its groups, when each step ended, the CPU seconds of driver and actors,
    and the most memory of an actor."""
    stages, began, spent = {}, time.perf_counter(), cpu_seconds()

    def note(what, done, total):
        stages[what] = time.perf_counter() - began

    with contextlib.ExitStack() as stack:
        crew = stack.enter_context(describers(Actors(actors)))
        vectors = stack.enter_context(embedding_file(model, flip=False)) if model else None
        began = time.perf_counter()
        settings = Verification(training_set=str(folder))
        copies = TrainingCopies(crew, open_set(folder), settings, note, vectors)
        described = copies.describe()
        firsts = copies.group(described)
        spent = cpu_seconds() - spent, cpu_of_actors()
    return described, firsts, stages, spent, copies.peak_bytes


def cpu_of_actors():
    """The CPU so far, in seconds, of this process's actors together."""
    ours = psutil.Process().children(recursive=True)
    actors = [each for each in ours if "Describer" in " ".join(each.cmdline())]
    return sum(sum(each.cpu_times()[:2]) for each in actors)


def planted(folder, firsts, sizes):
    """By edit, how many copies are in their original's group."""
    met, joined, start = Counter(), Counter(), 0
    for number, size in enumerate(sizes):
        told = pq.read_table(folder / f"{number:05}.parquet", columns=["of", "edit"]).to_pylist()
        for place, row in enumerate(told, start):
            if name := row["edit"]:
                kind = name if name in EDITS else "JPEG 40 to 94, of one picture"
                met[kind] += 1
                joined[kind] += firsts[place] == firsts[start + row["of"]]
        start += size
    return {name: rate(joined[name], met[name]) for name in sorted(met)}


def by_brute_force(folder):
    """Groups by comparing every first picture with all others."""
    read = read_pictures(Verification(training_set=str(folder)), SIDE, SIDE)
    frames = frames_of(np.stack([pixels for _, pixels, _ in read]))
    known, rule = centres(frames), Verification(training_set="").near_copies
    firsts, settled = np.arange(len(frames)), np.zeros(len(frames), bool)
    for place in range(len(frames)):
        if not settled[place]:
            settled[place] = True
            copies = Reference(frames[place], rule, False).copies(known) & ~settled
            firsts[copies] = place
            settled |= copies
    return firsts, thumbnails(frames)


def pairs_of(firsts):
    """How many pairs stand in one group."""
    sizes = np.bincount(firsts)
    return int((sizes * (sizes - 1) // 2).sum())


def compare(folder, actors):
    described, firsts, *_ = grouped_by_search(folder, actors)
    began = time.perf_counter()
    slow, small = by_brute_force(folder)
    took = time.perf_counter() - began
    both = pairs_of(np.unique(np.stack([firsts, slow]), axis=1, return_inverse=True)[1])
    print(f"\n| of {len(slow):,} pictures, against all pairs by the rule ({took:.0f} s) | |")
    print("|---|---|")
    print(f"| pairs in one group that are so by all pairs | {rate(both, pairs_of(firsts))} |")
    print(f"| pairs in one group by all pairs that are found | {rate(both, pairs_of(slow))} |")
    distinct = np.unique(firsts)
    pictures = described.thumbnails[distinct]
    told = itertools.islice(
        furthest(ThumbnailSpace(pictures), np.ones(len(distinct), bool), NEIGHBOURS), OUTLIERS
    )
    ours = [place for place, _ in told]
    values = small[distinct].astype(np.float64)
    scores = []
    for value in values:
        apart = np.sort(np.sqrt(np.square(values - value).mean(axis=1)))
        scores.append(apart[1 : NEIGHBOURS + 1].mean())
    same = len({*np.argsort(-np.array(scores), kind="stable")[:OUTLIERS].tolist()} & {*ours})
    print(f"| the {OUTLIERS} outliers of all distances that are found | {rate(same, OUTLIERS)} |")


def measure(folder, count, actors, share=0.0, model=None):
    sizes = write_training_set(folder, count, share)
    described, firsts, stages, spent, peak = grouped_by_search(folder, actors, model)
    began, own = time.perf_counter(), cpu_seconds()
    distinct = np.unique(firsts)
    pictures = described.thumbnails[distinct]
    wanted = np.ones(len(distinct), bool)
    list(itertools.islice(furthest(ThumbnailSpace(pictures), wanted, NEIGHBOURS), OUTLIERS))
    outliers = time.perf_counter() - began
    own = cpu_seconds() - own + spent[0]
    total = max(stages.values()) + outliers
    what = f"{count:,}" + (f", {100 * share:.0f} % of it one group" if share else "")
    steps = ", ".join(f"{name} at {took:.1f} s" for name, took in stages.items())
    print(f"| {what} | {total:.1f} s, {count / total:,.0f} pictures/s | {steps}; outliers ", end="")
    driver = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(f"{outliers:.1f} s | driver {own:.0f}, actors {spent[1]:.0f} | ", end="")
    print(f"driver {driver / 1e3:,.0f} MB, actor {peak / 1e6:,.0f} MB |", flush=True)
    return planted(folder, firsts, sizes)


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--training", type=int, nargs="*", default=[10_000, 100_000])
    parser.add_argument("--share", type=int, default=10_000)
    parser.add_argument("--part", type=int, default=3000)
    parser.add_argument("--actors", type=int, default=2)
    parser.add_argument("--embedding", type=Path)
    options = parser.parse_args()
    print(machine("numpy", "pyarrow", "pillow", "ray"))
    print("\n| pictures | whole | steps, by when each ended | CPU s | most memory |")
    print("|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as name, threadpool_limits(1):
        folder, shares, model = Path(name), {}, None
        if options.embedding == Path("stand-in"):
            write_model(folder / "model" / "m.onnx")
            model = open_embedding(folder / "model" / "m.onnx")
        elif options.embedding:
            model = open_embedding(options.embedding)
        for count in options.training:
            shares = measure(folder / str(count), count, options.actors, model=model)
        if options.share:
            many = measure(folder / "share", options.share, options.actors, 0.6, model)
            shares |= {name: many[name] for name in many if name not in EDITS}
        print("\n| planted copies, by edit | in the group of their picture |\n|---|---|")
        for edit, share in shares.items():
            print(f"| {edit} | {share} |")
        if options.part:
            write_training_set(folder / "part", options.part)
            compare(folder / "part", options.actors)


if __name__ == "__main__":
    main()
