"""Stages and screens replayed from stored pictures: what each finds, and what it costs.

    .venv/bin/python -m benchmarks.funnel_replay FOLDER --write
    seedsweep run FOLDER/first.toml --store file:FOLDER/store
    seedsweep run FOLDER/rare.toml --store file:FOLDER/store
    .venv/bin/python -m benchmarks.funnel_replay FOLDER --write
    seedsweep run FOLDER/more.toml --store file:FOLDER/store
    .venv/bin/python -m benchmarks.funnel_replay FOLDER [--attack 500]

A find is a caption of the example that repeats one picture at more than `RARE` of the seeds that
were measured beforehand, apart from these (examples/emoji/distances.parquet), so that an attack of
500 seeds flags it; clean are the controls that are none. Of each prompt 16 pictures are made
(`first`), of those that go on 32, of the clean ones among these and of finds without a clique of
ten 64 (`more`): ten of the first 64 are ten of 500 as well. `rare` makes many pictures of 40
prompts that repeat seldom. Runs may be stopped at any time: prompts come in the order of a hash,
and what has no pictures yet is left out and counted.

Every policy is replayed on the stored pictures in the seeds' own order; nothing is resampled. What
has too few pictures to be decided counts as lost if it is a find, and as going on if it is clean.
Costs are in places of batches and in CPU-seconds of one thread. Bounds are exact and one-sided, 95
%; that of a cost holds with the bounds of the two shares of clean prompts that it is made of, at
97.5 % each. Screens are scored here, in the folder, and a run that was cut goes on.
"""

import argparse
from itertools import pairwise
from pathlib import Path

import numpy as np

from benchmarks.funnel import has_clique
from benchmarks.funnel_curve import (
    FLAG,
    RARE,
    SAMPLING,
    SCREEN,
    SHARES,
    finds_of,
    measured_seconds,
    name_of,
    threshold,
)
from benchmarks.funnel_pictures import known_pictures, seldom, write_campaigns
from benchmarks.machine import machine
from benchmarks.screens import EMOJI, collect, marked
from seedsweep.audit.findings.intervals import rate
from seedsweep.scheduler.costs.funnel_cost import places
from seedsweep.storage.settings.model import Model
from seedsweep.workers.models.parts import Places
from seedsweep.workers.pipelines.diffusers_pipeline import DiffusersPipeline
from seedsweep.workers.screening.screen import screen_prompt

BATCH = 16
FIRST_STAGE, DEFAULT = ((16, 2),), ((16, 2), (64, 3))
POLICIES = (((4, 2),), ((8, 2),), FIRST_STAGE, ((16, 2), (32, 3)), DEFAULT)
BASE_RATES = (0.1, 0.01, 0.001)
LOOKS = (4, 8, 16, 32, 64, 128, 200, 250)
ORDERS = 200
SELDOM_SEEDS = (200, 500)
MARK, MARK_COST = 0.98, 0.1


def reached(policy, prompt, lacking):
    """Which stages the prompt passes, one after the other; `lacking` where nobody knows."""
    passed, goes_on = [], True
    for seeds, size in policy:
        told = prompt.passes(seeds, size)
        goes_on = goes_on and (lacking if told is None else told)
        passed.append(goes_on)
    return passed


def cost(policy, shares, attack):
    """Places of a prompt, by the shares that pass each stage."""
    ends = [0, *(seeds for seeds, _ in policy), attack]
    steps = [places(end - before, BATCH) for before, end in pairwise(ends)]
    return sum(share * step for share, step in zip([1.0, *shares], steps, strict=True))


