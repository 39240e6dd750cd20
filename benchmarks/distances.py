"""All tiled l2 distances of one prompt's images, exact, against three other ways to compute them.

    .venv/bin/python -m benchmarks.distances [--images N] [--rounds N] [--pairs N]

Everything is CPU time of all threads, on the same uint8 pictures of 512 px in 4 x 4 tiles, ten of
them near-copies. The double loop is timed on so many pairs, its conversion to floats left out, and
scaled to all of them; the other rivals convert one tile after the other and keep its maximum.
"""

import argparse
import itertools
import math
import statistics
import tracemalloc

import numpy as np
import torch
from scipy.spatial.distance import pdist, squareform

from benchmarks.machine import interleaved, machine, ratios, span
from benchmarks.pictures import pink, with_copies
from seedsweep.workers.analysis.distances import tile_grid, tiled_distances, tiled_edges

SIZE, TILES, THRESHOLD = 512, 4, 0.1
MARK = 3.5


def double_loop(pictures):
    """One pair after the other, as a script does it; pictures are float64 in [0, 1]."""
    distances = np.zeros((len(pictures), len(pictures)))
    grid = tile_grid(SIZE, SIZE, TILES)
    for i, j in itertools.combinations(range(len(pictures)), 2):
        tiles = ((pictures[i][tile], pictures[j][tile]) for tile in grid)
        distances[i, j] = distances[j, i] = max(np.sqrt(np.mean((a - b) ** 2)) for a, b in tiles)
    return distances


def by_scipy(images):
    worst = np.zeros(len(images) * (len(images) - 1) // 2)
    for tile in flat_tiles(images):
        np.maximum(worst, pdist(tile / 255) / math.sqrt(tile.shape[1]), out=worst)
    return squareform(worst)


def by_torch(images):
    worst = torch.zeros(len(images), len(images))
    for tile in flat_tiles(images):
        rows = torch.from_numpy(tile).float() / 255
        worst = torch.maximum(worst, torch.cdist(rows, rows) / math.sqrt(tile.shape[1]))
    return worst.numpy()


def exact(images):
    """The same numbers by float64 matrix products, all of them integers below 2⁵³ and so exact."""
    worst = np.zeros((len(images), len(images)))
    for tile in flat_tiles(images):
        rows = tile.astype(np.float64)
        products = rows @ rows.T
        norms = products.diagonal()
        squared = norms[:, None] + norms[None, :] - 2 * products
        np.maximum(worst, squared / tile.shape[1], out=worst)
    return np.sqrt(worst) / 255


def flat_tiles(images):
    for tile in tile_grid(SIZE, SIZE, TILES):
        yield images[:, *tile].reshape(len(images), -1)


def peak_beside(call):
    """Bytes that a call has of NumPy and Python at its peak beside what there was."""
    tracemalloc.start()
    call()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return peak


def main():
    """Print what is exact, then seconds and errors, then whether the mark is met."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--pairs", type=int, default=300, help="pairs in the double loop")
    asked = parser.parse_args()
    print(machine("numpy", "scipy", "torch"), f"{asked.rounds} rounds", sep="; ", end="\n\n")
    torch.set_num_threads(1)
    images, _ = with_copies(pink(asked.images, SIZE), 10, 0.03)
    few = images[: math.isqrt(2 * asked.pairs) + 1]
    floats = few / 255.0
    pairs, looped = math.comb(len(images), 2), math.comb(len(few), 2)
    memory = peak_beside(lambda: tiled_distances(images, TILES))
    for_edges = peak_beside(lambda: tiled_edges(images, TILES, THRESHOLD))

    found = {}

    def keeping(name, call, *inputs):
        return lambda: found.__setitem__(name, call(*inputs))

    sides = {
        "ours": keeping("ours", tiled_distances, images, TILES),
        "ours, edges only": keeping("edges", tiled_edges, images, TILES, THRESHOLD),
        "double loop": keeping("double loop", double_loop, floats),
        "scipy pdist": keeping("scipy pdist", by_scipy, images),
        "torch cdist": keeping("torch cdist", by_torch, images),
    }
    seconds = interleaved(sides, asked.rounds)
    seconds["double loop"] = [value * pairs / looped for value in seconds["double loop"]]

    ours, truth = found["ours"], exact(images)
    print(f"Equal to float64 bit for bit, all {pairs} pairs: {np.array_equal(ours, truth)}")
    edges = (truth <= THRESHOLD) & ~np.eye(len(truth), dtype=bool)
    print(f"Edges at {THRESHOLD} equal: {np.array_equal(found['edges'], edges)}, ", end="")
    print(f"{int(edges.sum()) // 2} edges")
    print(f"Peak beside the images: {memory / 1e6:.0f} MB, edges only {for_edges / 1e6:.0f} MB")
    print(f"Double loop: {looped} pairs measured, scaled to {pairs}\n")
    print("| | CPU s | ÷ ours | largest error |\n|---|---|---|---|")
    for name, values in seconds.items():
        ratio = span(ratios(values, seconds["ours"]))
        print(f"| {name} | {span(values)} | {ratio} | {error(found.get(name), truth)} |")
    median = statistics.median(seconds["ours"])
    print(f"\nMark of {MARK} CPU s: {'met' if median <= MARK else 'missed'}, {median:.2f}")


def error(distances, truth):
    if distances is None:
        return ""
    return f"{np.abs(distances - truth[: len(distances), : len(distances)]).max():.1e}"


if __name__ == "__main__":
    main()
