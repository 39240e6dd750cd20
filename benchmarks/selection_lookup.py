"""How looking up copies among pictures grows with their number, up to a million, no file read.

    .venv/bin/python -m benchmarks.selection_lookup FOLDER [--training N ...]

The pictures are those of `benchmarks.selection`, without JPEG: strangers and a tenth of edited
copies. What `select` knows of each is made once and kept in the folder, ten thousand at a time, 0.3
ms each; then what its driver does is timed: every picture looked up, possible copies grouped, and
the neighbours of all for outliers. Pixels are not compared: what was planted counts as a copy.
Recall is of planted copies whose forms are as alike as it takes; of the first ten thousand pictures
also of all pairs that are so.
"""

import argparse
import resource
import time
from pathlib import Path

import numpy as np
from threadpoolctl import threadpool_limits

from benchmarks.machine import machine
from benchmarks.pictures import pink
from benchmarks.selection import COPIED, EDITS, NEIGHBOURS, SIDE
from benchmarks.verification import blends
from seedsweep.audit.findings.intervals import rate
from seedsweep.storage.settings.analysis import Verification
from seedsweep.workers.analysis.cells import Cells
from seedsweep.workers.analysis.copy_groups import group_copies, with_others
from seedsweep.workers.analysis.cuts import centres
from seedsweep.workers.analysis.frames import frames_of
from seedsweep.workers.analysis.outliers import ThumbnailSpace, thumbnails
from seedsweep.workers.analysis.sketches import Sketches, joined, sketch, squared_reach
from tests.support.pictures import drawings

PART = 10_000
RULE = Verification(training_set="").near_copies


def made(path, number):
    """The descriptors of one part, from the file or written to it."""
    if not path.exists():
        rng = np.random.default_rng([3, number])
        pool = np.concatenate([pink(300, SIDE, seed=0), drawings(300, 0, SIDE)])
        edits, pictures, of, kinds = list(EDITS.values()), [], [], []
        for place, picture in enumerate(blends(rng, pool, PART)):
            kind, original = -1, place
            if place and rng.random() < COPIED:
                kind, original = int(rng.integers(len(edits))), int(rng.integers(place))
                while kinds[original] >= 0:
                    original = int(rng.integers(place))
                picture = edits[kind](pictures[original])
            pictures.append(np.ascontiguousarray(picture))
            of.append(original + number * PART)
            kinds.append(kind)
        some = [frames_of(np.stack(pictures[at : at + 256])) for at in range(0, PART, 256)]
        sketches = joined([sketch(frames, centres(frames)) for frames in some])
        np.savez(
            path,
            forms=sketches.forms,
            means=sketches.means,
            deviations=sketches.deviations,
            thumbs=np.concatenate([thumbnails(frames) for frames in some]),
            of=np.array(of),
            kind=np.array(kinds),
        )
    with np.load(path) as held:
        return {name: held[name] for name in held.files}


def timed(work):
    began = time.process_time()
    return work(), time.process_time() - began


def quiet(done, total):
    """Nobody is told."""


def measure(folder, count):
    parts = [made(folder / f"{number:03}.npz", number) for number in range(count // PART)]
    held = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    sketches = Sketches(held["forms"], held["means"], held["deviations"])
    of = held["of"]
    # The last edit makes another picture by the rule.
    copies = np.flatnonzero((held["kind"] >= 0) & (held["kind"] < len(EDITS) - 1))
    possible, looking = timed(lambda: with_others(sketches, RULE, False, quiet))
    among = np.flatnonzero(possible)

    def judge(jobs):
        return [of[among[others]] == of[among[first]] for first, others in jobs]

    firsts, grouping = timed(lambda: group_copies(sketches.of(among), RULE, False, judge, quiet))
    space, everyone = ThumbnailSpace(held["thumbs"]), np.arange(count)
    _, outliers = timed(lambda: space.bounds(everyone, NEIGHBOURS, quiet))
    groups = np.arange(count)
    groups[among] = among[firsts]
    reach = copies[squared(sketches, copies, of[copies]) <= squared_reach()]
    found = rate(int((groups[reach] == groups[of[reach]]).sum()), len(reach))
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(f"| {count:,} | {looking:.1f} | {grouping:.1f} | {outliers:.1f} "
          f"| {1e3 * (looking + grouping + outliers) / count:.3f} | {found} "
          f"| {memory / 1e3:,.0f} MB |", flush=True)  # fmt: skip


def squared(sketches, first, second):
    apart = sketches.forms[first].astype(np.float32) - sketches.forms[second]
    return np.einsum("ij,ij->i", apart, apart)


def compare(folder):
    """Of all pairs of ten thousand pictures whose forms are alike, those that are looked at."""
    forms = made(folder / "000.npz", 0)["forms"]
    wide = forms.astype(np.float32)
    norms = np.einsum("ij,ij->i", wide, wide)
    alike = norms[:, None] + norms[None, :] - 2 * (wide @ wide.T) <= squared_reach()
    np.fill_diagonal(alike, False)
    cells, seen = Cells(forms), np.zeros_like(alike)
    cells.add(forms, np.arange(len(forms)))
    for visit in cells.near(forms):
        seen[np.ix_(visit.rows, visit.names)] = True
    print(f"\nOf all pairs of {len(forms):,} pictures with forms alike "
          f"{rate(int((alike & seen).sum()), int(alike.sum()))} are looked at.")  # fmt: skip


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--training", type=int, nargs="*", default=[10_000, 100_000, 1_000_000])
    options = parser.parse_args()
    options.folder.mkdir(exist_ok=True)
    print("#", machine("numpy"))
    print("| pictures | looked up, CPU s | grouped | neighbours | ms a picture "
          "| planted copies, alike by their forms, in their group | most memory |")  # fmt: skip
    print("|---|---|---|---|---|---|---|")
    with threadpool_limits(1):
        for count in options.training:
            measure(options.folder, count)
        compare(options.folder)


if __name__ == "__main__":
    main()
