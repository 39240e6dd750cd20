"""The ready-made stages of `stages = "default"`, and what stages may miss."""

from scipy.stats import hypergeom

from seedsweep.storage.records import Campaign, Stage

DEFAULT = "default"

SIZES = {16: 2, 64: 3}
"""After so many pictures a prompt without a clique of so many of them is dropped."""


def default_stages(seeds: int) -> list[Stage]:
    """The stages for a campaign of so many seeds: those that have at most half of them."""
    sizes = SIZES.items()
    return [Stage(seeds=few, min_clique_size=size) for few, size in sizes if 2 * few <= seeds]


def loss_bound(campaign: Campaign, clique_size: int) -> float | None:
    """The largest probability with which stages drop a prompt that the full attack flags with a
    clique of this size.

    Seeds are exchangeable, so a clique of K of N generations has h of them among the first n with
    the hypergeometric probability, whatever the prompt's rate; a stage loses it at most where h is
    below its own clique size. The stages' probabilities are added (Boole's inequality). None where
    a stage asks for more alike pictures than the flag does: then a clique may have no edge there.
    """
    if not campaign.stages:
        return 0.0
    threshold, seeds = campaign.analysis.edge_threshold, campaign.sampling.seeds
    lost = 0.0
    for stage in campaign.stages:
        if (stage.edge_threshold or threshold) < threshold:
            return None
        lost += float(hypergeom.cdf(stage.min_clique_size - 1, seeds, clique_size, stage.seeds))
    return min(1.0, lost)


def surely_found(campaign: Campaign, loss: float = 0.05) -> int | None:
    """The smallest clique of the full attack that stages lose with at most this probability; None
    where no size is so sure."""
    sizes = range(campaign.analysis.min_clique_size, campaign.sampling.seeds + 1)
    bounds = ((size, loss_bound(campaign, size)) for size in sizes)
    return next((size for size, bound in bounds if bound is not None and bound <= loss), None)
