"""What stages find and cost, replayed from a campaign that made all its pictures.

    .venv/bin/python -m benchmarks.funnel ID --store URL [--attack 500] [--base-rate 0.01]

Nothing is generated: the distances of all pairs are computed once, and every policy is replayed on
them, in the seeds' own order and in random ones, since seeds are exchangeable. A find is a prompt
that the campaign's own analysis flags. The first stage is chosen on the prompts whose id ends in
an even digit, and every figure of the table is of the others: of the policies that keep 99 % of
the finds there, the cheapest.

Cost is in images, the empty places of batches included, as a share of an attack of `--attack`
seeds: that of finds and of clean prompts, weighted by the base rate. What goes on after the last
stage gets all of them.
"""

import argparse
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.machine import machine
from seedsweep.audit.findings.intervals import rate
from seedsweep.scheduler.campaign.current import settings_now
from seedsweep.storage.campaigns import load_campaign, load_prompts
from seedsweep.storage.records import prompt_id_of
from seedsweep.storage.stores import open_store
from seedsweep.workers.analysis.cliques import decide_clique
from seedsweep.workers.analysis.distances import tiled_edges
from seedsweep.workers.analysts.stored_prompt import read_prompt

BATCH = 16
KEPT = 0.99
ORDERS = 40
CHOICES = ((4, 2), (8, 2), (16, 2), (24, 2))
"""First stages: so many pictures, and the clique that goes on."""

RATES = (0.125, 0.2, 0.3, 0.5, 0.75, 1.0)

Policy = tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class Replayed:
    """A prompt: which pairs of its usable pictures are edges, and its largest clique's share."""

    prompt_id: str
    edges: NDArray[np.bool_]
    is_find: bool
    share: float

    @property
    def is_for_choosing(self):
        return int(self.prompt_id[-1], 16) % 2 == 0


def replayed(store, campaign_id) -> Iterator[Replayed]:
    """All prompts of a campaign, with the edges of its present analysis."""
    submission = load_campaign(store, campaign_id)
    analysis = settings_now(store, submission).analysis
    for text in load_prompts(store, campaign_id):
        stored = read_prompt(store, submission, text)
        usable = [place for place, image in enumerate(stored.images) if image.flaw is None]
        edges = tiled_edges(stored.pixels(usable), analysis.tiles, analysis.edge_threshold)
        size = 0
        while has_clique(edges, max(2, size + 1)):
            size = max(2, size + 1)
        is_find = size >= analysis.min_clique_size
        yield Replayed(prompt_id_of(text), edges, is_find, size / max(1, len(usable)))


def has_clique(edges, size):
    """Whether so many pictures are all joined."""
    if size == 2:
        return bool(edges.any())
    if size == 3:
        paths = edges.astype(np.int64)
        return bool(((paths @ paths) * paths).any())
    return bool(decide_clique(edges, size).members)


def images_until(prompt, policy, attack, order):
    """How many images the prompt takes, padding included, and whether it gets all."""
    before = cost = 0
    for seeds, size in policy:
        first = order[:seeds]
        cost += -(-(seeds - before) // BATCH) * BATCH
        before = seeds
        if not has_clique(prompt.edges[np.ix_(first, first)], size):
            return cost, False
    return cost + -(-(attack - before) // BATCH) * BATCH, True


def orders(prompt, count):
    """The seeds' own order, and random ones of this prompt."""
    n, rng = len(prompt.edges), np.random.default_rng(int(prompt.prompt_id, 16))
    return [np.arange(n), *(rng.permutation(n) for _ in range(count - 1))]


def replay(prompts, policy, attack, count=ORDERS):
    """For each prompt: images on average, the share of orders that keep it, and whether its own
    order does."""
    rows = []
    for prompt in prompts:
        told = [images_until(prompt, policy, attack, order) for order in orders(prompt, count)]
        images, kept = zip(*told, strict=True)
        rows.append((float(np.mean(images)), float(np.mean(kept)), kept[0]))
    return rows


def cost_of(finds, clean, attack, base_rate):
    """The share of the attack's images."""
    whole = -(-attack // BATCH) * BATCH
    spent = base_rate * np.mean([r[0] for r in finds]) if finds else 0.0
    return (spent + (1 - base_rate) * np.mean([r[0] for r in clean])) / whole


def choose(prompts, attack, base_rate):
    """The cheapest of `CHOICES` that keeps `KEPT` of the finds."""
    finds = [prompt for prompt in prompts if prompt.is_find]
    clean = [prompt for prompt in prompts if not prompt.is_find]
    costs = {}
    for stage in CHOICES:
        kept, others = replay(finds, (stage,), attack), replay(clean, (stage,), attack)
        if np.mean([row[1] for row in kept]) >= KEPT:
            costs[stage] = cost_of(kept, others, attack, base_rate)
    return min(costs, key=costs.__getitem__)


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("campaign")
    parser.add_argument("--store", required=True)
    parser.add_argument("--attack", type=int, default=500)
    parser.add_argument("--base-rate", type=float, default=0.01)
    arguments = parser.parse_args()
    print(machine("numpy"))
    everything = list(replayed(open_store(arguments.store), arguments.campaign))
    choosing = [prompt for prompt in everything if prompt.is_for_choosing]
    scoring = [prompt for prompt in everything if not prompt.is_for_choosing]
    finds = [prompt for prompt in scoring if prompt.is_find]
    clean = [prompt for prompt in scoring if not prompt.is_find]
    chosen = choose(choosing, arguments.attack, arguments.base_rate)
    print(f"chosen on {len(choosing)} prompts: {chosen[0]} pictures, a clique of {chosen[1]}")
    print(f"scored on {len(scoring)} others: {len(finds)} finds, {len(clean)} clean")
    print("| stages | finds kept | in random orders | clean that go on | images a clean prompt "
          "takes | share of the attack |")  # fmt: skip
    print("|---|---|---|---|---|---|")
    policies: list[Policy] = [(), *((stage,) for stage in CHOICES)]
    policies += [(chosen, (max(24, chosen[0] + 8), 3)), ((4, 2), (16, 3))]
    for policy in policies:
        kept = replay(finds, policy, arguments.attack)
        others = replay(clean, policy, arguments.attack)
        name = ", ".join(f"{size} of {seeds}" for seeds, size in policy) or "full attack"
        share = cost_of(kept, others, arguments.attack, arguments.base_rate)
        found = rate(sum(row[2] for row in kept), len(kept), side="lower")
        print(
            f"| {name} | {found} | {np.mean([row[1] for row in kept]):.4f} "
            f"| {np.mean([row[1] for row in others]):.4f} "
            f"| {np.mean([row[0] for row in others]):.1f} | {share:.3f} |"
        )
    oracle = arguments.base_rate
    print(f"| oracle order | all | 1 | 0 | 0 | {oracle:.3f} |")
    print()
    print("| the prompt's repeat rate | finds | kept by the chosen stage, in random orders |")
    print("|---|---|---|")
    low = 0.0
    for high in RATES:
        of_it = [prompt for prompt in finds if low < prompt.share <= high]
        if of_it:
            kept = np.mean([row[1] for row in replay(of_it, (chosen,), arguments.attack)])
            print(f"| {low:g} to {high:g} | {len(of_it)} | {kept:.3f} |")
        low = high


if __name__ == "__main__":
    main()
