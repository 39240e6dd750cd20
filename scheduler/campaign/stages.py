"""The ready-made stages of `stages = "default"`, and what stages may miss."""

from bisect import bisect_left

import numpy as np

from seedsweep.storage.settings.campaign import Campaign
from seedsweep.storage.settings.sampling import Stage

DEFAULT = "default"

SIZES = {16: 2, 64: 3}
"""After so many pictures a prompt without a clique of so many of them is dropped."""

SURE_LOSS = 0.05


def default_stages(seeds: int) -> list[Stage]:
    """The stages for a campaign of so many seeds: those that have at most half of them."""
    sizes = SIZES.items()
    return [Stage(seeds=few, min_clique_size=size) for few, size in sizes if 2 * few <= seeds]


def loss_bound(campaign: Campaign, clique_size: int) -> float | None:
    """The largest probability with which stages drop a prompt that the full attack flags with a
    clique of this size.

    Seeds are exchangeable: of a clique of K of N generations h are among the first n with the
    hypergeometric probability, whatever the prompt's rate, and so on among those that follow. A
    stage drops the prompt at most if h is below its own clique size. None if a stage has a smaller
    edge threshold than the flag, since then a clique need not be one there, and if one goes by a
    score, which says nothing of cliques.
    """
    from scipy.stats import hypergeom

    threshold, seeds = campaign.analysis.edge_threshold, campaign.sampling.seeds
    shown, drawn = np.eye(1, clique_size + 1)[0], 0  # how probably h of the clique are shown so far
    if campaign.screens:
        return None
    for stage in campaign.stages:
        if (stage.edge_threshold or threshold) < threshold:
            return None
        before, shown = shown, np.zeros(clique_size + 1)
        for h in np.flatnonzero(before).tolist():
            left = clique_size - h
            more = hypergeom.pmf(np.arange(left + 1), seeds - drawn, left, stage.seeds - drawn)
            shown[h:] += before[h] * more
        shown[: stage.min_clique_size] = 0.0
        drawn = stage.seeds
    return float(np.clip(1 - shown.sum(), 0, 1))


def surely_found(campaign: Campaign) -> int | None:
    """The smallest clique of the full attack that stages lose with a probability of at most
    `SURE_LOSS`; None where no size is so sure."""
    sizes = range(campaign.analysis.min_clique_size, campaign.sampling.seeds + 1)

    def surety(size: int) -> float:
        bound = loss_bound(campaign, size)
        return -1.0 if bound is None else -bound

    place = bisect_left(sizes, -SURE_LOSS, key=surety)
    return sizes[place] if place < len(sizes) else None


def loss_words(campaign: Campaign) -> str:
    """What stages may lose, whatever the prompts' rates are, in a sentence; empty without any."""
    if not campaign.stages:
        return ""
    if campaign.screens:
        return (
            "Nothing is guaranteed of what a screen drops: a score orders prompts, and proves "
            "nothing. missed_sample measures what is lost."
        )
    size, seeds = campaign.analysis.min_clique_size, campaign.sampling.seeds
    smallest, sure = loss_bound(campaign, size), surely_found(campaign)
    if smallest is None:
        return (
            "Nothing is guaranteed of rare repeats: a stage has a smaller edge threshold than the "
            "flag."
        )
    found = (
        "no clique is found for sure"
        if sure is None
        else f"from {sure:,} of {seeds:,} on it is lost with {SURE_LOSS:.0%} at most"
    )
    return (
        f"Whatever the rates are, a prompt with the smallest clique that makes a flag, {size:,} of "
        f"{seeds:,}, is lost with a probability of at most {smallest:.0%}; {found} "
        "(hypergeometric: seeds are exchangeable)."
    )
