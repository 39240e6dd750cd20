"""Stages and screens replayed from stored pictures: what each finds, and what it costs.

    .venv/bin/python -m benchmarks.funnel_replay FOLDER --write
    seedsweep run FOLDER/first.toml --store file:FOLDER/store
    seedsweep run FOLDER/rare.toml --store file:FOLDER/store
    .venv/bin/python -m benchmarks.funnel_replay FOLDER --write
    seedsweep run FOLDER/more.toml --store file:FOLDER/store
    .venv/bin/python -m benchmarks.funnel_replay FOLDER --write
    seedsweep run FOLDER/attacked.toml --store file:FOLDER/store
    .venv/bin/python -m benchmarks.funnel_replay FOLDER [--attack 500]

A find is a caption of the example that repeats one picture at more than `RARE` of the seeds that
were measured beforehand, apart from these (examples/emoji/distances.parquet), so that an attack of
500 seeds flags it; clean are the controls that are none. Of each prompt 16 pictures are made
(`first`), of those that go on 32, of the clean ones among these and of finds without a clique of
ten 64 (`more`): ten of the first 64 are ten of 500 as well. Of the clean ones that go on without
such a clique all 500 are made (`attacked`), so that the full attack's own verdict is known of all
that go on; the last table of policies counts as clean what it does not flag. `rare` makes many
pictures of 40 prompts that repeat seldom. Runs may be stopped at any time: prompts come in the
order of a hash, and what has no pictures yet is left out and counted. All pictures are of one model
(`--model`): a store with another's is refused.

Every policy is replayed on the stored pictures in the seeds' own order; nothing is resampled. What
has too few pictures to be decided counts as lost if it is a find, and as going on if it is clean.
Costs are in places of batches and in CPU-seconds of one thread. Bounds are exact and one-sided, 95
%; that of a cost holds with the bounds of the two shares of clean prompts that it is made of, at
97.5 % each. Screens are scored here, in the folder, and a run that was cut goes on.
"""

import argparse
import dataclasses
from itertools import pairwise
from pathlib import Path

import numpy as np

