"""The ready-made stages of `stages = "default"`."""

from seedsweep.storage.records import Stage

DEFAULT = "default"

SEEDS = (4, 16, 64)
"""After so many pictures a prompt without a pair is dropped."""


def default_stages(seeds: int, edge_threshold: float) -> list[Stage]:
    """The stages for a campaign of so many seeds: those of `SEEDS` that are fewer than half of
    them, each with the campaign's edge threshold for its pairs."""
    return [Stage(seeds=n, pair_within=edge_threshold) for n in SEEDS if 2 * n <= seeds]
