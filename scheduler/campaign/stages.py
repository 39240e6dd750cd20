"""The ready-made stages of `stages = "default"`."""

from seedsweep.storage.records import Stage

DEFAULT = "default"

SIZES = {4: 2, 16: 3}
"""After so many pictures a prompt without a clique of so many of them is dropped."""


def default_stages(seeds: int) -> list[Stage]:
    """The stages for a campaign of so many seeds: those that have at most half of them."""
    sizes = SIZES.items()
    return [Stage(seeds=few, min_clique_size=size) for few, size in sizes if 2 * few <= seeds]
