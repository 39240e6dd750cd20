"""How well each screen tells what the example's model has memorised, by what is known of it.

    .venv/bin/python -m benchmarks.screens FOLDER [--store URL --campaign ID] [--prompts N]

Positive is a prompt that repeats one training picture at a quarter of the measured seeds or more
(examples/emoji/truth.csv), negative a control that repeats none. Scores are written to the folder,
prompt by prompt, and a run that was cut goes on there. With `--campaign`, an id of `scored.toml` in
the store, the scores of a few stored pictures are told as well. One seed's scores are of a batch of
four.

A threshold for a false-positive rate is the lowest that at most so many of the negatives are above;
intervals are 95 %: of rates exact, of the AUC a bootstrap over positives and over negatives.
"""

import argparse
import csv
import json
import time
from pathlib import Path

import numpy as np
from scipy.stats import bootstrap

from benchmarks.machine import machine
from seedsweep.audit.findings.intervals import rate
from seedsweep.storage.campaigns import load_campaign
from seedsweep.storage.record import digest
from seedsweep.storage.settings.model import Model
from seedsweep.storage.settings.sampling import Sampling, ScreenSettings
from seedsweep.storage.stores import open_store
from seedsweep.workers.analysts.stored_prompt import read_prompt
from seedsweep.workers.models.parts import Places
from seedsweep.workers.pipelines.diffusers_pipeline import DiffusersPipeline
from seedsweep.workers.pipelines.predictions import Predictions
from seedsweep.workers.screening.few_pictures import closest_pair, edge_consistency
from seedsweep.workers.screening.scores import anisotropy, noise_magnitude, one_step
from seedsweep.workers.screening.screen import network_passes

EMOJI = Path(__file__).parents[1] / "examples" / "emoji"
SAMPLING = Sampling(steps=12, guidance_scale=3.0, width=64, height=64, batch_size=16)
LEAST_RATE = 0.25
SEEDS, STEPS = 4, 10
PAIRS_OF, EDGES_OF = (2, 4, 8), 4
FALSE_POSITIVES = (0.1, 0.01, 0.001)
RESAMPLES = 1_999


def marked():
    """The positives and the negatives."""
    measured = {}
    with (EMOJI / "truth.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            measured[row["prompt"]] = int(row["repeats"]) / int(row["seeds"])
    with (EMOJI / "controls.csv").open(newline="") as file:
        controls = [row["prompt"] for row in csv.DictReader(file)]
    positives = [prompt for prompt, share in measured.items() if share >= LEAST_RATE]
    return positives, [prompt for prompt in controls if not measured.get(prompt)]


def inside(pipeline, prompt):
    """Every score of each of the seeds from inside, by name; one batch gives them all."""
    made = pipeline.predict(prompt, range(SEEDS), at_once=SEEDS, steps=STEPS, low_noise=True)
    first = [Predictions(each.seed, each.guidance_scale, each.steps[:1], None) for each in made]
    return {
        "noise-magnitude, 1 step": [noise_magnitude(each) for each in first],
        f"noise-magnitude, {STEPS} steps": [noise_magnitude(each) for each in made],
        "one-step": [one_step(each) for each in made],
        "anisotropy": [anisotropy(each) for each in made],
    }


def outside(store, submission, prompt):
    """Every score of the first few stored pictures."""
    stored = read_prompt(store, submission, prompt)
    pixels = stored.pixels(range(max(PAIRS_OF)))
    found = {f"closest pair of {k} pictures": closest_pair(pixels[:k], 4) for k in PAIRS_OF}
    found[f"edge consistency of {EDGES_OF} pictures"] = edge_consistency(pixels[:EDGES_OF])
    return found


def collect(path, prompts, score):
    """Score what the file lacks, and read it: prompt → scores."""
    done = {}
    if path.exists():
        for line in path.read_text().splitlines():
            done |= json.loads(line)
    left, begun = [prompt for prompt in prompts if prompt not in done], time.monotonic()
    with path.open("a") as file:
        for number, prompt in enumerate(left):
            done[prompt] = score(prompt)
            print(json.dumps({prompt: done[prompt]}), file=file, flush=True)
            if number % 100 == 99:
                print(
                    f"# {number + 1} of {len(left)}, {time.monotonic() - begun:.0f} s", flush=True
                )
    return done


def auc(positives, negatives):
    """The share of pairs whose positive has the higher score; equal scores count half."""
    ordered = np.sort(negatives)
    below = np.searchsorted(ordered, positives, "left") + np.searchsorted(
        ordered, positives, "right"
    )
    return below.mean() / (2 * len(ordered))


def row(name, seeds, passes, positives, negatives):
    interval = bootstrap(
        (positives, negatives), auc, n_resamples=RESAMPLES, vectorized=False,
        method="percentile", rng=0,
    ).confidence_interval  # fmt: skip
    cells = [f"{auc(positives, negatives):.3f} [{interval.low:.3f}, {interval.high:.3f}]"]
    for share in FALSE_POSITIVES:
        allowed = int(share * len(negatives))
        above = np.sort(negatives)[::-1][allowed]
        found = rate(int((positives > above).sum()), len(positives))
        cells.append(f"{found.value:.2f} [{found.low:.2f}, {found.high:.2f}]")
    print(f"| {name} | {seeds} | {passes} | {' | '.join(cells)} |", flush=True)


def passes_of(name, seeds):
    steps = STEPS if f"{STEPS} steps" in name else 1
    score = name.split(",")[0]
    return network_passes(ScreenSettings(score=score, steps=steps, seeds=seeds))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--store", default="file:./seedsweep-data")
    parser.add_argument("--campaign")
    parser.add_argument("--prompts", type=int, help="only so many, by the hash of their text")
    options = parser.parse_args()
    print("#", machine("diffusers", "torch", "numpy"))
    positives, negatives = marked()
    prompts = sorted([*positives, *negatives], key=digest)[: options.prompts]
    positives, negatives = ([p for p in group if p in prompts] for group in (positives, negatives))
    options.folder.mkdir(exist_ok=True)
    model = Model(path=str(EMOJI / "model"), fingerprint="example")
    pipeline = DiffusersPipeline(Places(EMOJI / "model"), model, SAMPLING, "cpu", threads=1)
    scores = collect(
        options.folder / "inside.jsonl", prompts, lambda prompt: inside(pipeline, prompt)
    )
    shares = " | ".join(f"TPR at FPR {share:g}" for share in FALSE_POSITIVES)
    print(f"\n{len(positives)} positives, {len(negatives)} negatives\n")
    print(f"| score | seeds | passes a prompt | AUC | {shares} |\n|---|---|---|---|---|---|---|")
    for name in scores[prompts[0]]:
        for seeds in (1, SEEDS):
            means = [
                np.array([np.mean(scores[prompt][name][:seeds]) for prompt in group])
                for group in (positives, negatives)
            ]
            row(name, seeds, passes_of(name, seeds), *means)
    if not options.campaign:
        return
    store = open_store(options.store)
    submission = load_campaign(store, options.campaign)
    found = collect(
        options.folder / "pictures.jsonl", prompts, lambda p: outside(store, submission, p)
    )
    for name in found[prompts[0]]:
        count = int(name.split()[-2])
        groups = [np.array([found[p][name] for p in group]) for group in (positives, negatives)]
        row(name, count, 2 * count * SAMPLING.steps, *groups)
    bound = rate(0, len(negatives), side="upper").high
    print(f"\n0 of {len(negatives)} false alarms show a rate of at most {bound:.4f}.")


if __name__ == "__main__":
    main()
