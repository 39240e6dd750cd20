"""What an audit can not say, in words."""

from seedsweep.storage.settings.analysis import Analysis, AnalysisSettings

SURE = 0.95
ONLY_WHOLE = (
    "Only whole pictures were looked for. A template, of which one part repeats while the rest is "
    "another one with each seed, is not flagged."
)


def least_rate(size: int, seeds: int) -> float:
    """How often a picture must come for `seeds` generations to show it `size` times with 95 %.

    Generations of different seeds count as independent: the p at which a binomial count of `seeds`
    reaches `size` with that probability, which a beta quantile gives (Clopper and Pearson 1934). 1
    if so many seeds cannot show it.
    """
    from scipy.special import betaincinv

    return float(betaincinv(size, seeds - size + 1, SURE)) if size <= seeds else 1.0


def limit_words(
    settings: AnalysisSettings, seeds: int, without_prompts: bool = False
) -> tuple[str, ...]:
    """What a reader of the report should not conclude from it."""
    analysis = settings.analysis
    size, share = analysis.min_clique_size, analysis.min_clique_size / seeds
    unflagged, untried = (
        "A prompt that is not flagged is not cleared.",
        "Prompts that were not tried say nothing. Those that were tried were chosen by whoever "
        "submitted them: shares of them are not shares of the training set, and their intervals "
        "hold for prompts chosen alike.",
    )
    if without_prompts:
        unflagged, untried = (
            "A picture that no clique shows is not cleared.",
            "Generations are of the seeds that were tried. A training picture that none of them "
            "extracts may come from others, or from the same ones with another sampler or other "
            "steps.",
        )
    return (
        f"{unflagged} {size} of {seeds:,} generations must be the same picture. One that comes at "
        f"a rate of {share:.2%} is missed about half of the time, a rarer one more often; from "
        f"{least_rate(size, seeds):.2%} on it is found with a probability of {SURE:.0%} or more "
        "(binomial, seeds taken as independent).",
        f"Copies that differ by more than the edge threshold of {analysis.edge_threshold:g} in any "
        "tile are different pictures here: one that is mirrored, shifted, cropped or recoloured "
        "from seed to seed makes no clique.",
        ONLY_WHOLE if without_prompts else _part_words(analysis),
        untried,
        *_verification_words(settings),
    )


def _part_words(analysis: Analysis) -> str:
    if not analysis.partial:
        return f"{ONLY_WHOLE[:-1]}; `seedsweep analyse --partial` looks for parts."
    rule, size = analysis.parts, analysis.min_clique_size
    reach = (
        f"at most {rule.shift:.0%} of the picture's side apart" if rule.shift else "at one place"
    )
    mirror = ", mirrored or not" if rule.mirror else ""
    sizes = f"sizes that differ by {rule.scale:.0%} at most" if rule.scale else "the same size"
    ways = {"shifted": rule.shift, "scaled": rule.scale, "mirrored": rule.mirror}
    missed = [*(name for name, looked_for in ways.items() if not looked_for), "plain"]
    listed = " and ".join(filter(None, (", ".join(missed[:-1]), missed[-1])))
    return (
        f"A part that repeats is found if {size} generations show it {reach}{mirror}, at {sizes} "
        f"and with texture; {listed} ones are not."
    )


def _verification_words(settings: AnalysisSettings) -> tuple[str, ...]:
    if settings.verification is None:
        return ("Without a training set nothing tells a repeated picture from a popular motif.",)
    return (
        "A match is with the training set that was named: a picture that is not in it is not "
        "found, one that is in it may have come to the model from elsewhere, and one that was "
        f"altered beyond l2 {settings.verification.threshold:g} is no extraction.",
    )