def print_policies(finds, clean, scores, seconds, attack):
    whole = places(attack, BATCH)
    print(f"\n| policy | finds kept [bound] | clean that go on [bound], stage by stage "
          f"| {' | '.join(f'share of the attack at {base:.1%} [bound]' for base in BASE_RATES)} "
          "| device-seconds a prompt at 1.0% | mark |")  # fmt: skip
    print(f"|---|---|---|{'---|' * len(BASE_RATES)}---|---|")
    clean_scores = np.array([scores[each.prompt] for each in clean])
    bounds = {None: -np.inf} | {share: threshold(clean_scores, share) for share in SHARES}
    for share, bound in bounds.items():
        for policy in ((), *POLICIES):
            if share is not None and policy not in ((), FIRST_STAGE, DEFAULT):
                continue
            row(policy, share, bound, finds, clean, scores, seconds, attack, whole)
    print(f"| oracle order | all | 0 | {' | '.join(f'{base:.4f}' for base in BASE_RATES)} "
          f"| {0.01 * whole * seconds[0]:.2f} | |")  # fmt: skip


def row(policy, share, bound, finds, clean, scores, seconds, attack, whole, fixed_before=True):
    entered = [scores[each.prompt] > bound for each in finds]
    kept = [
        enters and all(reached(policy, each, lacking=False))
        for enters, each in zip(entered, finds, strict=True)
    ]
    let = np.array([scores[each.prompt] > bound for each in clean])
    steps = np.array([reached(policy, each, lacking=True) for each in clean], np.bool_)
    steps = steps.reshape(len(clean), len(policy)) & let[:, None]
    found = rate(sum(kept), len(kept), side="lower")
    passed = [rate(int(step.sum()), len(clean), side="upper") for step in steps.T]
    sure = 1 - 0.05 / max(1, len(policy))
    wide = [rate(int(step.sum()), len(clean), sure, "upper") for step in steps.T]
    # A screen's share of the clean prompts was chosen here.
    first = places(policy[0][0] if policy else attack, BATCH) * (1 - let.mean())
    of_clean = cost(policy, [each.value for each in passed], attack) - first
    at_most = cost(policy, [each.high for each in wide], attack) - first
    screening = seconds[1] if share is not None else 0.0
    costs = []
    for base in BASE_RATES:
        taken = [base * whole + (1 - base) * each for each in (of_clean, at_most)]
        costs.append([(each + screening / seconds[0]) / whole for each in taken])
    is_met = found.low >= MARK and costs[1][1] <= MARK_COST
    verdict = ("met" if is_met else "not met") if fixed_before else "chosen afterwards"
    name = name_of(policy) if share is None else f"screen ({share:.0%}), then {name_of(policy)}"
    cells = [f"{value:.4f} [{high:.4f}]" if policy else f"{value:.4f}" for value, high in costs]
    print(f"| {name} | {found.count}/{found.n} [{found.low:.4f}] "
          f"| {', '.join(f'{each.count}/{each.n} [{each.high:.4f}]' for each in passed) or 'all'} "
          f"| {' | '.join(cells)} | {costs[1][0] * whole * seconds[0]:.2f} "
          f"| {verdict} |", flush=True)  # fmt: skip


def print_by_rate(finds, rates):
    """What stages keep in the seeds' own order, by the rate that was measured apart from them."""
    print(f"\n| measured repeat rate | prompts | "
          f"{' | '.join(name_of(policy) for policy in POLICIES)} |")  # fmt: skip
    print(f"|---|---|{'---|' * len(POLICIES)}")
    for low, high in pairwise((0.0, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)):
        group = [each for each in finds if low < rates[each.prompt] <= high]
        if group:
            told = [
                rate(sum(all(reached(policy, each, lacking=False)) for each in group), len(group))
                for policy in POLICIES
            ]
            print(f"| {low:.0%} to {high:.0%} | {len(group)} | {' | '.join(map(str, told))} |")


def first_pair(edges, order):
    """How many pictures in this order show the first pair that are alike; one more than all if
    none are."""
    ordered = np.triu(edges[np.ix_(order, order)], 1)
    shown = np.flatnonzero(ordered.any(axis=0))
    return int(shown[0]) + 1 if len(shown) else len(order) + 1


