"""What is said of a match beside its distances."""

from collections.abc import Iterable

from seedsweep.scheduler.quantities import count_words
from seedsweep.storage.extractions import Extractions
from seedsweep.storage.prompt_results import Match, PromptResult


def score_words(score: float | None) -> str:
    """An adaptive score, or that the training set has too few distinct pictures for one."""
    return "not scored" if score is None else f"{score:.2f}"


def why_not_words(match: Match, threshold: float, small: bool) -> str:
    """Which conditions of an extraction the match misses, with this threshold of l2; `small`: the
    adaptive score decides as well. Empty if it misses none."""
    missed = []
    if match.l2 > threshold:
        missed.append(f"l2 {match.l2:.4g} > {threshold:g}")
    if match.agreement == 0:
        missed.append("agreement 0")
    if small and match.adaptive is None:
        missed.append("not scored")
    if small and match.adaptive is not None and match.adaptive > 1:
        missed.append(f"adaptive {match.adaptive:.4g} > 1")
    return ", ".join(missed)


def earlier_words(results: Iterable[PromptResult], campaign_id: str) -> tuple[str, ...]:
    """That matches were scored by an earlier version, if some were."""
    count = sum(not match.distinct for result in results for match in result.matches)
    if not count:
        return ()
    return (
        f"Matches of an earlier version, scored by neighbours that need not be distinct, so that "
        f"copies in the training set hide extractions: {count}. `seedsweep analyse {campaign_id}` "
        "judges the stored images anew.",
    )


def agreement_words(match: Match) -> str:
    """The share of the picture where both have the same texture; 0 % says exactly none."""
    if not match.distinct:
        return "not known"
    if match.agreement is None:
        return "no texture"
    if 0 < match.agreement < 0.01:
        return "<1 %"
    return f"{100 * match.agreement:.0f} %"


def extraction_words(found: Extractions) -> str:
    """How many generations extract how many distinct training pictures."""
    of = count_words(found.searched, "generation")
    pictures = count_words(len(found.pictures), "distinct training picture")
    extract = "extracts" if found.extracted == 1 else "extract"
    return f"{found.extracted:,} of {of} {extract} {pictures}"
