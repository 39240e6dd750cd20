"""Finds against images and device-seconds: stages of pictures, screens, and both.

    .venv/bin/python -m benchmarks.funnel_curve FOLDER [--attack 500] [--base-rate 0.01]

What each seed of the example's planted captions repeats was measured beforehand
(examples/emoji/distances.parquet); no picture is made but a few batches that are timed. A find is a
prompt that the full attack flags: its picture is shown by `LEAST` of the measured seeds or more.
Those of which 32 seeds show none are left out, since nobody knows their rate. How probably stages
keep a find is exact, since seeds are exchangeable (`loss_bound`), and is held against the measured
seeds' own order. Clean are the controls that are no find. How many of them a few pictures let
through was measured by `benchmarks.funnel`, and is taken from there; screens are computed here, of
every find and every clean prompt, and kept in the folder, so that a run that was cut goes on.

Finds and clean prompts are weighted by the base rate, never drawn. Images count the empty places of
batches. Device-seconds are CPU-seconds of one thread, measured here on full batches of pictures and
on a screen's batches. Pictures of clean prompts that a screen lets through are taken to be alike as
often as those of all clean prompts. In random order a share of the cost finds that share.
"""

import argparse
import time
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path
from statistics import median

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray
from scipy.stats import binom, hypergeom

from benchmarks.machine import machine
from benchmarks.screens import EMOJI, SAMPLING, collect, marked
from seedsweep.audit.findings.intervals import rate
from seedsweep.scheduler.campaign.stages import loss_bound
from seedsweep.scheduler.costs.funnel_cost import places
from seedsweep.storage.settings.analysis import Analysis
from seedsweep.storage.settings.campaign import Campaign
from seedsweep.storage.settings.model import Model
from seedsweep.storage.settings.sampling import PromptList, Sampling, ScreenSettings, Stage
from seedsweep.workers.models.parts import Places
from seedsweep.workers.pipelines.diffusers_pipeline import DiffusersPipeline
from seedsweep.workers.screening.screen import screen_prompt

LEAST, FLAG = 0.02, 10
NEAR = 0.1
RARE = 0.2
BATCH, ROUNDS = SAMPLING.batch_size, 3
SCREEN = ScreenSettings(score="noise-magnitude", seeds=4)
SHARES = (0.01, 0.05, 0.1, 0.2)
"""Of the clean prompts that a screen lets through."""

CLEAN_GO_ON = {(4, 2): 0.006, (8, 2): 0.025, (16, 2): 0.059, (24, 2): 0.083}
"""Of 518 clean prompts, by `benchmarks.funnel`; these are taken to pass a second stage too."""

FIRST, DEFAULT = ((16, 2),), ((16, 2), (64, 3))
POLICIES = ((), ((4, 2),), ((8, 2),), FIRST, ((24, 2),), DEFAULT)
TRUE_RATES = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5)
POWER = 0.95

Policy = tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class Find:
    """A prompt, and which of its measured seeds show the one picture that it shows most often."""

    prompt: str
    shows: NDArray[np.bool_]

    @property
    def rate(self):
        return float(self.shows.mean())


def finds_of(path):
    """The prompts of measured distances whose picture is shown by `LEAST` of the seeds or more."""
    seeds, shown = {}, {}
    for row in pq.read_table(path).to_pylist():
        seeds.setdefault(row["prompt"], []).append(row["seed"])
        strange = row["rendering_l2"]
        if row["l2"] <= NEAR and strange is not None and row["l2"] < strange:
            shown.setdefault(row["prompt"], {}).setdefault(row["original"], set()).add(row["seed"])
    found = []
    for prompt, pictures in shown.items():
        most = max(pictures.values(), key=len)
        shows = np.array([seed in most for seed in sorted(seeds[prompt])])
        if shows.mean() >= LEAST:
            found.append(Find(prompt, shows))
    return found