def print_seldom(rare, attack):
    """Finds of many pictures among prompts that repeat seldom: what a first look of n pictures
    loses of them, and what it costs."""
    print(f"\n{len(rare)} prompts of seldom repeats, {attack} pictures each")
    if not rare:
        return
    rng = np.random.default_rng(0)
    looks = []
    for each in rare:
        orders = [np.arange(attack), *(rng.permutation(attack) for _ in range(ORDERS))]
        looks.append([first_pair(each.edges[:attack, :attack], order) for order in orders])
    first = np.array(looks)
    for size in sorted({max(2, FLAG * attack // 500), FLAG}):
        is_find = np.array([has_clique(each.edges[:attack, :attack], size) for each in rare])
        print(f"\n{is_find.sum()} of them have a clique of {size}.\n")
        print("| a pair among the first | finds kept in order | in random orders "
              "| pictures a prompt | share of all |\n|---|---|---|---|---|")  # fmt: skip
        for look in (look for look in LOOKS if look <= attack):
            goes_on = first <= look
            taken = np.where(goes_on, places(look, BATCH) + places(attack - look, BATCH),
                             places(look, BATCH)).mean()  # fmt: skip
            kept = rate(int(goes_on[is_find, 0].sum()), int(is_find.sum()))
            often = f"{goes_on[is_find, 1:].mean():.3f}" if is_find.any() else "not shown (n = 0)"
            share = taken / places(attack, BATCH)
            print(f"| {look} | {kept} | {often} | {taken:.0f} | {share:.3f} |")


def print_without_flagged(finds, clean, scores, seconds, attack):
    """The default's row if clean prompts that have a clique of ten are left out: a full attack
    flags these too. Those that the first stage drops are never seen to have one."""
    rest = [each for each in clean if not has_clique(each.edges, FLAG)]
    print(f"\nWithout the {len(clean) - len(rest)} clean prompts that have a clique of {FLAG}:\n")
    whole = places(attack, BATCH)
    row(DEFAULT, None, -np.inf, finds, rest, scores, seconds, attack, whole, fixed_before=False)


def main(words=None):
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--write", action="store_true", help="write campaign files, and end")
    parser.add_argument("--attack", type=int, default=500)
    options = parser.parse_args(words)
    options.folder.mkdir(exist_ok=True)
    known = known_pictures(options.folder)
    if options.write:
        write_campaigns(options.folder, known)
        return
    print("#", machine("diffusers", "torch", "numpy"))
    model = Model(path=str(EMOJI / "model"), fingerprint="example")
    pipeline = DiffusersPipeline(Places(EMOJI / "model"), model, SAMPLING, "cpu", threads=1)
    seconds = measured_seconds(pipeline)
    print(f"# {seconds[0]:.4f} CPU-seconds a picture, {seconds[1]:.4f} a screen of {SCREEN.seeds}")
    finds = finds_of(EMOJI / "distances.parquet")
    rates = {find.prompt: find.rate for find in finds} | seldom()
    common = [known[p] for p in known if rates.get(p, 0.0) > RARE]
    clean = [known[p] for p in marked()[1] if p in known and p not in {f.prompt for f in finds}]
    scores = collect(
        options.folder / "scores.jsonl",
        [each.prompt for each in (*common, *clean)],
        lambda prompt: float(np.mean(screen_prompt(pipeline, prompt, range(SCREEN.seeds), SCREEN))),
    )
    shown = sum(has_clique(each.edges, FLAG) for each in common)
    count = sum(each.stored for each in known.values())
    flagged = sum(has_clique(each.edges, FLAG) for each in clean)
    print(f"{count:,} pictures; {len(common)} finds, of which {shown} show a clique of {FLAG} in "
          f"what is stored; {len(clean)} clean prompts, of which {flagged} do")  # fmt: skip
    print_policies(common, clean, scores, seconds, options.attack)
    print_without_flagged(common, clean, scores, seconds, options.attack)
    print_by_rate([known[p] for p in known if p in rates], rates)
    for count in SELDOM_SEEDS:
        print_seldom([known[p] for p in seldom() if p in known and known[p].stored >= count], count)


if __name__ == "__main__":
    main()