from benchmarks.funnel import has_clique
from benchmarks.funnel_curve import (
    BATCH,
    DEFAULT,
    FIRST,
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
from benchmarks.funnel_pictures import (
    Pictures,
    controls,
    known_pictures,
    reached,
    seldom,
    write_campaigns,
)
from benchmarks.funnel_verdicts import MARK_COST, clean_cost, print_verdicts, verdicts_of
from benchmarks.machine import machine
from benchmarks.screens import EMOJI, collect
from seedsweep.audit.findings.intervals import rate
from seedsweep.scheduler.costs.funnel_cost import places
from seedsweep.storage.settings.model import Model
from seedsweep.workers.models.parts import Places
from seedsweep.workers.pipelines.diffusers_pipeline import DiffusersPipeline
from seedsweep.workers.screening.screen import screen_prompt

POLICIES = (((4, 2),), ((8, 2),), FIRST, ((16, 2), (32, 3)), DEFAULT)
BASE_RATES = (0.1, 0.01, 0.001)
LOOKS = (4, 8, 16, 32, 64, 128, 200, 250)
ORDERS = 200
SELDOM_SEEDS = (200, 500)
MARK = 0.98


@dataclasses.dataclass(frozen=True)
class Replay:
    """What policies are replayed on, and what it costs."""

    finds: list[Pictures]
    clean: list[Pictures]
    scores: dict[str, float]
    seconds: tuple[float, float]
    """Of one place of a batch, and of a screen."""

    attack: int


def print_policies(replay, shares=SHARES):
    """A row for each policy, and for screens that let these shares of the clean prompts through."""
    print(f"\n| policy | finds kept [bound] | clean that go on [bound], stage by stage "
          f"| {' | '.join(f'share of the attack at {base:.1%} [bound]' for base in BASE_RATES)} "
          "| device-seconds a prompt at 1.0% | mark |")  # fmt: skip
    print(f"|---|---|---|{'---|' * len(BASE_RATES)}---|---|")
    clean_scores = np.array([replay.scores[each.prompt] for each in replay.clean])
    bounds = {None: -np.inf} | {share: threshold(clean_scores, share) for share in shares}
    for share, bound in bounds.items():
        for policy in ((), *POLICIES):
            if share is not None and policy not in ((), FIRST, DEFAULT):
                continue
            row(policy, share, bound, replay)
    of_all = 0.01 * places(replay.attack, BATCH) * replay.seconds[0]
    print(f"| oracle order | all | 0 | {' | '.join(f'{base:.4f}' for base in BASE_RATES)} "
          f"| {of_all:.2f} | |")  # fmt: skip


def row(policy, share, bound, replay):
    finds, clean, scores = replay.finds, replay.clean, replay.scores
    entered = [scores[each.prompt] > bound for each in finds]
    kept = [
        enters and all(reached(policy, each, lacking=False))
        for enters, each in zip(entered, finds, strict=True)
    ]
    let = np.array([scores[each.prompt] > bound for each in clean])
    steps = np.array([reached(policy, each, lacking=True) for each in clean], np.bool_)
    steps = steps.reshape(len(clean), len(policy)) & let[:, None]
    found = rate(sum(kept), len(kept), side="lower")
    counts = [int(step.sum()) for step in steps.T]
    passed = [rate(count, len(clean), side="upper") for count in counts]
    whole = places(replay.attack, BATCH)
    # A screen's share of the clean prompts was chosen here.
    first = places(policy[0][0] if policy else replay.attack, BATCH) * (1 - let.mean())
    of_clean = [each - first for each in clean_cost(policy, counts, len(clean), replay.attack)]
    screening = replay.seconds[1] if share is not None else 0.0
    costs = []
    for base in BASE_RATES:
        taken = [base * whole + (1 - base) * each for each in of_clean]
        costs.append([(each + screening / replay.seconds[0]) / whole for each in taken])
    is_met = found.low >= MARK and costs[1][1] <= MARK_COST
    name = name_of(policy) if share is None else f"screen ({share:.0%}), then {name_of(policy)}"
    cells = [f"{value:.4f} [{high:.4f}]" if policy else f"{value:.4f}" for value, high in costs]
    print(f"| {name} | {found.count}/{found.n} [{found.low:.4f}] "
          f"| {', '.join(f'{each.count}/{each.n} [{each.high:.4f}]' for each in passed) or 'all'} "
          f"| {' | '.join(cells)} | {costs[1][0] * whole * replay.seconds[0]:.2f} "
          f"| {'met' if is_met else 'not met'} |", flush=True)  # fmt: skip


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


def print_unflagged(replay):
    """What the full attack says of the clean prompts that go on, and the table if clean are those
    that it does not flag."""
    verdicts = verdicts_of(replay.clean, replay.attack)
    print_verdicts(verdicts, replay.clean, replay.attack)
    flagged = {each.prompt for each in verdicts if each.is_flagged}
    rest = [each for each in replay.clean if each.prompt not in flagged]
    print(f"\nClean is here what the attack does not flag, and what the stages drop: {len(rest)}")
    print_policies(dataclasses.replace(replay, clean=rest), shares=())


def main(words=None):
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--write", action="store_true", help="write campaign files, and end")
    parser.add_argument("--attack", type=int, default=500)
    parser.add_argument(
        "--model",
        type=Path,
        default=EMOJI / "model",
        help="the folder of the model that makes the pictures",
    )
    options = parser.parse_args(words)
    place = options.model.absolute()
    if not place.is_dir():
        parser.error(f"{options.model} is no folder: name that of the model with --model")
    options.folder.mkdir(exist_ok=True)
    known = known_pictures(options.folder, place)
    if options.write:
        write_campaigns(options.folder, known, place)
        return
    if not known:
        parser.error(f"{options.folder} holds no pictures: make files with --write, and run them")
    print("#", machine("diffusers", "torch", "numpy"))
    model = Model(path=str(place), fingerprint="example")
    pipeline = DiffusersPipeline(Places(place), model, SAMPLING, "cpu", threads=1)
    seconds = measured_seconds(pipeline)
    print(f"# {seconds[0]:.4f} CPU-seconds a picture, {seconds[1]:.4f} a screen of {SCREEN.seeds}")
    rates = {each.prompt: each.rate for each in finds_of(EMOJI / "distances.parquet")} | seldom()
    common = [known[p] for p in known if rates.get(p, 0.0) > RARE]
    clean = [known[p] for p in controls() if p in known]
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
    replay = Replay(common, clean, scores, seconds, options.attack)
    print_policies(replay)
    print_unflagged(replay)
    print_by_rate([known[p] for p in known if p in rates], rates)
    for count in SELDOM_SEEDS:
        print_seldom([known[p] for p in seldom() if p in known and known[p].stored >= count], count)


if __name__ == "__main__":
    main()
