"""What the full attack says of the controls that stages let go on: a part of `funnel_replay`.

The full attack flags a prompt with a clique of `FLAG` among all its pictures. What it flags is no
clean prompt, whatever was measured of it beforehand. What the stages dropped has 16 pictures, or
64, and no verdict: that counts as clean, and here is told how far the cost depends on it.
"""

from dataclasses import dataclass
from math import ceil, log, sqrt

import numpy as np

from benchmarks.funnel_curve import BATCH, DEFAULT, FLAG, RARE, found_at, images, kept
from benchmarks.funnel_pictures import Pictures, reached
from seedsweep.audit.findings.intervals import poisson_bound, rate
from seedsweep.scheduler.costs.funnel_cost import places
from seedsweep.workers.analysis.cliques import largest_clique

MARK_COST, BASE_RATE = 0.1, 0.01
ORDERS = 2000
SELDOM_KEPT = 0.5


@dataclass(frozen=True)
class Verdict:
    """What the attack says of a prompt, by its pictures that are stored."""

    prompt: str
    stored: int
    size: int
    """Of the largest clique among these, found or proven."""

    attack: int
    keeping: float
    """How probably the default lets it go on: see `keeping_of`."""

    @property
    def is_flagged(self):
        """None if too few pictures are stored to say."""
        return True if self.size >= FLAG else (False if self.stored >= self.attack else None)

    @property
    def share(self):
        """Of the pictures that are the one that repeats most, with its interval of 95 %."""
        return rate(self.size, self.stored)


def keeping_of(pictures, size, attack):
    """How probably the default lets a prompt go on whose pictures come in any order.

    Of all pictures of the attack it is the share of `ORDERS` random orders and of their own. Of
    fewer it is what a clique that has the same share of all of them gives, whatever else is alike.
    """
    if pictures.stored < attack:
        return kept(DEFAULT, max(FLAG, round(size * attack / pictures.stored)), attack)
    rng, looked_at = np.random.default_rng(0), DEFAULT[-1][0]
    goes_on = 1
    for _ in range(ORDERS):
        order = rng.permutation(attack)[:looked_at]
        shuffled = Pictures(pictures.prompt, pictures.edges[np.ix_(order, order)])
        goes_on += all(reached(DEFAULT, shuffled, lacking=False))
    return goes_on / (ORDERS + 1)


def verdicts_of(clean, attack):
    """Of those that go on by the default, the largest clique first."""
    verdicts = []
    for each in clean:
        if all(reached(DEFAULT, each, lacking=True)):
            seen = each.first(attack)
            size = len(largest_clique(seen.edges, 2).members)
            keeping = keeping_of(seen, size, attack)
            verdicts.append(Verdict(each.prompt, seen.stored, size, attack, keeping))
    return sorted(verdicts, key=lambda each: (-each.share.value, each.prompt))


def clean_cost(policy, counts, n, attack):
    """Places of batches that a clean prompt takes if so many of n pass each stage, and their bound,
    which holds with the bounds of all stages at once."""
    sure = 1 - 0.05 / max(1, len(policy))
    shares = [count / n for count in counts]
    at_most = [rate(count, n, sure, "upper").high for count in counts]
    return images(policy, shares, attack), images(policy, at_most, attack)


def cost_bound(counts, n, attack):
    """The bound of the default's share of the attack at `BASE_RATE`."""
    whole = places(attack, BATCH)
    return BASE_RATE + (1 - BASE_RATE) * clean_cost(DEFAULT, counts, n, attack)[1] / whole


def most_left_out(counts, n, attack):
    """How many of those that the stages drop may be left out of n so that the default still takes
    `MARK_COST` of the attack by the bound; None if it takes more with all of them."""
    fitting = [
        left_out
        for left_out in range(n - max(1, *counts) + 1)
        if cost_bound(counts, n - left_out, attack) <= MARK_COST
    ]
    return max(fitting, default=None)


def dropped_beside(verdicts):
    """How many flagged prompts the default is expected to have dropped beside these flagged ones
    that it let go on, and the bound of 95 %, as of a normal distribution.

    Each goes on with its own probability π, so that those who did stand for (1 - π) / π others each
    (Horvitz and Thompson 1952). A kind of which none went on is not in it.
    """
    odds = [(1 - each.keeping) / each.keeping for each in verdicts]
    variance = sum(odd / each.keeping for odd, each in zip(odds, verdicts, strict=True))
    return sum(odds), sum(odds) + 1.645 * sqrt(variance)


def print_verdicts(verdicts, clean, attack):
    """A row for each verdict, what they come to, and what is left open."""
    flagged = [each for each in verdicts if each.is_flagged]
    rest = [each for each in verdicts if each.is_flagged is False]
    print(f"\nThe full attack of the {len(verdicts)} clean prompts that go on, of {len(clean)}:\n")
    print("| prompt | pictures | the largest clique, of all [95 %] | the attack | goes on "
          "with |\n|---|---|---|---|---|")  # fmt: skip
    words = {True: "flags it", False: "does not flag it", None: "not known"}
    for each in verdicts:
        print(f"| {each.prompt} | {each.stored} | {each.share} | {words[each.is_flagged]} "
              f"| {each.keeping:.3f} |")  # fmt: skip
    common = [each for each in flagged if each.share.value > RARE]
    maybe = [each for each in flagged if each.share.high > RARE]
    print(f"\nIt flags {len(flagged)}: {len(common)} repeat one picture at more than {RARE:.0%}, "
          f"{len(flagged) - len(common)} at less ({len(maybe)} may be above it). It does not flag "
          f"{len(rest)}, and of {len(verdicts) - len(flagged) - len(rest)} there are too few "
          "pictures.")  # fmt: skip
    lost = 1 - found_at(RARE, DEFAULT, attack)
    odds = lost / (1 - lost)
    print(f"The default drops a prompt that repeats at more than {RARE:.0%} with at most "
          f"{lost:.3f}. Beside the {len(maybe)} that may be such, at most "
          f"{odds * len(maybe):.1f} are expected among the dropped, by the bound "
          f"{odds * poisson_bound(len(maybe)):.1f}; as the {len(common)} that are go on, "
          f"{dropped_beside(common)[0]:.2f}.")  # fmt: skip
    names = {each.prompt for each in flagged}
    steps = [reached(DEFAULT, each, lacking=True) for each in clean if each.prompt not in names]
    counts = [sum(passed) for passed in zip(*steps, strict=True)]
    most = most_left_out(counts, len(steps), attack)
    holds = f"while it flags at most {most}" if most is not None else "for none"
    print(f"Without those that it flags, {' and '.join(map(str, counts))} of {len(steps)} pass the "
          f"stages: by the bound {cost_bound(counts, len(steps), attack):.4f} of the attack at "
          f"{BASE_RATE:.0%}. It is at most {MARK_COST:g} {holds} of the "
          f"{len(clean) - len(verdicts)} that the stages drop.")  # fmt: skip
    expected, bound = dropped_beside(flagged)
    seldom_kept = sum(each.keeping < SELDOM_KEPT for each in flagged)
    least = kept(DEFAULT, FLAG, attack)
    print(f"As those that it flags go on, {expected:.1f} more that it would flag are expected "
          f"among these, by an approximate bound {bound:.1f}. {seldom_kept} of them go on with "
          f"less than {SELDOM_KEPT:g}; a clique of {FLAG} and nothing else alike goes on with "
          f"{least:.3f}, so that of {ceil(log(0.05) / log(1 - least))} such prompts one would have "
          "gone on with 95 %.")  # fmt: skip
