"""How copies in the training set alter what counts as extracted, and which pictures count as one.

    .venv/bin/python -m benchmarks.copies [--memories N] [--strangers N] [--most-copies N]

Each memory is a drawing that a model repeats not quite: smaller and back, and stored as JPEG. The
training set holds strangers and the drawing, once or repeated: exactly, as JPEG of quality 90, or
scaled to three quarters and back. Beside our score stands the one by neighbours that need not be
distinct, as most implementations have it. Then the rule of near-copies on these drawings, from one
edit to the next, and on all pairs of strangers.
"""

import argparse

import numpy as np

from benchmarks.machine import machine
from seedsweep.audit.findings.intervals import rate
from seedsweep.storage.settings.analysis import Verification
from seedsweep.workers.analysis.cuts import centres
from seedsweep.workers.analysis.distances import l2_to_all
from seedsweep.workers.analysis.frames import frames_of
from seedsweep.workers.analysis.matching import is_extracted, nearest_training
from seedsweep.workers.analysis.near_copies import Reference
from seedsweep.workers.analysis.nearest import describe_training
from tests.support.pictures import cut, drawings, scaled_and_back, stored_anew

SIDE, COPIES = 64, (1, 10, 30, 100, 300)
SETTINGS = Verification(training_set="")


EDITS = {
    "exact": np.array,
    "JPEG 90": lambda picture: stored_anew(picture, 90),
    "scaled and back": lambda picture: scaled_and_back(picture, 0.75),
    "a border cut off": lambda picture: cut(picture, 0.02, 0.02, 0.02, 0.02),
}


def usual_score(image, training):
    """By the 50 nearest others, whatever they show."""
    distances = l2_to_all(image, training)
    others = np.delete(l2_to_all(training[distances.argmin()], training), distances.argmin())
    mean = np.sort(others)[: SETTINGS.neighbours].mean()
    return distances.min() / (SETTINGS.alpha * mean) if mean else np.inf


def extractions(memories, strangers, most_copies):
    print("| copies | times | extracted | by neighbours that need not be distinct |")
    print("|---|---|---|---|")
    for name, edit in EDITS.items():
        for times in (each for each in COPIES if each <= most_copies):
            ours = usual = 0
            for memory in memories:
                image = stored_anew(scaled_and_back(memory, 0.4), 60)
                repeated = np.stack([edit(memory)] * (times - 1) + [memory])
                training = np.concatenate([strangers, repeated])
                match = nearest_training(image, describe_training(training), 4, SETTINGS)
                ours += is_extracted(match, SETTINGS.threshold, SIDE)
                usual += match.l2 <= SETTINGS.threshold and usual_score(image, training) <= 1
            shares = rate(ours, len(memories)), rate(usual, len(memories))
            print(f"| {name} | {times} | {shares[0]} | {shares[1]} |", flush=True)


def near_copies(memories, strangers):
    print("\n| pairs | near-copies |\n|---|---|")
    for name, edit in EDITS.items():
        joined = 0
        for memory in memories:
            reference = Reference(frames_of(memory[None])[0], SETTINGS.near_copies, False)
            joined += int(reference.copies(centres(frames_of(edit(memory)[None])))[0])
        print(f"| a drawing and its copy, {name} | {rate(joined, len(memories))} |")
    frames = frames_of(strangers)
    known, joined = centres(frames), 0
    for place, frame in enumerate(frames):
        reference = Reference(frame, SETTINGS.near_copies, False)
        joined += int(reference.copies(known, np.arange(place)).sum())
    pairs = len(frames) * (len(frames) - 1) // 2
    print(f"| two strangers | {rate(joined, pairs, side='upper')} |")


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--memories", type=int, default=30)
    parser.add_argument("--strangers", type=int, default=800)
    parser.add_argument("--most-copies", type=int, default=max(COPIES))
    options = parser.parse_args()
    print(machine("numpy", "pillow"))
    print()
    memories, strangers = drawings(options.memories, 1), drawings(options.strangers, 2)
    extractions(memories, strangers, options.most_copies)
    near_copies(memories, strangers)


if __name__ == "__main__":
    main()