@cache
def kept(policy: Policy, clique_size, attack):
    """How probably stages keep a find whose clique in the full attack is of this size: exact."""
    stages = tuple(Stage(seeds=seeds, min_clique_size=size) for seeds, size in policy)
    campaign = Campaign(
        name="curve",
        model=Model(pipeline="noise", fingerprint="noise:"),
        prompts=PromptList(file="prompts.txt"),
        sampling=Sampling(seeds=attack),
        stages=stages,
        analysis=Analysis(min_clique_size=FLAG),
    )
    return 1 - loss_bound(campaign, clique_size)


def kept_in_order(policy: Policy, find):
    """Whether stages keep it if its seeds come as they were measured."""
    return all(find.shows[:seeds].sum() >= size for seeds, size in policy)


def images(policy: Policy, passing, attack):
    """How many places of batches a prompt takes that passes each stage with this probability, of
    all that came to the campaign."""
    ends = [0, *(seeds for seeds, _ in policy), attack]
    reached = [1.0, *passing]
    return sum(
        share * places(end - before, BATCH)
        for share, (before, end) in zip(reached, pairwise(ends), strict=True)
    )


def passing_of(policy: Policy, find, attack):
    """How probably a find passes each stage, and those before it."""
    size = round(find.rate * attack)
    return [kept(policy[: n + 1], size, attack) for n in range(len(policy))]


def threshold(clean, share):
    """The lowest score that at most this share of the clean prompts is above."""
    return np.sort(clean)[::-1][int(share * len(clean))]


def found_at(true_rate, policy: Policy, attack):
    """How probably a prompt of this repeat rate is found: flagged by all seeds, and kept."""
    sizes = np.arange(FLAG, attack + 1)
    weights = binom.pmf(sizes, attack, true_rate)
    likely = np.flatnonzero(weights > 1e-9)
    return float(sum(weights[i] * kept(policy, int(sizes[i]), attack) for i in likely))


def smallest_rate(policy: Policy, attack):
    """The smallest repeat rate, in tenths of a percent, that is found with `POWER`."""
    low, high = 1, 999
    while low < high:
        middle = (low + high) // 2
        if found_at(middle / 1000, policy, attack) >= POWER:
            high = middle
        else:
            low = middle + 1
    return low / 1000


def name_of(policy: Policy):
    return ", ".join(f"{size} of {seeds}" for seeds, size in policy) or "full attack"


def measured_seconds(pipeline):
    """CPU-seconds of one place of a full batch of pictures, and of the screen of one prompt."""

    def timed(work):
        work()
        spent = []
        for _ in range(ROUNDS):
            began = time.process_time()
            work()
            spent.append(time.process_time() - began)
        return median(spent)

    pictures = timed(lambda: pipeline.generate("cat", range(BATCH)))
    screen = timed(lambda: screen_prompt(pipeline, "cat", range(SCREEN.seeds), SCREEN))
    return pictures / BATCH, screen


def print_curve(finds, scores, clean, seconds, attack, base_rate):
    """A row for each policy: what it keeps of common and of rare finds, and what it costs."""
    place_seconds, screen_seconds = seconds
    whole = places(attack, BATCH) * place_seconds
    size_of = [round(find.rate * attack) for find in finds]
    is_rare = np.array([find.rate <= RARE for find in finds])
    find_scores = np.array([scores[find.prompt] for find in finds])
    clean_scores = np.array([scores[prompt] for prompt in clean])
    print(f"\n| policy | kept of {int((~is_rare).sum())} finds above {RARE:.0%} | kept of "
          f"{int(is_rare.sum())} from {LEAST:.0%} to {RARE:.0%} | images a prompt, padding included"
          " | device-seconds a prompt | share of the attack |")  # fmt: skip
    print("|---|---|---|---|---|---|")

    def row(name, keeps, of_finds, of_clean, screened):
        places_taken = base_rate * np.mean(of_finds) + (1 - base_rate) * of_clean
        taken = places_taken * place_seconds + (screen_seconds if screened else 0.0)
        print(
            f"| {name} | {np.mean(keeps[~is_rare]):.4f} | {np.mean(keeps[is_rare]):.4f} "
            f"| {places_taken:.1f} | {taken:.2f} | {taken / whole:.4f} |",
            flush=True,
        )

    stages = {}
    for policy in POLICIES:
        passing = [passing_of(policy, find, attack) for find in finds]
        keeps = np.array([kept(policy, size, attack) for size in size_of])
        of_finds = np.array([images(policy, each, attack) for each in passing])
        of_clean = images(
            policy, [CLEAN_GO_ON[stage] for stage in policy[:1]] * len(policy), attack
        )
        if not policy:
            of_clean = float(places(attack, BATCH))
        stages[policy] = keeps, of_finds, of_clean
        row(name_of(policy), keeps, of_finds, of_clean, screened=False)
    for policy in ((), FIRST, DEFAULT):
        keeps, of_finds, of_clean = stages[policy]
        for share in SHARES:
            passes = find_scores > threshold(clean_scores, share)
            went = (clean_scores > threshold(clean_scores, share)).mean()
            name = f"screen ({share:.0%} of the clean), then {name_of(policy)}"
            row(name, passes * keeps, passes * of_finds, went * of_clean, screened=True)
    oracle = base_rate * places(attack, BATCH)
    print(
        f"| oracle order | 1 | 1 | {oracle:.1f} | {oracle * place_seconds:.2f} | {base_rate:.4f} |"
    )


def print_order(finds):
    """Stages held against the measured seeds in their own order, by repeat rate."""
    print("\n| repeat rate | finds | 2 of 16 keeps, exact | in the measured order [95 %] |")
    print("|---|---|---|---|")
    edges = (LEAST, 0.05, 0.1, 0.2, 0.5, 1.0)
    for low, high in pairwise(edges):
        group = [f for f in finds if low <= f.rate < high or high == f.rate == 1.0]
        if group:
            drawn = [hypergeom.sf(1, len(f.shows), f.shows.sum(), FIRST[0][0]) for f in group]
            told = rate(sum(kept_in_order(FIRST, find) for find in group), len(group))
            exact = np.mean(drawn)
            print(
                f"| {low:.0%} to {high:.0%} | {len(group)} | {exact:.3f} "
                f"| {told.value:.3f} [{told.low:.3f}, {told.high:.3f}] |"
            )


def print_power(attack):
    """How probably a prompt is found, by its true repeat rate: exact."""
    print(f"\n| policy | {' | '.join(f'{each:.0%}' for each in TRUE_RATES)} "
          f"| found with {POWER:.0%} from |")  # fmt: skip
    print(f"|---|{'---|' * len(TRUE_RATES)}---|")
    for policy in POLICIES:
        cells = [f"{found_at(each, policy, attack):.3f}" for each in TRUE_RATES]
        print(f"| {name_of(policy)} | {' | '.join(cells)} | {smallest_rate(policy, attack):.1%} |")


def main(words=None):
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--attack", type=int, default=500)
    parser.add_argument("--base-rate", type=float, default=0.01)
    parser.add_argument("--prompts", type=int, help="only so many finds and so many clean prompts")
    options = parser.parse_args(words)
    print("#", machine("diffusers", "torch", "numpy"))
    options.folder.mkdir(exist_ok=True)
    finds = finds_of(EMOJI / "distances.parquet")[: options.prompts]
    names = {find.prompt for find in finds}
    clean = [prompt for prompt in marked()[1] if prompt not in names][: options.prompts]
    model = Model(path=str(EMOJI / "model"), fingerprint="example")
    pipeline = DiffusersPipeline(Places(EMOJI / "model"), model, SAMPLING, "cpu", threads=1)
    seconds = measured_seconds(pipeline)
    print(f"# {seconds[0]:.4f} CPU-seconds a picture of a full batch, {seconds[1]:.4f} a screen of "
          f"{SCREEN.seeds} seeds")  # fmt: skip
    scores = collect(
        options.folder / "scores.jsonl",
        [*sorted(names), *clean],
        lambda prompt: float(np.mean(screen_prompt(pipeline, prompt, range(SCREEN.seeds), SCREEN))),
    )
    print(f"{len(finds)} finds, {len(clean)} clean prompts, base rate {options.base_rate:.1%}")
    print_curve(finds, scores, clean, seconds, options.attack, options.base_rate)
    print_order(finds)
    print_power(options.attack)


if __name__ == "__main__":
    main()
